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
from detector.evaluation.metrics import bootstrap
from detector.evaluation.metrics.bootstrap import Curve, bootstrap_average_precision, compare_average_precision
from detector.evaluation.metrics.coco import coco_average_precision
from detector.evaluation.metrics.coco_matching import ranked_coco_matches
from detector.evaluation.metrics.ilsvrc import ilsvrc_average_precision, ranked_ilsvrc_matches
from detector.evaluation.metrics.matching import RankedMatches, rank_matches
from detector.evaluation.metrics.voc import (
    VOC_METRICS,
    VOCMetric,
    class_results,
    match_detections,
    voc_average_precision,
)
from tests.detector.evaluation.coco_data import random_data
from tests.detector.evaluation.tables import table_of, truth_of


def tables(seed: int, images: int = 10, **sizes: int) -> tuple[GroundTruth, DetectionTable]:
    """No two scores are equal."""
    data = random_data(seed, images=images, **sizes)
    table = data.detections()
    scores = np.random.default_rng(seed).permutation(len(table)) / len(table)
    return data.truth(), dataclasses.replace(table, scores=scores)


def voc_matches(truth: GroundTruth, table: DetectionTable) -> RankedMatches:
    return rank_matches(truth, table, match_detections(truth, table))


def drawn_again(truth: GroundTruth, table: DetectionTable, images: np.ndarray) -> tuple[GroundTruth, DetectionTable]:
    """The data set of these images, some of which come more than once."""
    ids, names = tuple(range(len(images))), truth.class_names
    rows = [np.flatnonzero(truth.images == image) for image in images]
    table_rows = [np.flatnonzero(table.images == image) for image in images]
    objects, detections = np.concatenate(rows), np.concatenate(table_rows)
    new_truth = GroundTruth(
        image_ids=ids,
        class_names=names,
        images=np.repeat(ids, list(map(len, rows))),
        labels=truth.labels[objects],
        boxes=truth.boxes[objects],
        crowd=truth.crowd[objects],
        areas=truth.areas[objects],
    )
    new_table = DetectionTable(
        image_ids=ids,
        class_names=names,
        images=np.repeat(ids, list(map(len, table_rows))),
        labels=table.labels[detections],
        boxes=table.boxes[detections],
        scores=table.scores[detections],
    )
    return new_truth, new_table


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31))
def test_weights_are_data_sets_drawn_again(seed: int) -> None:
    truth, table = tables(seed)
    drawn = np.random.default_rng(seed).integers(0, 10, (5, 10))
    weights = np.array([np.bincount(row, minlength=10) for row in drawn], np.int32)
    for curve in VOC_METRICS:
        values = bootstrap._average_precision([bootstrap._curves(voc_matches(truth, table))], weights, curve)
        for row, images in zip(values, drawn, strict=True):
            expected = voc_average_precision(*drawn_again(truth, table, images), curve)
            assert row.tolist() == pytest.approx(list(expected.ap.values()), abs=1e-12, nan_ok=True)
    ranked = [bootstrap._curves(matches) for matches in ranked_coco_matches(truth, table).values()]
    values = bootstrap._average_precision(ranked, weights, "coco")
    for row, images in zip(values, drawn, strict=True):
        expected = coco_average_precision(*drawn_again(truth, table, images))
        assert row.tolist() == pytest.approx(list(expected.ap.values()), abs=1e-12, nan_ok=True)


def test_boxes_without_width_find_nothing_by_coco() -> None:
    """Neither an object nor a crowd, of whose detections the share inside it counts."""
    truth, table = tables(3)
    boxes = table.boxes.copy()
    boxes[::2, 2] = boxes[::2, 0]
    flat = dataclasses.replace(table, boxes=boxes, sides=None)
    assert truth.crowd.any()
    values = bootstrap_average_precision(list(ranked_coco_matches(truth, flat).values()), "coco", resamples=20).ap
    expected = coco_average_precision(truth, flat)
    assert values.tolist() == pytest.approx(list(expected.ap.values()), abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("metric", VOC_METRICS)
def test_the_value_is_that_of_the_metric(metric: VOCMetric) -> None:
    truth, table = tables(1)
    result = bootstrap_average_precision([voc_matches(truth, table)], metric, resamples=20)
    expected = voc_average_precision(truth, table, metric)
    assert result.ap.tolist() == pytest.approx(list(expected.ap.values()), abs=1e-12, nan_ok=True)
    assert result.mean_ap == pytest.approx(expected.mean_ap)
    listed = ranked_ilsvrc_matches(truth, table, None, [0.5], {"all": None})
    result = bootstrap_average_precision(list(listed.values()), "voc10", resamples=20)
    assert result.mean_ap == pytest.approx(ilsvrc_average_precision(truth, table).mean_ap)


@pytest.mark.parametrize("seed", range(30))
def test_matches_by_cocos_rule_give_the_engines_numbers(seed: int) -> None:
    data = random_data(seed, **({"images": 2, "detections": 400} if seed % 3 == 0 else {}))
    truth, table = data.truth(), data.detections()
    if seed % 2:
        truth = dataclasses.replace(truth, difficult=(np.arange(len(truth)) % 5 == 0) & ~truth.crowd)
    engine = coco_average_precision(truth, table)
    ranked = ranked_coco_matches(truth, table)
    for threshold, matches in ranked.items():
        hits = {name: result.true_positive for name, result in class_results(matches, "voc10").items()}
        recall = [
            of_class.sum() / count if count else math.nan
            for of_class, count in zip(hits.values(), engine.objects, strict=True)
        ]
        assert recall == pytest.approx(engine.average_recall(threshold).tolist(), abs=1e-12, nan_ok=True)
    result = bootstrap_average_precision(list(ranked.values()), "coco", resamples=1)
    assert result.ap.tolist() == pytest.approx(list(engine.ap.values()), abs=1e-12, nan_ok=True)


def test_of_equally_good_objects_coco_takes_the_last_and_ilsvrc_the_first() -> None:
    # The first detection fits both objects alike; the second one only the object on the right.
    truth = truth_of((0, 0, (0, 0, 40, 40)), (0, 0, (8, 0, 48, 40)), images=1, names=["a"])
    table = table_of(truth, (0, 0, 0.9, (4, 0, 44, 40)), (0, 0, 0.8, (8, 0, 48, 40)))
    assert coco_average_precision(truth, table).average_recall(0.75).tolist() == [0.5]
    assert ranked_coco_matches(truth, table, [0.75])[0.75].true_positive.tolist() == [True, False]
    assert ilsvrc_average_precision(truth, table, iou_threshold=0.75).ap["a"] == pytest.approx(1)


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    # 60 images with one object each, found in 60 % of all such images. Hits come before misses, so that average
    # precision is the recall.
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(150):
        hits = rng.random(60) < 0.6
        scores = np.where(hits, 1 + rng.random(60), rng.random(60))
        order = np.argsort(-scores)
        ranked = RankedMatches(
            class_names=("cat",),
            image_count=60,
            images=order,
            labels=np.zeros(60, np.int64),
            scores=scores[order],
            true_positive=hits[order],
            object_images=np.arange(60),
            object_labels=np.zeros(60, np.int64),
        )
        result = bootstrap_average_precision([ranked], "voc10", resamples=200, confidence=0.8)
        covered += result.low[0] <= 0.6 <= result.high[0]
    assert 0.7 < covered / 150 < 0.9


def test_the_same_detector_does_not_differ_and_a_better_one_does() -> None:
    truth, table = tables(2, images=40, objects=120, detections=200)
    ranked = voc_matches(truth, table)
    same = compare_average_precision([ranked], [ranked], "voc10", resamples=50)
    assert same.difference.mean_ap == same.difference.mean_low == same.difference.mean_high == 0
    right = ranked.true_positive
    better = dataclasses.replace(
        ranked,
        **{name: getattr(ranked, name)[right] for name in ("images", "labels", "scores", "true_positive")},
    )
    compared = compare_average_precision([ranked], [better], "voc10", resamples=200)
    d = compared.difference
    assert 0 < d.mean_low < d.mean_ap < d.mean_high
    assert d.ap[0] == pytest.approx(compared.second.ap[0] - compared.first.ap[0])
    # On the same resamples a difference is surer than two separate intervals suggest.
    assert d.mean_high - d.mean_low < compared.first.mean_high - compared.first.mean_low
    alone = bootstrap_average_precision([better], "voc10", resamples=200)
    assert (alone.low.tolist(), alone.mean_low) == (
        pytest.approx(compared.second.low.tolist(), nan_ok=True),
        compared.second.mean_low,
    )


@pytest.mark.parametrize("curve", ["voc07", "voc10", "coco"])
def test_the_pieces_in_memory_change_nothing(curve: Curve, monkeypatch: pytest.MonkeyPatch) -> None:
    ranked = [voc_matches(*tables(3))]
    whole = bootstrap_average_precision(ranked, curve, resamples=100, seed=5)
    monkeypatch.setattr(bootstrap, "_CHUNK", 700)
    pieces = bootstrap_average_precision(ranked, curve, resamples=100, seed=5)
    np.testing.assert_equal(vars(pieces), vars(whole))
    assert bootstrap_average_precision(ranked, curve, resamples=100, seed=6).mean_low != whole.mean_low


def test_classes_without_objects_and_rare_ones() -> None:
    truth, table = tables(4)
    result = bootstrap_average_precision([voc_matches(truth, table)], "voc07", resamples=50)
    assert np.isnan([result.ap[2], result.low[2], result.high[2]]).all()
    assert 0 <= result.mean_low <= result.mean_high <= 1
    # An object in one image of three: a third of the resamples lacks it, and they say nothing of the class.
    truth = truth_of((0, 0, (0, 0, 9, 9)), images=3)
    table = table_of(truth, (0, 0, 1, (0, 0, 9, 9)))
    result = bootstrap_average_precision([voc_matches(truth, table)], "voc10", resamples=50)
    assert (result.low[0], result.ap[0], result.mean_high) == (1, 1, 1)
    nothing = voc_matches(truth.first(0), dataclasses.replace(table[:0], image_ids=()))
    assert math.isnan(bootstrap_average_precision([nothing], "voc10", resamples=5).mean_ap)


def test_classes_and_mean() -> None:
    truth, table = tables(4)
    ranked = voc_matches(truth, table)
    result = bootstrap_average_precision([ranked], "voc10", resamples=50, confidence=0.9)
    assert result.classes["0"].low == result.low[0]
    assert "2" not in result.classes
    assert (result.mean.low, result.mean.high) == (result.mean_low, result.mean_high)
    worse = dataclasses.replace(ranked, true_positive=ranked.true_positive & (np.arange(len(ranked.images)) % 2 == 0))
    compared = compare_average_precision([ranked], [worse], "voc10", resamples=50)
    assert compared.difference.mean_ap == pytest.approx(compared.second.mean_ap - compared.first.mean_ap)
    assert compared.difference.mean.high < 0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"resamples": 0}, "resamples is 0"),
        ({"confidence": 1}, "confidence is 1"),
        ({"curve": "voc12"}, "curve 'voc12' is unknown; do you mean 'voc10'"),
        ({"ranked": []}, "at least one IoU threshold"),
    ],
)
def test_wrong_arguments(wrong: dict, message: str) -> None:
    arguments = {"ranked": [voc_matches(*tables(0))], "curve": "voc10"}
    with pytest.raises(InputError, match=message):
        bootstrap_average_precision(**(arguments | wrong))


def test_detectors_judged_by_other_objects_are_not_compared() -> None:
    with pytest.raises(InputError, match="different images, classes or objects"):
        compare_average_precision([voc_matches(*tables(0))], [voc_matches(*tables(1))], "voc10", resamples=5)
