"""Which detections find an object: PASCAL VOC's rule of the development kit (VOCevaldet.m)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from detector.data.ground_truth import GroundTruth
from detector.errors import InputError
from detector.evaluation.sizes import ALL, AreaRange, box_sides, object_areas, outside
from detector.evaluation.table import DetectionTable, check_same_data

_FloatArray = npt.NDArray[np.float64]
_IntArray = npt.NDArray[np.int64]
_BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Matches:
    """The detections of all images from the highest score to the lowest, each judged.

    Equal scores keep the order of the table.

    Attributes:
        order: (D,) int64, row of the detection in its table.
        objects: (D,) int64, the object that it took (a row of the ground truth), found by another one before it or
            not; -1 if it took none.
        overlaps: (D,) float64, its highest IoU with an object of its class and image, 0 without one.
        true_positive: (D,) bool.
        counts: (D,) bool; what neither counts nor is a true positive was left out: it took an object that is left out,
            or it is wrong and of an area that is not judged. Everything else that is no true positive is a false
            positive.
    """

    order: _IntArray
    objects: _IntArray
    overlaps: _FloatArray
    true_positive: _BoolArray
    counts: _BoolArray


def match_detections(
    truth: GroundTruth, detections: DetectionTable, iou_threshold: float = 0.5, area_range: AreaRange | None = None
) -> Matches:
    """Judge detections against annotated objects.

    A detection takes the object of its class and image with the highest IoU (the first of equal ones), if
    that IoU reaches `iou_threshold`. Where the object is difficult or a crowd, the detection counts neither way.
    Otherwise the first detection in order of score that takes an object is a true positive and each later
    one a false positive, even if another object was free.

    VOC measures IoU on inclusive boxes, with a width of xmax - xmin + 1. Boxes here have an exclusive right
    and bottom, x1 = xmin - 1 and x2 = xmax, so that x2 - x1 is that same width, and the intersection is the
    same too: no pixel is added. With whole pixels the IoU is VOC's to the last bit; with decimals xmin - 1 may be
    rounded, which can turn an IoU that lies exactly on the threshold. Boxes of any other source have to be
    brought to this convention where they are read.

    Args:
        iou_threshold: IoU from which a detection finds an object, above 0 and at most 1.
        area_range: lowest and highest area that is judged, in square pixels; VOC knows none. As in COCO's metric,
            objects of another area count neither way (like difficult ones), nor do false positives of another area.

    Raises:
        InputError: the threshold or the range is wrong, or the detections refer to other images or classes.
    """
    return match_each(truth, detections, [iou_threshold], {ALL: area_range})[iou_threshold, ALL]


def match_each(
    truth: GroundTruth,
    detections: DetectionTable,
    iou_thresholds: Sequence[float],
    area_ranges: Mapping[str, AreaRange | None],
) -> dict[tuple[float, str], Matches]:
    """`match_detections` by IoU threshold and name of the area range, with the IoUs measured only once."""
    for threshold in iou_thresholds:
        check_threshold(threshold)
    check_same_data(truth, detections)
    order = rank(detections)
    # Measured in the order of the table, mostly that of the images: by score each look would miss the cache.
    best, overlaps = best_objects(truth, detections)
    best, overlaps = best[order], overlaps[order]
    areas, box_areas = object_areas(truth), box_sides(detections.boxes).prod(axis=1)[order]
    matches = {}
    for name, area_range in area_ranges.items():
        left_out = truth.difficult | truth.crowd | outside(areas, area_range)
        not_judged = outside(box_areas, area_range)
        for threshold in iou_thresholds:
            objects = np.where(overlaps >= threshold, best, -1)
            finds = np.flatnonzero(objects >= 0)
            counts = np.ones(len(order), dtype=bool)
            counts[finds] = ~left_out[objects[finds]]
            _, first = np.unique(objects[finds], return_index=True)
            true_positive = np.zeros(len(order), dtype=bool)
            true_positive[finds[first]] = True
            true_positive &= counts
            counts &= true_positive | ~not_judged
            matches[threshold, name] = Matches(order, objects, overlaps, true_positive, counts)
    return matches


def check_threshold(iou_threshold: float) -> None:
    """InputError unless it is above 0 and at most 1."""
    if not 0 < iou_threshold <= 1:
        raise InputError(f"IoU threshold {iou_threshold} is not above 0 and at most 1")


def rank(detections: DetectionTable) -> _IntArray:
    """Rows from the highest score to the lowest; equal scores in the order of the table, VOCevaldet.m's lines."""
    return np.argsort(-detections.scores, kind="stable")


def place_in_group(groups: _IntArray) -> _IntArray:
    """For each row, how many rows before it have the same number."""
    order = np.argsort(groups, kind="stable")
    _, sizes = np.unique(groups, return_counts=True)
    places = np.empty(len(groups), dtype=np.int64)
    places[order] = np.arange(len(groups)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return places


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of a detection and an object of its image, detection by detection, objects in their order.

    Attributes:
        detections, objects: (P,) int64 rows of the table and of the ground truth.
        overlaps: (P,) float64 IoU.
    """

    detections: _IntArray
    objects: _IntArray
    overlaps: _FloatArray

    def __getitem__(self, rows: _BoolArray) -> "Pairs":
        """Some of the pairs, in their order."""
        return Pairs(self.detections[rows], self.objects[rows], self.overlaps[rows])


def pairs_of_a_class(truth: GroundTruth, detections: DetectionTable) -> Pairs:
    """All pairs of a detection and an object of its image and class."""
    classes = len(truth.class_names)
    return _pairs(
        truth, detections, truth.images * classes + truth.labels, detections.images * classes + detections.labels
    )


def pairs_of_an_image(truth: GroundTruth, detections: DetectionTable) -> Pairs:
    """All pairs of a detection and an object of its image, whatever their classes."""
    return _pairs(truth, detections, truth.images, detections.images)


def _pairs(truth: GroundTruth, detections: DetectionTable, groups: _IntArray, wanted: _IntArray) -> Pairs:
    """All pairs of a detection and an object of the same group."""
    order = np.argsort(groups, kind="stable")
    by_group = np.argsort(wanted)  # each search then begins where the one before ended
    start, count = np.empty((2, len(wanted)), dtype=np.int64)
    start[by_group] = np.searchsorted(groups[order], wanted[by_group], side="left")
    count[by_group] = np.searchsorted(groups[order], wanted[by_group], side="right")
    count -= start
    rows = np.repeat(np.arange(len(detections)), count)
    objects = order[np.arange(len(rows)) + np.repeat(start - (np.cumsum(count) - count), count)]
    return Pairs(rows, objects, paired_iou(detections.boxes[rows], truth.boxes[objects]))


def best_objects(truth: GroundTruth, detections: DetectionTable) -> tuple[_IntArray, _FloatArray]:
    """For each detection the object of its image and class with the highest IoU, and that IoU; -1 and 0 without one."""
    return best_of_pairs(pairs_of_a_class(truth, detections), len(detections))


def best_of_pairs(pairs: Pairs, count: int) -> tuple[_IntArray, _FloatArray]:
    """For each of `count` detections the object of its best pair, and the IoU; -1 and 0 for one without a pair."""
    best = np.full(count, -1, dtype=np.int64)
    overlaps = np.zeros(count)
    first = np.flatnonzero(np.diff(pairs.detections, prepend=-1))  # of each detection
    if len(first):
        highest = np.maximum.reduceat(pairs.overlaps, first)
        sizes = np.diff(first, append=len(pairs.detections))
        good = np.flatnonzero(pairs.overlaps == np.repeat(highest, sizes))[::-1]
        best[pairs.detections[good]] = pairs.objects[good]  # the first of equally good objects is assigned last
        overlaps[pairs.detections[first]] = highest
    return best, overlaps


def paired_iou(a: _FloatArray, b: _FloatArray) -> _FloatArray:
    """IoU of a[i] and b[i], boxes x1, y1, x2, y2 with exclusive right and bottom."""
    intersection = paired_intersection(a, b)
    areas = np.prod(a[:, 2:] - a[:, :2], axis=1) + np.prod(b[:, 2:] - b[:, :2], axis=1)
    return intersection / (areas - intersection)


def paired_intersection(a: _FloatArray, b: _FloatArray) -> _FloatArray:
    """Area that a[i] and b[i] share."""
    sides = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    return np.prod(np.maximum(sides, 0), axis=1)
