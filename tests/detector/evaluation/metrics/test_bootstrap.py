"""Bootstrap intervals, compared with data sets whose images are actually drawn again."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.data.detection_table import DetectionTable
from detector.data.ground_truth import GroundTruth
from detector.errors import InputError
from detector.evaluation.evaluation import OBJECT_METRICS, Metric, evaluate, match_by_metric
from detector.evaluation.metrics import bootstrap
from detector.evaluation.metrics.bootstrap import bootstrap_average_precision, compare_average_precision
from detector.evaluation.metrics.coco import coco_average_precision, match_coco
from detector.evaluation.metrics.ilsvrc import ilsvrc_average_precision
from detector.evaluation.metrics.matching import Matches
from detector.evaluation.metrics.voc import APResult, match_voc
from tests.detector.evaluation.coco_data import random_data
from tests.detector.evaluation.tables import table_of, truth_of


def tables(seed: int, images: int = 10, **sizes: int) -> tuple[GroundTruth, DetectionTable]:
    """No two scores are equal."""
    data = random_data(seed, images=images, **sizes)
    table = data.detections()
    scores = np.random.default_rng(seed).permutation(len(table)) / len(table)
    return data.truth(), dataclasses.replace(table, scores=scores)


def voc_matches(truth: GroundTruth, table: DetectionTable) -> Matches:
    return match_voc(truth, table)[0.5]


def drawn_again(truth: GroundTruth, table: DetectionTable, images: np.ndarray) -> tuple[GroundTruth, DetectionTable]:
    """The data set of these images, some of which come more than once."""

    def drawn(part: GroundTruth | DetectionTable, *columns: str) -> dict:
        rows = [np.flatnonzero(part.images == image) for image in images]
        taken = {name: getattr(part, name)[np.concatenate(rows)] for name in ("labels", "boxes", *columns)}
        ids = {"image_ids": tuple(range(len(images))), "class_names": truth.class_names}
        return {**ids, "images": np.repeat(range(len(images)), list(map(len, rows))), **taken}

    return GroundTruth(**drawn(truth, "crowd", "areas")), DetectionTable(**drawn(table, "scores"))


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31))
def test_weights_are_data_sets_drawn_again(seed: int) -> None:
    truth, table = tables(seed)
    drawn = np.random.default_rng(seed).integers(0, 10, (5, 10))
    weights = np.array([np.bincount(row, minlength=10) for row in drawn], np.int32)
    for metric in ("voc07", "voc10", "coco"):
        curves = [bootstrap._curves(matches) for matches in match_by_metric(truth, table, metric).values()]
        values = bootstrap._average_precision(curves, weights, metric)
        for row, images in zip(values, drawn, strict=True):
            expected = evaluate(*drawn_again(truth, table, images), metric).result
            assert row.tolist() == pytest.approx(list(expected.ap.values()), abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("metric", OBJECT_METRICS)
@pytest.mark.parametrize("flat", [False, True])
def test_the_value_is_that_of_the_metric(metric: Metric, flat: bool) -> None:
    """Boxes without width find nothing, not even a crowd, of whose detections COCO counts the share inside it."""
    truth, table = tables(3)
    if flat:
        boxes = table.boxes.copy()
        boxes[::2, 2] = boxes[::2, 0]
        table = dataclasses.replace(table, boxes=boxes, sides=None)
    assert truth.crowd.any()
    result = bootstrap_average_precision(list(match_by_metric(truth, table, metric).values()), metric, resamples=20)
    expected = evaluate(truth, table, metric).result
    assert result.ap.tolist() == pytest.approx([*expected.ap.values(), expected.mean_ap], abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("seed", range(30))
def test_matches_by_cocos_rule_give_the_engines_numbers(seed: int) -> None:
    truth, table = tables(seed, **({"images": 2, "detections": 400} if seed % 3 == 0 else {}))
    if seed % 2:
        truth = dataclasses.replace(truth, difficult=(np.arange(len(truth)) % 5 == 0) & ~truth.crowd)
    engine = coco_average_precision(truth, table)
    found = match_coco(truth, table)
    for threshold, matches in found.items():
        classes = APResult.of(matches, "coco", threshold).classes.values()
        recall = [c.true_positive.sum() / c.objects if c.objects else math.nan for c in classes]
        assert recall == pytest.approx(engine.average_recall(threshold).tolist(), abs=1e-12, nan_ok=True)
    result = bootstrap_average_precision(list(found.values()), "coco", resamples=1)
    assert result.ap[:-1].tolist() == pytest.approx(list(engine.ap.values()), abs=1e-12, nan_ok=True)


def test_of_equally_good_objects_coco_takes_the_last_and_ilsvrc_the_first() -> None:
    # The first detection fits both objects alike; the second one only the object on the right.
    truth = truth_of((0, 0, (0, 0, 40, 40)), (0, 0, (8, 0, 48, 40)), images=1, names=["a"])
    table = table_of(truth, (0, 0, 0.9, (4, 0, 44, 40)), (0, 0, 0.8, (8, 0, 48, 40)))
    assert coco_average_precision(truth, table).average_recall(0.75).tolist() == [0.5]
    assert match_coco(truth, table, [0.75])[0.75].true_positive.tolist() == [True, False]
    assert ilsvrc_average_precision(truth, table, iou_threshold=0.75).ap["a"] == pytest.approx(1)


def test_intervals_cover_the_truth_as_often_as_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    # 60 images with one object each, found in 60 % of all such images. Hits come before misses, so that average
    # precision is the recall.
    monkeypatch.setattr(bootstrap, "CONFIDENCE", 0.8)
    box = (0, 0, 9, 9)
    truth = truth_of(*((image, 0, box) for image in range(60)), images=60, names=["cat"])
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(150):
        hits = rng.random(60) < 0.6
        boxes = [box if hit else (20, 20, 29, 29) for hit in hits]
        table = table_of(truth, *((image, 0, float(hits[image]), boxes[image]) for image in range(60)))
        result = bootstrap_average_precision([voc_matches(truth, table)], "voc10", resamples=200)
        covered += result.low[0] <= 0.6 <= result.high[0]
    assert 0.7 < covered / 150 < 0.9


def test_the_same_detector_does_not_differ_and_a_better_one_does() -> None:
    truth, table = tables(2, images=40, objects=120, detections=200)
    ranked = voc_matches(truth, table)
    _, _, same = compare_average_precision([ranked], [ranked], "voc10", resamples=50)
    assert same.ap[-1] == same.low[-1] == same.high[-1] == 0
    better = dataclasses.replace(ranked, counts=ranked.true_positive)
    first, second, difference = compare_average_precision([ranked], [better], "voc10", resamples=200)
    assert 0 < difference.low[-1] < difference.ap[-1] < difference.high[-1]
    assert difference.ap[0] == pytest.approx(second.ap[0] - first.ap[0])
    # On the same resamples a difference is surer than two separate intervals suggest.
    assert difference.high[-1] - difference.low[-1] < first.high[-1] - first.low[-1]
    np.testing.assert_equal(vars(bootstrap_average_precision([better], "voc10", resamples=200)), vars(second))


@pytest.mark.parametrize("metric", ["voc07", "voc10", "coco"])
def test_the_pieces_in_memory_change_nothing(metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ranked = [voc_matches(*tables(3))]
    whole = bootstrap_average_precision(ranked, metric, resamples=100, seed=5)
    monkeypatch.setattr(bootstrap, "_CHUNK", 700)
    pieces = bootstrap_average_precision(ranked, metric, resamples=100, seed=5)
    np.testing.assert_equal(vars(pieces), vars(whole))
    assert bootstrap_average_precision(ranked, metric, resamples=100, seed=6).low[-1] != whole.low[-1]


def test_classes_without_objects_and_rare_ones() -> None:
    truth, table = tables(4)
    result = bootstrap_average_precision([voc_matches(truth, table)], "voc07", resamples=50)
    assert np.isnan([result.ap[2], result.low[2], result.high[2]]).all()
    assert 0 <= result.low[-1] <= result.high[-1] <= 1
    # An object in one image of three: a third of the resamples lacks it, and they say nothing of the class.
    truth = truth_of((0, 0, (0, 0, 9, 9)), images=3)
    table = table_of(truth, (0, 0, 1, (0, 0, 9, 9)))
    result = bootstrap_average_precision([voc_matches(truth, table)], "voc10", resamples=50)
    assert (result.low[0], result.ap[0], result.high[-1]) == (1, 1, 1)
    nothing = voc_matches(truth.first(0), dataclasses.replace(table[:0], image_ids=()))
    assert math.isnan(bootstrap_average_precision([nothing], "voc10", resamples=5).ap[-1])


def test_wrong_arguments() -> None:
    matches = [voc_matches(*tables(0))]
    with pytest.raises(InputError, match="resamples is 0"):
        bootstrap_average_precision(matches, "voc10", resamples=0)
    with pytest.raises(InputError, match="at least one IoU threshold"):
        bootstrap_average_precision([], "voc10")
    with pytest.raises(InputError, match="different images, classes or objects"):
        compare_average_precision(matches, [voc_matches(*tables(1))], "voc10", resamples=5)
