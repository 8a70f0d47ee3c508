"""Confusion, slices, calibration, miss reasons and worst images: by hand, and invariants on random data."""

import dataclasses
import time
import warnings
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.data.detection_table import DetectionTable
from detector.data.ground_truth import GroundTruth
from detector.data.traces import ObjectTraces
from detector.errors import InputError
from detector.evaluation.errors import Diagnosis, MissReason, diagnose
from detector.evaluation.errors.reliability import reliability
from detector.evaluation.errors.slices import aspect_groups
from detector.evaluation.metrics.matching import MatchesByRow
from detector.evaluation.metrics.sizes import sizes_of
from detector.evaluation.metrics.voc import match_detections
from tests.detector.evaluation import tables
from tests.detector.evaluation.tables import table_of

NAMES = ("cat", "dog", "hen")
BOX, FAR = (0, 0, 100, 100), (500, 0, 600, 100)

truth_of = partial(tables.truth_of, names=NAMES)


# Confusion


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
    confusion = diagnose(truth, detections).confusion
    assert confusion.matrix.tolist() == [[1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [1, 1, 1, 0]]
    assert confusion.most_frequent(5) == [("dog", "cat", 1)]
    low = diagnose(truth, detections, score=0.3).confusion
    assert low.matrix[2].tolist() == [0, 0, 1, 0]


# Sizes and shapes


def test_the_limits_of_sizes_and_shapes() -> None:
    sizes = sizes_of(np.array([1, 32**2 - 1, 32**2, 96**2 - 1, 96**2]))
    assert {name: np.flatnonzero(rows).tolist() for name, rows in sizes.items()} == {
        "small": [0, 1, 2],
        "medium": [2, 3, 4],
        "large": [4],
    }
    sides = np.array([[74, 100], [75, 100], [4, 3], [41, 30]], float)
    assert aspect_groups(sides).tolist() == [0, 1, 1, 2]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert aspect_groups(np.array([[8.0, 0], [0, 8], [0, 0]])).tolist() == [2, 0, 0]


def test_slices_by_hand() -> None:
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
    sizes = {part.name: part for part in diagnose(truth, detections, metric="voc10").sizes}
    assert sizes["small"].class_ap.tolist() == pytest.approx([0.5, np.nan, np.nan], nan_ok=True)
    assert sizes["large"].class_ap.tolist() == pytest.approx([1, 0, np.nan], nan_ok=True)
    assert sizes["large"].mean_ap == 0.5
    assert np.isnan(sizes["medium"].mean_ap)
    assert [(part.objects.sum(), part.found) for part in sizes.values()] == [(1, 0), (0, 0), (2, 1)]


def test_an_annotated_area_goes_before_that_of_the_box() -> None:
    truth = dataclasses.replace(truth_of((0, 0, BOX)), areas=np.array([100.0]))
    assert diagnose(truth, table_of(truth, (0, 0, 0.9, BOX))).sizes[0].mean_ap == pytest.approx(1)


# Calibration


def test_calibration_by_hand() -> None:
    truth = truth_of((0, 0, BOX), (1, 0, BOX))
    detections = table_of(truth, (0, 0, 1.0, BOX), (1, 0, 0.9, BOX), (1, 0, 0.92, FAR), (0, 0, 0.1, FAR))
    result = reliability(detections, MatchesByRow.of(truth, match_detections(truth, detections)))
    assert result.counts.tolist() == [0, 1, 0, 0, 0, 0, 0, 0, 0, 3]
    assert result.precision[[1, 9]].tolist() == pytest.approx([0, 2 / 3])
    assert result.mean_scores[9] == pytest.approx(0.94)
    assert np.isnan(result.precision[0])
    assert result.expected_error == pytest.approx((0.1 + 3 * (0.94 - 2 / 3)) / 4)


def test_scores_that_are_no_probabilities_have_no_calibration() -> None:
    truth = truth_of((0, 0, BOX))
    assert diagnose(truth, table_of(truth, (0, 0, 7, BOX))).reliability is None
    nothing = diagnose(truth, table_of(truth)).reliability
    assert nothing.counts.sum() == 0
    assert np.isnan(nothing.expected_error)


# Miss reasons


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
    assert result.miss_reasons.reasons.tolist() == [found, suppressed, misclassified, not_proposed, suppressed, -1]
    assert result.shown_miss_reasons.reasons[:5].tolist() == [
        not_proposed, suppressed, misclassified, not_proposed, not_proposed,
    ]  # fmt: skip
    assert result.miss_reasons.count().tolist() == [[1, 2, 1, 1]]
    assert result.miss_reasons.count(np.array([0, 1, 0, 1, 0, 0]), 3).tolist() == [[1, 1, 1, 0], [0, 1, 0, 1], [0] * 4]
    single = truth_of((0, 0, BOX))
    with pytest.raises(InputError, match="traces of 6 objects"):
        diagnose(single, table_of(single), traces=traces)


# Worst images


def test_worst_images_by_hand() -> None:
    truth = truth_of((0, 0, BOX), (1, 0, BOX), (1, 1, FAR), (3, 0, BOX), images=4)
    detections = table_of(truth, (0, 0, 0.9, BOX), (0, 0, 0.8, FAR), (1, 0, 0.2, BOX), (3, 0, 0.5, BOX))
    images = diagnose(truth, detections).images
    assert images.missed_by_image.tolist() == [0, 2, 0, 0]
    assert images.false_positives_by_image.tolist() == [1, 0, 0, 0]
    assert images.found_by_image.tolist() == [1, 0, 0, 1]
    assert images.worst(10).tolist() == [1, 0]
    assert images.worst(1).tolist() == [1]


# Everything


def sums_agree(truth: GroundTruth, detections: DetectionTable, result: Diagnosis) -> None:
    counted = ~truth.difficult
    classes = len(truth.class_names)
    matrix = result.confusion.matrix
    assert matrix[:-1].sum(axis=1).tolist() == np.bincount(truth.labels[counted], minlength=classes).tolist()
    shown = [np.count_nonzero(c.scores.astype(np.float32) >= result.score) for c in result.result.classes.values()]
    assert matrix[:, :-1].sum(axis=0).tolist() == shown
    precision, recall = result.result.at_score(result.score)
    hits = np.trace(matrix[:-1, :-1])
    assert hits == pytest.approx(np.nan_to_num(precision) * sum(shown))
    assert hits == pytest.approx(np.nan_to_num(recall) * counted.sum())
    for parts in (result.sizes, result.aspects):
        assert sum(part.objects.sum() for part in parts) == counted.sum()
        assert sum(part.found for part in parts) == hits
    assert result.images.missed.sum() == counted.sum() - hits
    assert result.images.errors.sum() == counted.sum() - hits + sum(shown) - hits
    assert result.miss_reasons.count().sum() == counted.sum()
    assert result.shown_miss_reasons.count()[0, MissReason.FOUND] == hits


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
    sums_agree(truth, detections, diagnose(truth, detections, score=score, traces=traces))


def test_no_images_with_anything() -> None:
    truth = truth_of()
    result = diagnose(truth, table_of(truth))
    assert np.isnan(result.result.mean_ap)
    assert result.confusion.matrix.sum() == 0
    assert result.images.worst(5).tolist() == []
    assert result.miss_reasons is None


def test_forty_thousand_detections_take_well_below_a_second() -> None:
    rng = np.random.default_rng(0)

    def boxes(count: int) -> np.ndarray:
        corners = rng.uniform(0, 400, (count, 2))
        return np.hstack([corners, corners + rng.uniform(10, 200, (count, 2))])

    names = tuple(f"c{i}" for i in range(80))
    truth = GroundTruth(
        image_ids=tuple(range(5000)),
        class_names=names,
        images=rng.integers(0, 5000, 36_000),
        labels=rng.integers(0, 80, 36_000),
        boxes=boxes(36_000),
    )
    detections = DetectionTable(
        image_ids=truth.image_ids,
        class_names=names,
        images=rng.integers(0, 5000, 40_000),
        labels=rng.integers(0, 80, 40_000),
        boxes=boxes(40_000),
        scores=rng.random(40_000),
    )
    started = time.process_time()
    diagnose(truth, detections)
    assert time.process_time() - started < 3  # measured: 0.25 s
