"""ILSVRC DET: each rule by hand, and the development kit's loops written out."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.data.detection_table import DetectionTable
from detector.data.ground_truth import GroundTruth
from detector.errors import InputError
from detector.evaluation import APResult, Blacklist, evaluate, ilsvrc_average_precision
from tests.detector.evaluation.coco_data import random_data
from tests.detector.evaluation.reference import area, inclusive, inclusive_iou
from tests.detector.evaluation.tables import table_of, truth_of


def hits(result: APResult, name: str = "cat") -> list[bool]:
    return result.classes[name].true_positive.tolist()


BOX, NEAR, FAR, NOTHING = (10, 10, 50, 50), (10, 10, 50, 46), (200, 200, 240, 240), (300, 300, 310, 310)


# The thresholds


@pytest.mark.parametrize(
    ("width", "height", "threshold"),
    [
        # 10 x 10: 100 / 400.
        (10, 10, 0.25),
        # 20 x 5: 100 / (30 * 15) = 2 / 9.
        (20, 5, 2 / 9),
        # 24 x 24: 576 / 1156 = 0.498...
        (24, 24, 576 / 1156),
        (8, 6, 48 / 288),  # a detection that is 10 pixels too wide and too high has just that
        # 25 x 25: 625 / 1225 is above a half.
        (25, 25, 0.5),
        (200, 300, 0.5),
    ],
)
def test_small_objects_have_a_lower_threshold(width: int, height: int, threshold: float) -> None:
    truth = truth_of((0, 0, (5, 5, 5 + width, 5 + height)))
    # Detections within the object, of a part of its width: their share is the IoU.
    for share, hit in ((threshold * 1.001, True), (threshold * 0.999, False)):
        table = table_of(truth, (0, 0, 0.9, (5, 5, 5 + width * share, 5 + height)))
        assert hits(ilsvrc_average_precision(truth, table)) == [hit]


def test_another_threshold_is_the_most_that_is_asked() -> None:
    truth = truth_of((0, 0, (0, 0, 100, 100)), (1, 0, (0, 0, 10, 10)))
    table = table_of(truth, (0, 0, 0.9, (0, 0, 60, 100)), (1, 0, 0.8, (0, 0, 3, 10)))
    results = evaluate(truth, table, "ilsvrc", [0.2, 0.5, 0.75]).by_iou
    assert list(map(hits, results.values())) == [[True, True], [True, True], [False, True]]
    assert [result.iou_threshold for result in results.values()] == list(results)


def test_mean_and_median() -> None:
    truth = truth_of(*((0, label, BOX) for label in range(3)), names=("cat", "dog", "cow"))
    result = ilsvrc_average_precision(truth, table_of(truth, (0, 0, 0.9, BOX)))
    assert (result.metric, result.mean_ap, result.median_ap) == ("ilsvrc", pytest.approx(1 / 3), 0)
    nothing = truth_of()
    assert math.isnan(ilsvrc_average_precision(nothing, table_of(nothing)).median_ap)


# The blacklist


def test_a_blacklisted_image_and_class_count_neither_way() -> None:
    truth = truth_of((0, 0, BOX), (1, 0, BOX), (1, 1, BOX))
    table = table_of(truth, (1, 0, 0.9, NOTHING), (1, 0, 0.8, BOX), (0, 0, 0.7, BOX), (1, 1, 0.6, BOX))
    listed = ilsvrc_average_precision(truth, table, Blacklist([1], [0]))
    assert listed.classes["cat"].objects == 1
    assert hits(listed) == [True]
    assert listed.ap == {"cat": 1, "dog": 1}
    assert ilsvrc_average_precision(truth, table).ap["cat"] == pytest.approx(2 / 3)
    without_objects = Blacklist([1, 0], [0, 1])
    assert ilsvrc_average_precision(truth, table, without_objects).ap == {"cat": 1, "dog": 1}


def test_wrong_arguments() -> None:
    truth = truth_of((0, 0, BOX))
    table = table_of(truth)
    with pytest.raises(InputError, match=r"blacklist 1: label 2 is not in 0\.\.1"):
        ilsvrc_average_precision(truth, table, Blacklist([0, 1], [1, 2]))
    with pytest.raises(InputError, match="IoU threshold"):
        ilsvrc_average_precision(truth, table, iou_threshold=0)
    with pytest.raises(InputError, match="other images or classes"):
        ilsvrc_average_precision(truth_of(images=3), table)


# What ILSVRC does not know


def test_difficult_objects_count_neither_way() -> None:
    truth = truth_of((0, 0, BOX), (0, 0, FAR), difficult=[True, False])
    table = table_of(truth, (0, 0, 0.9, BOX), (0, 0, 0.8, NEAR), (0, 0, 0.7, FAR), (0, 0, 0.6, NOTHING))
    result = ilsvrc_average_precision(truth, table)
    assert result.classes["cat"].objects == 1
    assert hits(result) == [True, False]


def test_by_size() -> None:
    small, large = (0, 0, 20, 20), (100, 100, 300, 300)
    truth = truth_of((0, 0, small), (0, 0, large), (1, 0, small))
    table = table_of(
        truth,
        (0, 0, 0.9, small),
        (0, 0, 0.8, large),
        (0, 0, 0.7, (50, 50, 60, 60)),  # wrong and small
        (1, 0, 0.6, (0, 0, 120, 150)),  # wrong and large
        (0, 0, 0.5, large),  # found already
    )
    evaluation = evaluate(truth, table, "ilsvrc")
    results = {"all": evaluation.result, **evaluation.by_size}
    assert {size: (hits(result), result.classes["cat"].objects) for size, result in results.items()} == {
        "all": ([True, True, False, False, False], 3),
        "small": ([True, False], 2),
        "medium": ([], 0),
        "large": ([True, False, False], 1),
    }


# The development kit, step by step


def kit(truth: GroundTruth, table: DetectionTable, blacklist: set[tuple[int, int]]) -> list[float]:
    """Average precision by class as eval_detection.m goes about it, in its own coordinates: 1-based, inclusive."""
    decisions = []
    positives = [0] * len(truth.class_names)
    for image in np.argsort(truth.image_numbers).tolist():
        objects = []
        for row in np.flatnonzero(truth.images == image).tolist():
            label, box = int(truth.labels[row]), inclusive(truth.boxes[row])
            positives[label] += (image, label) not in blacklist
            width, height = box[2] - box[0] + 1, box[3] - box[1] + 1
            threshold = min(0.5, (width * height) / ((width + 10) * (height + 10)))
            objects.append({"label": label, "box": box, "threshold": threshold, "free": True})
        rows = sorted(np.flatnonzero(table.images == image).tolist(), key=lambda row: -table.scores[row])
        for row in rows:
            label = int(table.labels[row])
            if (image, label) in blacklist:
                continue
            best, best_overlap = None, -math.inf
            for item in objects:
                if item["label"] == label and item["free"]:
                    overlap = inclusive_iou(inclusive(table.boxes[row]), item["box"])
                    if overlap >= item["threshold"] and overlap > best_overlap:
                        best, best_overlap = item, overlap
            if best is not None:
                best["free"] = False
            decisions.append((float(table.scores[row]), label, best is not None))
    decisions.sort(key=lambda decision: -decision[0])
    return [area([hit for _, of, hit in decisions if of == label], count) for label, count in enumerate(positives)]


def random_tables(seed: int) -> tuple[GroundTruth, DetectionTable]:
    data = random_data(seed, images=6, objects=40, detections=150)
    for item in data.annotations:
        item["iscrowd"] = 0
        item["bbox"][2:] = [side / 3 for side in item["bbox"][2:]]  # so that many are small
    for item in data.results:
        item["bbox"][2:] = [side / 3 for side in item["bbox"][2:]]
    truth = data.truth()
    numbers = np.random.default_rng(seed).permutation(len(truth.image_ids)) + 1
    return dataclasses.replace(truth, image_numbers=tuple(numbers.tolist())), data.detections()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.booleans())
def test_the_development_kit_agrees(seed: int, listed: bool) -> None:
    truth, table = random_tables(seed)
    pairs = {(0, 0), (2, 1), (5, 0)} if listed else set()
    images, labels = zip(*pairs, strict=True) if pairs else ((), ())
    result = ilsvrc_average_precision(truth, table, Blacklist(images, labels))
    assert list(result.ap.values()) == pytest.approx(kit(truth, table, pairs), abs=1e-12, nan_ok=True)
    assert 0 < result.mean_ap < 1
