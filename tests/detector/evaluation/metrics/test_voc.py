"""Average precision against published values and against the development kit's loop, written out."""

import dataclasses
import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.data.detection_table import DetectionTable
from detector.data.ground_truth import GroundTruth
from detector.errors import InputError
from detector.evaluation import evaluate, voc_average_precision
from detector.evaluation.metrics.sizes import SIZES
from detector.evaluation.metrics.voc import VOC_METRICS, APResult, VOCMetric
from tests.detector.evaluation import tables
from tests.detector.evaluation.reference import area, eleven_points, inclusive, inclusive_iou
from tests.detector.evaluation.tables import table_of

Box = tuple[float, float, float, float]
truth_of = partial(tables.truth_of, images=1)


def result_of(truth: GroundTruth, *detections: tuple[int, float, Box], **settings: object) -> APResult:
    """Detections in the one image: label, score, box."""
    return voc_average_precision(truth, table_of(truth, *((0, *found) for found in detections)), **settings)


# Known answers


def fifteen_objects(last_pixel: int = 1) -> tuple[GroundTruth, DetectionTable]:
    """`last_pixel`: 0 for a wrong reading of the boxes."""
    objects, detections = [], []
    for line in (Path(__file__).parent / "data" / "fifteen_objects.txt").read_text().splitlines():
        if not line.startswith("#"):
            image, kind, *numbers = line.split()
            *score, x, y, width, height = map(float, numbers)
            # x + width is the last pixel that belongs to the box, so one more is the exclusive end.
            box = (x, y, x + width + last_pixel, y + height + last_pixel)
            (objects if kind == "object" else detections).append((int(image) - 1, 0, *score, box))
    truth = truth_of(*objects, images=7, names=["cat"])
    return truth, table_of(truth, *detections)


@pytest.mark.parametrize(
    ("metric", "iou_threshold", "expected"),
    [
        ("voc07", 0.1, 0.333333),
        ("voc07", 0.3, 0.268398),
        ("voc07", 0.5, 0.030303),
        ("voc07", 0.75, 0.0),
        ("voc10", 0.1, 0.337198),
        ("voc10", 0.3, 0.245687),
        ("voc10", 0.5, 0.022222),
        ("voc10", 0.75, 0.0),
    ],
)
def test_published_values(metric: VOCMetric, iou_threshold: float, expected: float) -> None:
    truth, detections = fifteen_objects()
    assert (len(truth), len(detections)) == (15, 24)
    result = voc_average_precision(truth, detections, metric, iou_threshold)
    assert result.mean_ap == result.ap["cat"] == pytest.approx(expected, abs=5e-7)
    assert result.classes["cat"].objects == 15


def test_the_last_pixel_matters() -> None:
    # Published with + 1: 24.57 %; boxes without their last column and row lose some.
    result = voc_average_precision(*fifteen_objects(last_pixel=0), "voc10", 0.3)
    assert result.mean_ap == pytest.approx(0.2254, abs=5e-5)


# The development kit, step by step


def kit_average_precision(
    truth: GroundTruth, detections: DetectionTable, label: int, metric: VOCMetric, threshold: float
) -> float:
    """VOCevaldet.m for one class."""
    objects = [[] for _ in truth.image_ids]
    for row in np.flatnonzero(truth.labels == label).tolist():
        item = {"box": inclusive(truth.boxes[row]), "difficult": truth.difficult[row], "taken": False}
        objects[truth.images[row]].append(item)
    hits = []
    for row in sorted(np.flatnonzero(detections.labels == label).tolist(), key=lambda row: -detections.scores[row]):
        best, best_overlap = None, -math.inf
        for item in objects[detections.images[row]]:
            overlap = inclusive_iou(inclusive(detections.boxes[row]), item["box"])
            if overlap > best_overlap:
                best, best_overlap = item, overlap
        if best is None or best_overlap < threshold:
            hits.append(False)
        elif not best["difficult"]:
            hits.append(not best["taken"])
            best["taken"] = True
    average = {"voc07": eleven_points, "voc10": area}[metric]
    return average(hits, sum(not item["difficult"] for items in objects for item in items))


def assert_like_the_kit(truth: GroundTruth, detections: DetectionTable, threshold: float) -> None:
    for metric in VOC_METRICS:
        result = voc_average_precision(truth, detections, metric, threshold)
        for label, name in enumerate(truth.class_names):
            expected = kit_average_precision(truth, detections, label, metric, threshold)
            assert result.ap[name] == pytest.approx(expected, abs=1e-12, nan_ok=True)


# A small grid and few scores, so that equal overlaps and equal scores are common.
IMAGE, LABEL, START, SIDE = st.integers(0, 3), st.integers(0, 1), st.integers(0, 5), st.integers(1, 5)
BOXES = st.builds(lambda x, y, width, height: (x, y, x + width, y + height), START, START, SIDE, SIDE)
SCORES = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(IMAGE, LABEL, BOXES, st.booleans()), max_size=16),
    st.lists(st.tuples(IMAGE, LABEL, SCORES, BOXES), max_size=24),
    st.sampled_from([0.1, 0.25, 0.5, 1.0]),
)
def test_it_is_the_development_kit(objects: list, detections: list, threshold: float) -> None:
    truth = truth_of(*(item[:3] for item in objects), images=4, difficult=[item[3] for item in objects])
    assert_like_the_kit(truth, table_of(truth, *detections), threshold)


# Single rules

BOX, NEAR, FAR, NOTHING = (10, 10, 50, 50), (10, 10, 50, 48), (200, 200, 240, 240), (300, 300, 310, 310)


def test_the_curves() -> None:
    truth = truth_of((0, 0, BOX), (0, 0, FAR))
    result = result_of(truth, (0, 0.25, FAR), (0, 0.9, BOX), (0, 0.5, NOTHING), metric="voc10")
    curve = result.classes["cat"]
    assert curve.scores.tolist() == [0.9, 0.5, 0.25]
    assert curve.true_positive.tolist() == [True, False, True]
    assert curve.precision.tolist() == pytest.approx([1, 1 / 2, 2 / 3])
    assert curve.recall.tolist() == [0.5, 0.5, 1]
    assert result.ap["cat"] == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


@pytest.mark.parametrize("difficult", [True, False])
def test_a_class_without_objects_that_count_is_not_in_the_mean(difficult: bool) -> None:
    truth = truth_of((0, 0, BOX), (0, 1, FAR), difficult=[1, 0]) if difficult else truth_of((0, 1, FAR))
    result = result_of(truth, (0, 0.9, BOX), (1, 0.5, FAR))
    assert math.isnan(result.ap["cat"])
    assert np.isnan(result.classes["cat"].recall).all()
    assert result.mean_ap == pytest.approx(1)
    assert math.isnan(result_of(truth_of()).mean_ap)


def test_a_recall_of_exactly_three_tenths_misses_its_level() -> None:
    # 3 / 10 < 3 * 0.1 in floating point, and published values rest on it: levels 0, 0.1, 0.2 are reached.
    boxes = [(20.0 * i, 0.0, 20.0 * i + 10, 10.0) for i in range(10)]
    result = result_of(truth_of(*((0, 0, box) for box in boxes)), *((0, 0.9, box) for box in boxes[:3]))
    assert result.ap["cat"] == pytest.approx(3 / 11)


def test_precision_and_recall_at_a_score() -> None:
    truth = truth_of((0, 0, BOX), (0, 0, FAR), (0, 1, BOX), (0, 1, FAR), difficult=[0, 0, 0, 1])
    result = result_of(truth, (0, 0.9, BOX), (1, 0.8, FAR), (1, 0.7, NOTHING), (1, 0.5, BOX), (0, 0.4, FAR))
    # The detection of the difficult object does not count, a score of exactly 0.5 does.
    assert result.at_score(0.5) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert result.at_score(0.4) == (pytest.approx(3 / 4), pytest.approx(1))
    assert result.at_score(0.95) == (pytest.approx(math.nan, nan_ok=True), 0)
    # 0.7 as a 32-bit number, the type of a detector's scores, is below 0.7.
    assert result_of(truth, (0, float(np.float32(0.7)), BOX)).at_score(0.7)[0] == 1


def test_several_thresholds_and_sizes() -> None:
    # Areas of 400 and 40,000 square pixels.
    small, large, difficult = (0, 0, 20, 20), (100, 100, 300, 300), (350, 0, 360, 10)
    truth = truth_of((0, 0, small), (0, 0, large), (0, 0, difficult), difficult=[0, 0, 1])
    table = table_of(
        truth,
        (0, 0, 0.9, small),
        (0, 0, 0.8, large),
        (0, 0, 0.7, (100, 100, 300, 290)),  # found already
        (0, 0, 0.6, (320, 0, 400, 40)),  # wrong and medium
        (0, 0, 0.5, difficult),
    )
    evaluation = evaluate(truth, table, "voc10", [0.5, 0.97])
    assert evaluation.result.classes["cat"].true_positive.tolist() == [True, True, False, False]
    hits = {size: result.classes["cat"].true_positive.tolist() for size, result in evaluation.by_size.items()}
    assert hits == {"small": [True], "medium": [False], "large": [True, False]}
    for threshold, result in evaluation.by_iou.items():
        assert (result.metric, result.iou_threshold) == ("voc10", threshold)
        assert result.ap == pytest.approx(voc_average_precision(truth, table, "voc10", threshold).ap, nan_ok=True)
    # The annotated area decides, and the borders belong to the range.
    outlined = dataclasses.replace(truth_of((0, 0, large)), areas=[1024.0])
    by_size = evaluate(outlined, table).by_size
    assert [by_size[size].classes["cat"].objects for size in SIZES] == [1, 1, 0]


@pytest.mark.parametrize("threshold", [0.0, -0.5, 1.5, math.nan])
def test_wrong_threshold(threshold: float) -> None:
    with pytest.raises(InputError, match="IoU threshold"):
        result_of(truth_of(), iou_threshold=threshold)


def test_wrong_arguments() -> None:
    with pytest.raises(InputError, match=r"metric 'coco'.*voc07, voc10"):
        result_of(truth_of(), metric="coco")
    with pytest.raises(InputError, match="other images or classes"):
        voc_average_precision(truth_of(), table_of(truth_of(images=2)))
