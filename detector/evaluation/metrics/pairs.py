"""Pairs of a detection and an object with their IoU, and the rule by which a detection takes a free object."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from detector.data.detection_table import DetectionTable
from detector.data.ground_truth import GroundTruth

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

# Pairs of a detection and an object that are held at a time, few enough for arrays computed from them to stay in the
# CPU cache.
_PIECE = 1 << 16


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of a detection and an object of its image, grouped by detection, objects in their order.

    Attributes:
        detections, objects: (P,) int64 rows of the table and of the ground truth.
        overlaps: (P,) float64 IoU.
    """

    detections: IntArray
    objects: IntArray
    overlaps: FloatArray

    def __getitem__(self, rows: BoolArray) -> "Pairs":
        """A subset of the pairs, in their order."""
        return Pairs(self.detections[rows], self.objects[rows], self.overlaps[rows])


def pairs_of_images(truth: GroundTruth, detections: DetectionTable, any_class: bool = False) -> Iterator[Pairs]:
    """All pairs of a detection and an object of its image and class, or of `any_class`, in pieces.

    The detections of an image (and class) are consecutive and in the order of the table; a detection's pairs are all in
    one piece.
    """
    classes = len(truth.class_names)
    object_groups, detection_groups = (
        table.images if any_class else table.images * classes + table.labels for table in (truth, detections)
    )
    order = np.argsort(object_groups, kind="stable")
    rows = np.argsort(detection_groups, kind="stable")
    object_groups, detection_groups = object_groups[order], detection_groups[rows]
    start = np.searchsorted(object_groups, detection_groups, side="left")
    count = np.searchsorted(object_groups, detection_groups, side="right") - start
    rows, start, count = rows[count > 0], start[count > 0], count[count > 0]
    ends = np.cumsum(count)
    first = 0
    while first < len(rows):
        limit = ends[first] - count[first] + _PIECE
        last = max(first + 1, int(np.searchsorted(ends, limit, side="right")))
        sizes = count[first:last]
        # For each pair, how many pairs of the piece precede those of its detection.
        before = np.repeat(np.cumsum(sizes) - sizes, sizes)
        objects = order[np.arange(len(before)) - before + np.repeat(start[first:last], sizes)]
        paired = np.repeat(rows[first:last], sizes)
        yield Pairs(paired, objects, paired_iou(truth, detections, paired, objects))
        first = last


def best_of_pairs(pieces: Iterable[Pairs], count: int) -> tuple[IntArray, FloatArray]:
    """For each of `count` detections the object of highest IoU and that IoU; -1 and 0 without a pair."""
    best = np.full(count, -1, dtype=np.int64)
    overlaps = np.zeros(count)
    for pairs in pieces:
        first = np.flatnonzero(np.diff(pairs.detections, prepend=-1))  # of each detection
        if len(first):
            highest = np.maximum.reduceat(pairs.overlaps, first)
            sizes = np.diff(first, append=len(pairs.detections))
            # In reverse, so that the first of equally good objects is assigned last and stays.
            good = np.flatnonzero(pairs.overlaps == np.repeat(highest, sizes))[::-1]
            best[pairs.detections[good]] = pairs.objects[good]
            overlaps[pairs.detections[first]] = highest
    return best, overlaps


def paired_iou(
    truth: GroundTruth, detections: DetectionTable, rows: IntArray, objects: IntArray, crowd: bool = False
) -> FloatArray:
    """IoU of detections and objects, paired by their rows; for a `crowd` the share of the detection inside it."""
    # Column by column: arrays with two or four numbers a row take five times as long.
    (left, top, right, bottom), (width, height) = detections.boxes.T, detections.sides.T
    (left_, top_, right_, bottom_), (width_, height_) = truth.boxes.T, truth.sides.T
    across = np.minimum(right[rows], right_[objects]) - np.maximum(left[rows], left_[objects])
    down = np.minimum(bottom[rows], bottom_[objects]) - np.maximum(top[rows], top_[objects])
    intersection = np.maximum(across, 0) * np.maximum(down, 0)
    union = width[rows] * height[rows]
    if not crowd:  # in pycocotools' order: another order differs in the last bit
        union += width_[objects] * height_[objects]
        union -= intersection
    return np.divide(intersection, union, out=np.zeros(len(union)), where=intersection > 0)


class FreeObjects:
    """The matching that ILSVRC and COCO share: a detection takes the best object that is still free.

    Args:
        groups: (D,) group of each detection; detections of different groups share no object. Detections are numbered
            from the highest score to the lowest.
        reusable: (N,) bool, objects that any number of detections may take.
        last_of_equals: of objects with equal IoU take the last instead of the first.

    Attributes:
        taken: (D,) int64 the object that each detection took; -1 if none so far.
    """

    def __init__(self, groups: IntArray, reusable: BoolArray, last_of_equals: bool) -> None:
        self.taken = np.full(len(groups), -1, dtype=np.int64)
        self._groups, self._reusable, self._last_of_equals = groups, reusable, last_of_equals
        self._free = np.ones(len(reusable), dtype=bool)

    def take(self, pairs: Pairs) -> None:
        """Give each detection, in turn, the free object of highest IoU among its pairs.

        All groups advance together: in every round the first detection of each group that still has a pair takes its
        object, and the pairs of both are removed. So the number of rounds is at most the number of a group's objects
        and of detections that take reusable ones, however many other detections the group has.

        Args:
            pairs: all pairs of these detections that may match; detections of earlier calls come first in a group.
        """
        pairs = pairs[self._free[pairs.objects]]
        tie = -pairs.objects if self._last_of_equals else pairs.objects
        order = np.lexsort((tie, -pairs.overlaps, pairs.detections, self._groups[pairs.detections]))
        rows, objects = pairs.detections[order], pairs.objects[order]
        while len(rows):
            group = self._groups[rows]
            first = np.append(True, group[1:] != group[:-1])
            self.taken[rows[first]] = objects[first]
            self._free[objects[first]] = self._reusable[objects[first]]
            left = self._free[objects] & (self.taken[rows] < 0)
            rows, objects = rows[left], objects[left]
