"""Shared by the matching rules of VOC, COCO and ILSVRC: pairs with their IoU, matches, and which of them count."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from detector.data.detection_table import DetectionTable
from detector.data.ground_truth import GroundTruth
from detector.errors import InputError
from detector.evaluation.metrics.sizes import AreaRange, outside

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

# Pairs of a detection and an object that are held at a time, few enough for arrays computed from them to stay in the
# CPU cache.
_PIECE = 1 << 16


@dataclass(frozen=True, eq=False)
class Matches:
    """The detections of all images matched with objects, from the highest score to the lowest.

    Equal scores keep the order of the table.

    Attributes:
        order: (D,) int64, row of the detection in its table.
        objects: (D,) int64, the object that the detection takes (a row of the ground truth), even if an earlier
            detection already found it; -1 if it takes none.
        true_positive: (D,) bool.
        counts: (D,) bool. A detection that does not count is ignored: it took an ignored object, or it would be a
            false positive of an area that is not evaluated. A detection that counts is a true or a false positive.
    """

    order: IntArray
    objects: IntArray
    true_positive: BoolArray
    counts: BoolArray

    def within(self, objects: BoolArray, boxes: BoolArray) -> "Matches":
        """The matches restricted to a subset of the objects, by COCO's rule for sizes.

        Detections that took an object outside the subset are ignored, and so are false positives outside it.

        Args:
            objects: (N,) which objects are in the subset.
            boxes: (D,) which detections have a box in the subset, by row of their table.
        """
        counts = self.counts & (self.true_positive | boxes[self.order])
        takes = self.objects >= 0
        counts[takes] &= objects[self.objects[takes]]
        return Matches(self.order, self.objects, self.true_positive & counts, counts)


@dataclass(frozen=True, eq=False, kw_only=True)
class MatchesByRow:
    """Matches by row of the detection table rather than by rank.

    Attributes:
        true_positive, false_positive: (D,) bool; a detection that is neither is ignored.
        finders: (N,) int64, row of the detection that found an object, -1 without one.
    """

    true_positive: BoolArray
    false_positive: BoolArray
    finders: IntArray

    @classmethod
    def of(cls, truth: GroundTruth, matches: Matches) -> "MatchesByRow":
        """The same matches in the other order."""
        true_positive = np.zeros(len(matches.order), bool)
        false_positive = np.zeros(len(matches.order), bool)
        true_positive[matches.order] = matches.true_positive
        false_positive[matches.order] = matches.counts & ~matches.true_positive
        finders = np.full(len(truth), -1, np.int64)
        finders[matches.objects[matches.true_positive]] = matches.order[matches.true_positive]
        return cls(true_positive=true_positive, false_positive=false_positive, finders=finders)

    def found(self, detections: DetectionTable, score: float) -> BoolArray:
        """(N,) which objects a detection of at least `score` found."""
        if not len(detections):  # index -1 below needs a row
            return np.zeros(len(self.finders), bool)
        return (self.finders >= 0) & at_least(detections.scores[self.finders], score)


@dataclass(frozen=True, eq=False, kw_only=True)
class RankedMatches:
    """The detections and objects that count: all that average precision depends on, whatever the matching rule.

    Attributes:
        class_names: (C,)
        image_count: number of images, including those without objects or detections.
        images, labels: (D,) int64, image and class of each detection, from the highest score to the lowest.
        scores: (D,) float64.
        true_positive: (D,) bool; the rest are false positives.
        object_images, object_labels: (N,) int64, image and class of each object.
    """

    class_names: tuple[str, ...]
    image_count: int
    images: IntArray
    labels: IntArray
    scores: FloatArray
    true_positive: BoolArray
    object_images: IntArray
    object_labels: IntArray


def rank_matches(
    truth: GroundTruth,
    detections: DetectionTable,
    matches: Matches,
    area_range: AreaRange | None = None,
    excluded: BoolArray | None = None,
) -> RankedMatches:
    """The detections and objects that count.

    Args:
        area_range: the range that `matches` was made with.
        excluded: (N,) bool, objects that do not count besides difficult ones, crowds and those of another area.
    """
    objects = counted_objects(truth) & ~outside(truth.areas, area_range)
    if excluded is not None:
        objects &= ~excluded
    rows = matches.order[matches.counts]
    return RankedMatches(
        class_names=truth.class_names,
        image_count=len(truth.image_ids),
        images=detections.images[rows],
        labels=detections.labels[rows],
        scores=detections.scores[rows],
        true_positive=matches.true_positive[matches.counts],
        object_images=truth.images[objects],
        object_labels=truth.labels[objects],
    )


def counted_objects(truth: GroundTruth) -> BoolArray:
    """(N,) which objects count: those that are neither difficult nor a crowd."""
    return ~(truth.difficult | truth.crowd)


def at_least(scores: FloatArray, score: float) -> BoolArray:
    """Which scores reach `score`, compared as float32, the type of a detector's scores: there 0.7 reaches 0.7."""
    return scores.astype(np.float32) >= np.float32(score)


def by_area(
    truth: GroundTruth,
    detections: DetectionTable,
    matches: Mapping[float, Matches],
    area_ranges: Mapping[str, AreaRange | None],
) -> dict[tuple[float, str], Matches]:
    """Matches by IoU threshold, split by name of the area range."""
    box_areas = detections.sides.prod(axis=1)
    subsets = {name: (~outside(truth.areas, area), ~outside(box_areas, area)) for name, area in area_ranges.items()}
    return {
        (threshold, name): at_threshold.within(*subset)
        for name, subset in subsets.items()
        for threshold, at_threshold in matches.items()
    }


def check_threshold(iou_threshold: float) -> None:
    """Raise InputError unless the IoU threshold is above 0 and at most 1."""
    if not 0 < iou_threshold <= 1:
        raise InputError(f"IoU threshold {iou_threshold} is out of range; give a number above 0 and at most 1")


def rank(detections: DetectionTable) -> IntArray:
    """Rows from the highest score to the lowest; equal scores in the order of the table, VOCevaldet.m's lines."""
    return np.argsort(-detections.scores, kind="stable")


def rank_in_group(groups: IntArray) -> IntArray:
    """For each row, the number of earlier rows of the same group."""
    order = np.argsort(groups, kind="stable")
    _, sizes = np.unique(groups, return_counts=True)
    ranks = np.empty(len(groups), dtype=np.int64)
    ranks[order] = np.arange(len(groups)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return ranks


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


def pairs_of_a_class(truth: GroundTruth, detections: DetectionTable) -> Iterator[Pairs]:
    """All pairs of a detection and an object of its image and class, in pieces.

    The detections of an image and class are consecutive and in the order of the table; a detection's pairs are all in
    one piece.
    """
    classes = len(truth.class_names)
    return _pairs(
        truth, detections, truth.images * classes + truth.labels, detections.images * classes + detections.labels
    )


def pairs_of_an_image(truth: GroundTruth, detections: DetectionTable) -> Iterator[Pairs]:
    """All pairs of a detection and an object of its image, whatever their classes, in pieces as above."""
    return _pairs(truth, detections, truth.images, detections.images)


def _pairs(
    truth: GroundTruth, detections: DetectionTable, object_groups: IntArray, detection_groups: IntArray
) -> Iterator[Pairs]:
    """All pairs of a detection and an object of the same group."""
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
        object_count: number of objects.
        reusable: (N,) bool, objects that any number of detections may take; none by default.
        last_of_equals: of objects with equal IoU take the last instead of the first.

    Attributes:
        taken: (D,) int64 the object that each detection took; -1 if none so far.
    """

    def __init__(
        self, groups: IntArray, object_count: int, *, reusable: BoolArray | None = None, last_of_equals: bool = False
    ) -> None:
        self.taken = np.full(len(groups), -1, dtype=np.int64)
        self._groups = groups
        self._free = np.ones(object_count, dtype=bool)
        self._reusable = np.zeros(object_count, dtype=bool) if reusable is None else reusable
        self._last_of_equals = last_of_equals

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
