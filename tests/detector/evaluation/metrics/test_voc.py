"""Average precision against published values and against the development kit's loop, written out."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.data import Annotations
from detector.data.detection_table import DetectionTable
from detector.data.ground_truth import GroundTruth
from detector.errors import InputError
from detector.evaluation import VOCResult, voc_average_precision
from detector.evaluation.metrics.matching import rank
from detector.evaluation.metrics.sizes import AREA_RANGES
from detector.evaluation.metrics.voc import VOC_METRICS, VOCMetric, match_detections, voc_average_precisions
from detector.structures.detections import Detections
from tests.detector.evaluation.coco_data import random_data

SIZE = (400, 400)
NAMES = ("cat", "dog")


def annotated(*objects: tuple[int, tuple[float, ...], bool]) -> Annotations:
    """Objects of an image: label, box, difficult."""
    labels, boxes, difficult = zip(*objects, strict=True) if objects else ((), (), ())
    return Annotations(boxes, labels, difficult, SIZE)


def detected(*detections: tuple[int, float, tuple[float, ...]]) -> Detections:
    """Detections of an image, best first: label, score, box."""
    labels, scores, boxes = zip(*detections, strict=True) if detections else ((), (), ())
    return Detections(boxes, scores, labels, NAMES, SIZE)


def result_of_images(
    annotations: Sequence[Annotations], detections: Sequence[Detections], *settings: object, **named: object
) -> VOCResult:
    truth = GroundTruth.from_annotations(range(len(annotations)), annotations, NAMES)
    return voc_average_precision(truth, DetectionTable.from_detections(truth, detections), *settings, **named)


def result_of(annotations: Annotations, detections: Detections, **settings: object) -> VOCResult:
    return result_of_images([annotations], [detections], **settings)


# Known answers


def fifteen_objects(last_pixel: int = 1) -> tuple[list[Annotations], list[Detections]]:
    """`last_pixel`: 0 for a wrong reading of the boxes."""
    objects: dict[str, list] = {}
    detections: dict[str, list] = {}
    path = Path(__file__).parent / "data" / "fifteen_objects.txt"
    for line in path.read_text().splitlines():
        if line.startswith("#"):
            continue
        image, kind, *numbers = line.split()
        *score, x, y, width, height = map(float, numbers)
        # x + width is the last pixel that belongs to the box, so one more is the exclusive end.
        box = (x, y, x + width + last_pixel, y + height + last_pixel)
        if kind == "object":
            objects.setdefault(image, []).append((0, box, False))
        else:
            detections.setdefault(image, []).append((0, score[0], box))
    by_score = {image: sorted(items, key=lambda item: -item[1]) for image, items in detections.items()}
    return [annotated(*objects[i]) for i in objects], [detected(*by_score[i]) for i in objects]


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
    annotations, detections = fifteen_objects()
    assert [sum(map(len, items)) for items in (annotations, detections)] == [15, 24]
    result = result_of_images(annotations, detections, metric, iou_threshold)
    assert result.ap["cat"] == pytest.approx(expected, abs=5e-7)
    assert result.mean_ap == result.ap["cat"]
    assert result.classes["cat"].objects == 15


def test_the_last_pixel_matters() -> None:
    # Published with + 1: 24.57 %; boxes without their last column and row lose some.
    annotations, detections = fifteen_objects(last_pixel=0)
    assert result_of_images(annotations, detections, "voc10", 0.3).mean_ap == pytest.approx(0.2254, abs=5e-5)


# The development kit, step by step


def kit_average_precision(
    annotations: list[Annotations], detections: list[Detections], label: int, metric: VOCMetric, threshold: float
) -> float:
    """VOCevaldet.m for one class, in VOC's own coordinates: 1-based, inclusive, sides with + 1."""
    truth, positives = [], 0
    for image in annotations:
        items = []
        for box, box_label, difficult in zip(image.boxes, image.labels, image.difficult, strict=True):
            if box_label == label:
                x1, y1, x2, y2 = map(float, box)
                items.append({"box": (x1 + 1, y1 + 1, x2, y2), "difficult": difficult, "taken": False})
                positives += not difficult
        truth.append(items)
    flat = [
        (float(score), image, (float(box[0]) + 1, float(box[1]) + 1, float(box[2]), float(box[3])))
        for image, items in enumerate(detections)
        for box, score, box_label in zip(items.boxes, items.scores, items.labels, strict=True)
        if box_label == label
    ]
    flat.sort(key=lambda item: -item[0])  # stable
    hits, misses = [], []
    for _, image, box in flat:
        best, best_overlap = None, -math.inf
        for item in truth[image]:
            target = item["box"]
            width = min(box[2], target[2]) - max(box[0], target[0]) + 1
            height = min(box[3], target[3]) - max(box[1], target[1]) + 1
            if width > 0 and height > 0:
                area = (box[2] - box[0] + 1) * (box[3] - box[1] + 1)
                target_area = (target[2] - target[0] + 1) * (target[3] - target[1] + 1)
                overlap = width * height / (area + target_area - width * height)
                if overlap > best_overlap:
                    best, best_overlap = item, overlap
        hit = miss = 0
        if best is not None and best_overlap >= threshold:
            if not best["difficult"]:
                if best["taken"]:
                    miss = 1
                else:
                    hit = 1
                    best["taken"] = True
        else:
            miss = 1
        hits.append(hit)
        misses.append(miss)
    if positives == 0:
        return math.nan
    recall, precision = [], []
    for end in range(1, len(flat) + 1):
        hit, miss = sum(hits[:end]), sum(misses[:end])
        recall.append(hit / positives)
        precision.append(hit / (hit + miss) if hit + miss else 0.0)
    if metric == "voc07":
        levels = [i * 0.1 for i in range(11)]
        best_beyond = [
            max([p for p, r in zip(precision, recall, strict=True) if r >= level], default=0.0) for level in levels
        ]
        return sum(best_beyond) / 11
    area, last = 0.0, 0.0
    for start, r in enumerate(recall):
        area += (r - last) * max(precision[start:])
        last = r
    return area


coordinate = st.integers(0, 5)


@st.composite
def boxes(draw: st.DrawFn) -> tuple[int, int, int, int]:
    x1, y1 = draw(coordinate), draw(coordinate)
    return x1, y1, x1 + draw(st.integers(1, 5)), y1 + draw(st.integers(1, 5))


@st.composite
def images(draw: st.DrawFn) -> tuple[Annotations, Detections]:
    label = st.integers(0, 1)
    objects = draw(st.lists(st.tuples(label, boxes(), st.booleans()), max_size=6))
    # Few different scores and boxes on a small grid, so that equal scores and equal overlaps are common.
    score = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])
    detections = draw(st.lists(st.tuples(label, score, boxes()), max_size=10))
    return annotated(*objects), detected(*sorted(detections, key=lambda item: -item[1]))


@settings(max_examples=300, deadline=None)
@given(st.lists(images(), min_size=1, max_size=4), st.sampled_from([0.1, 0.25, 0.5, 1.0]))
def test_it_is_the_development_kit(data: list[tuple[Annotations, Detections]], threshold: float) -> None:
    annotations, detections = [a for a, _ in data], [d for _, d in data]
    for metric in VOC_METRICS:
        result = result_of_images(annotations, detections, metric, threshold)
        for label, name in enumerate(NAMES):
            expected = kit_average_precision(annotations, detections, label, metric, threshold)
            assert result.ap[name] == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_it_is_the_development_kit_on_many_random_images() -> None:
    rng = np.random.default_rng(0)
    annotations, detections = [], []
    for _ in range(60):
        corners = rng.uniform(0, 300, (12, 2))
        boxes = np.hstack([corners, corners + rng.uniform(5, 100, (12, 2))]).astype(np.float32)
        near = np.clip(boxes + rng.normal(0, 8, (12, 4)), 0, 400).astype(np.float32)
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
        scores = np.sort(rng.integers(0, 30, 12) / 30)[::-1]
        labels = rng.integers(0, 2, 12)
        annotations.append(Annotations(boxes, labels, rng.random(12) < 0.2, SIZE))
        detections.append(Detections(np.minimum(near, 400), scores, labels, NAMES, SIZE))
    for metric in VOC_METRICS:
        result = result_of_images(annotations, detections, metric)
        assert 0.1 < result.mean_ap < 0.9
        for label, name in enumerate(NAMES):
            expected = kit_average_precision(annotations, detections, label, metric, 0.5)
            assert result.ap[name] == pytest.approx(expected, abs=1e-12)


# Single rules

BOX, NEAR, FAR = (10, 10, 50, 50), (10, 10, 50, 48), (200, 200, 240, 240)


@pytest.mark.parametrize("metric", VOC_METRICS)
def test_perfect_and_empty(metric: VOCMetric) -> None:
    truth = annotated((0, BOX, False), (1, FAR, False))
    assert result_of(truth, detected((0, 1.0, BOX), (1, 0.3, FAR)), metric=metric).mean_ap == 1
    nothing = result_of(truth, detected(), metric=metric)
    assert nothing.mean_ap == 0
    assert nothing.classes["cat"].precision.shape == (0,)


def test_the_curves() -> None:
    truth = annotated((0, BOX, False), (0, FAR, False))
    result = result_of(truth, detected((0, 0.9, BOX), (0, 0.5, (300, 300, 310, 310)), (0, 0.25, FAR)), metric="voc10")
    curve = result.classes["cat"]
    assert curve.scores.tolist() == pytest.approx([0.9, 0.5, 0.25])
    assert curve.true_positive.tolist() == [True, False, True]
    assert curve.precision.tolist() == pytest.approx([1, 1 / 2, 2 / 3])
    assert curve.recall.tolist() == [0.5, 0.5, 1]
    assert result.ap["cat"] == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


def test_a_second_detection_of_an_object_is_a_false_positive_even_if_another_object_is_free() -> None:
    # The second detection overlaps both objects, the taken one more.
    smaller = (10, 10, 50, 46)
    truth = annotated((0, BOX, False), (0, smaller, False))
    result = result_of(truth, detected((0, 0.9, BOX), (0, 0.8, (10, 10, 50, 49))))
    assert result.classes["cat"].true_positive.tolist() == [True, False]


def test_equal_scores_keep_their_order() -> None:
    truth = annotated((0, BOX, False))
    both = [(0, 0.5, BOX), (0, 0.5, NEAR)]
    first = result_of(truth, detected(*both)).classes["cat"]
    assert first.true_positive.tolist() == [True, False]
    miss_first = result_of(truth, detected((0, 0.5, FAR), (0, 0.5, BOX)))
    hit_first = result_of(truth, detected((0, 0.5, BOX), (0, 0.5, FAR)))
    assert (miss_first.ap["cat"], hit_first.ap["cat"]) == (pytest.approx(0.5), pytest.approx(1))


def test_difficult_objects_count_neither_way() -> None:
    truth = annotated((0, BOX, True), (0, FAR, False))
    # Two detections of the difficult object: neither is right or wrong, and it is not among the objects.
    result = result_of(truth, detected((0, 0.9, BOX), (0, 0.8, NEAR), (0, 0.7, FAR)))
    assert result.classes["cat"].objects == 1
    assert result.classes["cat"].true_positive.tolist() == [True]
    assert result.ap["cat"] == pytest.approx(1)


@pytest.mark.parametrize(("first_is_difficult", "true_positives"), [(True, []), (False, [True])])
def test_of_equal_overlaps_the_first_object_is_taken(first_is_difficult: bool, true_positives: list[bool]) -> None:
    truth = annotated((0, BOX, first_is_difficult), (0, BOX, not first_is_difficult))
    result = result_of(truth, detected((0, 0.9, BOX)))
    assert result.classes["cat"].true_positive.tolist() == true_positives


def test_only_difficult_objects_are_no_objects() -> None:
    result = result_of(annotated((0, BOX, True), (1, FAR, False)), detected((0, 0.9, BOX), (1, 0.5, FAR)))
    assert math.isnan(result.ap["cat"])
    assert np.isnan(result.classes["cat"].recall).all()
    assert result.mean_ap == pytest.approx(1)


def test_a_class_without_objects_is_not_in_the_mean() -> None:
    result = result_of(annotated((1, BOX, False)), detected((0, 0.9, BOX), (1, 0.8, BOX)))
    assert math.isnan(result.ap["cat"])
    assert result.mean_ap == pytest.approx(1)
    assert math.isnan(result_of(annotated(), detected()).mean_ap)


@pytest.mark.parametrize(("threshold", "hit"), [(0.5, True), (0.501, False)])
def test_the_threshold_itself_is_enough(threshold: float, hit: bool) -> None:
    # 10 x 10 within 10 x 20: IoU 1/2.
    truth = annotated((0, (0, 0, 10, 20), False))
    result = result_of(truth, detected((0, 0.9, (0, 0, 10, 10))), iou_threshold=threshold)
    assert result.classes["cat"].true_positive.tolist() == [hit]


def test_a_recall_of_exactly_three_tenths_misses_its_level() -> None:
    # 3 / 10 < 3 * 0.1 in floating point, and published values rest on it: levels 0, 0.1, 0.2 are reached.
    boxes = [(20.0 * i, 0.0, 20.0 * i + 10, 10.0) for i in range(10)]
    truth = annotated(*((0, box, False) for box in boxes))
    result = result_of(truth, detected(*((0, 0.9, box) for box in boxes[:3])), metric="voc07")
    assert result.ap["cat"] == pytest.approx(3 / 11)


def test_objects_of_another_image_or_class_are_not_found() -> None:
    truth = [annotated((0, BOX, False)), annotated((1, FAR, False))]
    result = result_of_images(truth, [detected((1, 0.9, BOX)), detected((0, 0.9, BOX), (1, 0.8, FAR))])
    assert result.ap == {"cat": 0, "dog": pytest.approx(0.5)}


def test_classes_go_by_name() -> None:
    detections = Detections([BOX, FAR], [0.9, 0.8], [2, 0], ("dog", "lynx", "cat"), SIZE)
    truth = annotated((0, BOX, False), (1, FAR, False))
    assert result_of(truth, detections).ap == {"cat": pytest.approx(1), "dog": pytest.approx(1)}


def test_classes_that_the_data_set_lacks_are_ignored() -> None:
    names = ("dog", "lynx", "cat")
    lynx = Detections([BOX], [0.9], [1], names, SIZE)
    cat_and_dog = Detections([BOX, FAR], [0.8, 0.7], [2, 0], names, SIZE)
    truth = annotated((0, BOX, False), (1, FAR, False))
    result = result_of_images([truth, annotated(), truth], [cat_and_dog, lynx, cat_and_dog])
    assert result.at_score(0) == (1, 1)


def test_a_class_that_the_data_set_lacks_takes_no_object_of_another_image() -> None:
    truth = [annotated((1, BOX, False)), annotated()]
    detections = [detected((1, 0.8, BOX)), Detections([BOX], [0.9], [0], ("lynx",), SIZE)]
    assert result_of_images(truth, detections).ap["dog"] == pytest.approx(1)


def test_precision_and_recall_at_a_score() -> None:
    truth = annotated((0, BOX, False), (0, FAR, False), (1, BOX, False), (1, FAR, True))
    detections = detected((0, 0.9, BOX), (1, 0.8, FAR), (1, 0.7, (300, 300, 310, 310)), (1, 0.5, BOX), (0, 0.4, FAR))
    result = result_of(truth, detections)
    # The detection of the difficult object does not count, a score of exactly 0.5 does.
    assert result.at_score(0.5) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert result.at_score(0.4) == (pytest.approx(3 / 4), pytest.approx(1))
    precision, recall = result.at_score(0.95)
    assert math.isnan(precision)
    assert recall == 0


def test_at_score_agrees_with_the_filter_of_detections() -> None:
    # 0.7 as a 32-bit number is below 0.7.
    detections = detected((0, 0.7, BOX))
    assert len(detections.filter(score=0.7)) == 1
    assert result_of(annotated((0, BOX, False)), detections).at_score(0.7) == (1, 1)


# Several thresholds and sizes


def test_several_thresholds_and_sizes_are_those_one_by_one() -> None:
    annotations, detections = fifteen_objects()
    truth = GroundTruth.from_annotations(range(len(annotations)), annotations, NAMES)
    table = DetectionTable.from_detections(truth, detections)
    sizes = {"all": None, "small": (0, 2000.0), "large": (2000.0, math.inf)}
    for metric in VOC_METRICS:
        results = voc_average_precisions(truth, table, metric, [0.1, 0.3], sizes)
        assert list(results) == [(iou, size) for size in sizes for iou in (0.1, 0.3)]
        for (iou, size), result in results.items():
            assert (result.metric, result.iou_threshold) == (metric, iou)
            assert result.ap["cat"] == voc_average_precision(truth, table, metric, iou, sizes[size]).ap["cat"]
    counts = {size: results[0.3, size].classes["cat"].objects for size in sizes}
    assert counts["small"] + counts["large"] == counts["all"] == 15
    assert 0 < counts["small"] < 15


def test_by_size() -> None:
    # Areas of 400 and 40,000 square pixels.
    small, large = (0, 0, 20, 20), (100, 100, 300, 300)
    truth = GroundTruth.from_annotations(
        [0], [annotated((0, small, False), (0, large, False), (0, (350, 0, 360, 10), True))], NAMES
    )
    detections = detected(
        (0, 0.9, small),
        (0, 0.8, large),
        (0, 0.7, (100, 100, 300, 290)),  # found already
        (0, 0.6, (320, 0, 400, 40)),  # wrong and medium
        (0, 0.5, (350, 0, 360, 10)),  # difficult
    )
    table = DetectionTable.from_detections(truth, [detections])
    hits = {
        size: result.classes["cat"].true_positive.tolist()
        for (_, size), result in voc_average_precisions(truth, table, "voc10", [0.5], AREA_RANGES).items()
    }
    assert hits == {
        "all": [True, True, False, False],
        "small": [True],
        "medium": [False],
        "large": [True, False],
    }
    # The annotated area decides, and the borders belong to the range.
    truth = GroundTruth.from_annotations([0], [annotated((0, large, False))], NAMES)
    outlined = dataclasses.replace(truth, areas=[1024.0])
    for size, objects in (("all", 1), ("small", 1), ("medium", 1), ("large", 0)):
        result = voc_average_precision(outlined, table, area_range=AREA_RANGES[size])
        assert result.classes["cat"].objects == objects


# Properties


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from(VOC_METRICS))
def test_properties(seed: int, metric: VOCMetric) -> None:
    data = random_data(seed, images=6, objects=30, detections=60)
    truth = data.truth()
    rng = np.random.default_rng(seed)
    table = dataclasses.replace(data.detections(), scores=rng.permutation(60))  # no equal ones
    result = voc_average_precision(truth, table, metric)
    before = pytest.approx(result.ap, nan_ok=True)
    assert 0 <= result.mean_ap <= 1
    # Images in another order, rows in another order, other scores in the same order.
    new = rng.permutation(len(truth.image_ids))
    moved = truth.of_images(new.tolist())
    other = dataclasses.replace(table, image_ids=moved.image_ids, images=np.argsort(new)[table.images])
    assert voc_average_precision(moved, other, metric).ap == before
    assert voc_average_precision(truth, table[rng.permutation(60)], metric).ap == before
    assert (
        voc_average_precision(truth, dataclasses.replace(table, scores=np.exp(table.scores / 9)), metric).ap == before
    )
    # False positives taken away, one after the other.
    ranked = table[rank(table)]
    matches = match_detections(truth, ranked)
    kept = np.ones(60, dtype=bool)
    for wrong in rng.permutation(np.flatnonzero(matches.counts & ~matches.true_positive))[:5]:
        kept[wrong] = False
        better = voc_average_precision(truth, ranked[kept], metric)
        assert all(better.ap[name] >= ap - 1e-12 for name, ap in result.ap.items() if not math.isnan(ap))
        result = better
    # Perfect ones and none.
    perfect = DetectionTable(
        image_ids=truth.image_ids,
        class_names=truth.class_names,
        images=truth.images,
        labels=truth.labels,
        boxes=truth.boxes,
        scores=rng.random(len(truth)),
    )
    assert voc_average_precision(truth, perfect, metric).mean_ap == pytest.approx(1)
    assert voc_average_precision(truth, table[:0], metric).mean_ap == 0


@pytest.mark.parametrize("threshold", [0.0, -0.5, 1.5, math.nan])
def test_wrong_threshold(threshold: float) -> None:
    with pytest.raises(InputError, match="IoU threshold"):
        result_of(annotated(), detected(), iou_threshold=threshold)


def test_wrong_arguments() -> None:
    with pytest.raises(InputError, match=r"metric 'coco'.*voc07, voc10"):
        result_of(annotated(), detected(), metric="coco")
    with pytest.raises(InputError, match="ground truth of 1 images, but detections of 0"):
        result_of_images([annotated()], [])
    with pytest.raises(InputError, match=r"object 0: label 2 is not in 0\.\.1"):
        result_of(annotated((2, BOX, False)), detected())
