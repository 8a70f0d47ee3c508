"""Confusion, sizes, calibration, miss reasons and worst images: by hand, and invariants on random data."""

import dataclasses
import warnings
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.data.traces import ObjectTraces
from detector.errors import InputError
from detector.evaluation.errors import MissReason, diagnose
from detector.evaluation.errors.diagnosis import ASPECTS, count_reasons, most_frequent
from tests.detector.evaluation import tables
from tests.detector.evaluation.tables import table_of

BOX, FAR = (0, 0, 100, 100), (500, 0, 600, 100)

truth_of = partial(tables.truth_of, names=("cat", "dog", "hen"))


def test_confusion_by_hand() -> None:
    truth = truth_of((0, 0, BOX), (0, 1, FAR), (1, 2, BOX), (1, 2, FAR), difficult=[0, 0, 0, 1])
    detections = table_of(
        truth,
        (0, 1, 0.95, BOX),  # a dog on the cat that the next one finds
        (0, 0, 0.9, BOX),
        (0, 0, 0.8, FAR),  # the dog taken for a cat
        (0, 2, 0.7, FAR),  # and, less surely, for a hen
        (1, 2, 0.4, BOX),  # too low: the hen is not found
        (1, 2, 0.9, FAR),  # difficult: counts neither way
        (1, 0, 0.9, FAR),  # a cat on the difficult hen
    )
    result = diagnose(truth, detections)
    assert result.confusion.tolist() == [[1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [1, 1, 1, 0]]
    assert most_frequent(result, 5) == [("dog", "cat", 1)]
    assert diagnose(truth, detections, score=0.3).confusion[2].tolist() == [0, 0, 1, 0]


@pytest.mark.parametrize(
    ("width", "height", "aspect"), [(74, 100, "tall"), (75, 100, "square"), (4, 3, "square"), (41, 30, "wide")]
)
def test_the_limits_of_shapes(width: float, height: float, aspect: str) -> None:
    truth = truth_of((0, 0, (0, 0, width, height)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of the point, which has no aspect
        aspects = diagnose(truth, table_of(truth, (0, 0, 0.9, (5, 5, 5, 5)))).aspects
    assert {name: part.classes["cat"].objects for name, part in aspects.items()} == {n: n == aspect for n in ASPECTS}


def test_sizes_by_hand() -> None:
    small, large = (0, 0, 20, 20), (100, 0, 300, 200)
    truth = truth_of((0, 0, small), (0, 0, large), (1, 1, large))
    detections = table_of(
        truth,
        (0, 0, 0.95, (900, 0, 910, 10)),  # a small false positive, which costs only the small
        (0, 0, 0.1, (0, 0, 20, 55)),  # medium by its box, takes nothing: costs the medium, which have no objects
        (0, 0, 0.9, large),
        (0, 0, 0.4, small),
        (0, 0, 0.3, small),
    )
    sizes = diagnose(truth, detections, metric="voc10").sizes
    nan = np.nan
    assert list(sizes["small"].ap.values()) == pytest.approx([0.5, nan, nan], nan_ok=True)
    assert list(sizes["large"].ap.values()) == pytest.approx([1, 0, nan], nan_ok=True)
    assert [part.mean_ap for part in sizes.values()] == pytest.approx([0.5, nan, 0.5], nan_ok=True)
    assert [part.at_score(0.5)[1] for part in sizes.values()] == pytest.approx([0, nan, 0.5], nan_ok=True)
    outlined = dataclasses.replace(truth, areas=[100.0] * 3)
    assert diagnose(outlined, detections).sizes["small"].classes["cat"].objects == 2


def test_calibration_by_hand() -> None:
    truth = truth_of((0, 0, BOX), (1, 0, BOX))
    detections = table_of(truth, (0, 0, 1.0, BOX), (1, 0, 0.9, BOX), (1, 0, 0.92, FAR), (0, 0, 0.1, FAR))
    result = diagnose(truth, detections).reliability
    assert result.counts.tolist() == [0, 1, 0, 0, 0, 0, 0, 0, 0, 3]
    assert result.precision[[0, 1, 9]].tolist() == pytest.approx([np.nan, 0, 2 / 3], nan_ok=True)
    assert result.mean_scores[9] == pytest.approx(0.94)
    assert result.expected_error == pytest.approx((0.1 + 3 * (0.94 - 2 / 3)) / 4)
    assert diagnose(truth, table_of(truth, (0, 0, 7, BOX))).reliability is None
    nothing = diagnose(truth, table_of(truth)).reliability
    assert nothing.counts.sum() == 0
    assert np.isnan(nothing.expected_error)


def test_miss_reasons_by_hand() -> None:
    truth = truth_of(*((0, 0, (200 * i, 0, 200 * i + 100, 100)) for i in range(6)), difficult=[0, 0, 0, 0, 0, 1])
    detections = table_of(truth, (0, 0, 0.3, (0, 0, 100, 100)))
    traces = ObjectTraces(
        proposal_overlaps=np.array([0.2, 0.9, 0.5, 0.49, 0.1, 0.0]),
        sources=np.array([0, 0, 0, 0, 0, -1]),
        source_names=("selective_search",),
        # The first is found though no proposal covers it, the fifth moved onto its object by box regression.
        region_scores=np.array([0.3, 0.4, 0.0005, 0, 0.2, 0]),
    )
    result = diagnose(truth, detections, traces=traces, score=0.35)
    found, suppressed, misclassified, not_proposed = MissReason
    assert result.miss_reasons.tolist() == [found, suppressed, misclassified, not_proposed, suppressed, -1]
    assert result.shown_miss_reasons[:5].tolist() == [
        not_proposed, suppressed, misclassified, not_proposed, not_proposed,
    ]  # fmt: skip
    assert count_reasons(result.miss_reasons).tolist() == [[1, 2, 1, 1]]
    groups = count_reasons(result.miss_reasons, np.array([0, 1, 0, 1, 0, 0]), 3)
    assert groups.tolist() == [[1, 1, 1, 0], [0, 1, 0, 1], [0] * 4]
    single = truth_of((0, 0, BOX))
    with pytest.raises(InputError, match="traces of 6 objects"):
        diagnose(single, table_of(single), traces=traces)


def test_worst_images_by_hand() -> None:
    truth = truth_of((0, 0, BOX), (1, 0, BOX), (1, 1, FAR), (3, 0, BOX), images=4)
    detections = table_of(truth, (0, 0, 0.9, BOX), (0, 0, 0.8, FAR), (1, 0, 0.2, BOX), (3, 0, 0.5, BOX))
    images = diagnose(truth, detections).images
    assert images.missed_by_image.tolist() == [0, 2, 0, 0]
    assert images.false_positives_by_image.tolist() == [1, 0, 0, 0]
    assert images.worst(10).tolist() == [1, 0]
    assert images.worst(1).tolist() == [1]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), score=st.sampled_from([0.0, 0.5, 0.9]))
def test_the_sums(random_data: Callable, seed: int, score: float) -> None:
    truth, detections = random_data(seed, images=5, classes=3, difficult=0.3)
    rng = np.random.default_rng(seed)
    count = len(truth)
    traces = ObjectTraces(
        proposal_overlaps=rng.random(count),
        sources=np.zeros(count, np.int64),
        source_names=("selective_search",),
        region_scores=rng.random(count),
    )
    result = diagnose(truth, detections, score=score, traces=traces)
    matrix, objects = result.confusion, np.count_nonzero(~truth.difficult)
    assert matrix[:-1].sum(axis=1).tolist() == [c.objects for c in result.result.classes.values()]
    shown = [np.count_nonzero(c.scores.astype(np.float32) >= score) for c in result.result.classes.values()]
    assert matrix[:, :-1].sum(axis=0).tolist() == shown
    precision, recall = result.result.at_score(score)
    hits = np.trace(matrix[:-1, :-1])
    assert hits == pytest.approx(np.nan_to_num(precision) * sum(shown))
    assert hits == pytest.approx(np.nan_to_num(recall) * objects)
    for parts in (result.sizes.values(), result.aspects.values()):
        counts = [sum(c.objects for c in part.classes.values()) for part in parts]
        assert sum(counts) == objects
        found = [np.nan_to_num(part.at_score(score)[1]) for part in parts]
        assert np.dot(counts, found) == pytest.approx(hits)
    assert result.images.missed.sum() == objects - hits
    assert result.images.errors.sum() == objects - hits + sum(shown) - hits
    assert count_reasons(result.miss_reasons).sum() == objects
    assert count_reasons(result.shown_miss_reasons)[0, MissReason.FOUND] == hits


def test_no_images_with_anything() -> None:
    truth = truth_of()
    result = diagnose(truth, table_of(truth))
    assert np.isnan(result.result.mean_ap)
    assert result.confusion.sum() == 0
    assert result.images.worst(5).tolist() == []
    assert result.miss_reasons is None
