"""Which detections find an object: PASCAL VOC's rule of the development kit (VOCevaldet.m)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from detector.data.detection_table import DetectionTable, check_same_data
from detector.data.ground_truth import GroundTruth
from detector.errors import InputError
from detector.evaluation.metrics.sizes import ALL, AreaRange, outside

_FloatArray = npt.NDArray[np.float64]
_IntArray = npt.NDArray[np.int64]
_BoolArray = npt.NDArray[np.bool_]

#: Pairs of a detection and an object that are held at a time; what is computed from them then stays in the cache.
_PIECE = 1 << 16


@dataclass(frozen=True, eq=False)
class Matches:
    """The detections of all images from the highest score to the lowest, each judged.

    Equal scores keep the order of the table.

    Attributes:
        order: (D,) int64, row of the detection in its table.
        objects: (D,) int64, the object that it took (a row of the ground truth), found by another one before it or
            not; -1 if it took none.
        true_positive: (D,) bool.
        counts: (D,) bool; what neither counts nor is a true positive was left out: it took an object that is left out,
            or it is wrong and of an area that is not judged. Everything else that is no true positive is a false
            positive.
    """

    order: _IntArray
    objects: _IntArray
    true_positive: _BoolArray
    counts: _BoolArray

    def within(self, objects: _BoolArray, boxes: _BoolArray) -> "Matches":
        """What counts of a part of the objects, by COCO's rule.

        A detection that took an object outside the part is left out, and so is a false positive outside it.

        Args:
            objects: (N,) which objects are in the part.
            boxes: (D,) which detections' own boxes are, by row of their table.
        """
        counts = self.counts & (self.true_positive | boxes[self.order])
        takes = self.objects >= 0
        counts[takes] &= objects[self.objects[takes]]
        return Matches(self.order, self.objects, self.true_positive & counts, counts)


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
    best, overlaps = best_of_pairs(pairs_of_a_class(truth, detections), len(order))
    best, overlaps = best[order], overlaps[order]
    left_out = truth.difficult | truth.crowd
    every = {}
    for threshold in iou_thresholds:
        objects = np.where(overlaps >= threshold, best, -1)
        finds = np.flatnonzero(objects >= 0)
        counts = np.ones(len(order), dtype=bool)
        counts[finds] = ~left_out[objects[finds]]
        _, first = np.unique(objects[finds], return_index=True)
        true_positive = np.zeros(len(order), dtype=bool)
        true_positive[finds[first]] = True
        every[threshold] = Matches(order, objects, true_positive & counts, counts)
    return by_area(truth, detections, every, area_ranges)


def by_area(
    truth: GroundTruth,
    detections: DetectionTable,
    matches: Mapping[float, Matches],
    area_ranges: Mapping[str, AreaRange | None],
) -> dict[tuple[float, str], Matches]:
    """Matches by IoU threshold, by name of the area range too."""
    box_areas = detections.sides.prod(axis=1)
    parts = {name: (~outside(truth.areas, one), ~outside(box_areas, one)) for name, one in area_ranges.items()}
    return {(threshold, name): one.within(*part) for name, part in parts.items() for threshold, one in matches.items()}


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


def pairs_of_a_class(truth: GroundTruth, detections: DetectionTable) -> Iterator[Pairs]:
    """All pairs of a detection and an object of its image and class, in pieces.

    The detections of an image and class come one after the other, in the order of the table, and the pairs of a
    detection are in one piece.
    """
    classes = len(truth.class_names)
    return _pairs(
        truth, detections, truth.images * classes + truth.labels, detections.images * classes + detections.labels
    )


def pairs_of_an_image(truth: GroundTruth, detections: DetectionTable) -> Iterator[Pairs]:
    """All pairs of a detection and an object of its image, whatever their classes, in pieces as above."""
    return _pairs(truth, detections, truth.images, detections.images)


def _pairs(truth: GroundTruth, detections: DetectionTable, groups: _IntArray, wanted: _IntArray) -> Iterator[Pairs]:
    """All pairs of a detection and an object of the same group."""
    order = np.argsort(groups, kind="stable")
    rows = np.argsort(wanted, kind="stable")
    groups, wanted = groups[order], wanted[rows]
    start = np.searchsorted(groups, wanted, side="left")
    count = np.searchsorted(groups, wanted, side="right") - start
    rows, start, count = rows[count > 0], start[count > 0], count[count > 0]
    ends = np.cumsum(count)
    first = 0
    while first < len(rows):
        limit = ends[first] - count[first] + _PIECE
        last = max(first + 1, int(np.searchsorted(ends, limit, side="right")))
        one, number = rows[first:last], count[first:last]
        # For each pair, how many pairs of the piece come before its detection's.
        before = np.repeat(np.cumsum(number) - number, number)
        objects = order[np.arange(len(before)) - before + np.repeat(start[first:last], number)]
        found = np.repeat(one, number)
        yield Pairs(found, objects, paired_iou(truth, detections, found, objects))
        first = last


def best_of_pairs(pieces: Iterable[Pairs], count: int) -> tuple[_IntArray, _FloatArray]:
    """For each of `count` detections the object of its best pair, and the IoU; -1 and 0 for one without a pair."""
    best = np.full(count, -1, dtype=np.int64)
    overlaps = np.zeros(count)
    for pairs in pieces:
        first = np.flatnonzero(np.diff(pairs.detections, prepend=-1))  # of each detection
        if len(first):
            highest = np.maximum.reduceat(pairs.overlaps, first)
            sizes = np.diff(first, append=len(pairs.detections))
            good = np.flatnonzero(pairs.overlaps == np.repeat(highest, sizes))[::-1]
            best[pairs.detections[good]] = pairs.objects[good]  # the first of equally good objects is assigned last
            overlaps[pairs.detections[first]] = highest
    return best, overlaps


def paired_iou(
    truth: GroundTruth, detections: DetectionTable, rows: _IntArray, objects: _IntArray, crowd: bool = False
) -> _FloatArray:
    """IoU of a detection and an object, for pairs of their rows; of a `crowd` the share of the detection inside."""
    # Column by column: arrays with two or four numbers a row take five times as long.
    (left, top, right, bottom), (width, height) = detections.boxes.T, detections.sides.T
    (left_, top_, right_, bottom_), (width_, height_) = truth.boxes.T, truth.sides.T
    across = np.minimum(right[rows], right_[objects]) - np.maximum(left[rows], left_[objects])
    down = np.minimum(bottom[rows], bottom_[objects]) - np.maximum(top[rows], top_[objects])
    intersection = np.maximum(across, 0) * np.maximum(down, 0)
    union = width[rows] * height[rows]
    if not crowd:  # in pycocotools' order, as another one differs in the last bit
        union += width_[objects] * height_[objects]
        union -= intersection
    return np.divide(intersection, union, out=np.zeros(len(union)), where=intersection > 0)
