"""Detections matched with objects, and what the rules of VOC, COCO and ILSVRC share."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from detector.data.detection_table import DetectionTable, check_same_data
from detector.data.ground_truth import GroundTruth
from detector.errors import InputError
from detector.evaluation.metrics.pairs import (
    BoolArray,
    FloatArray,
    FreeObjects,
    IntArray,
    paired_iou,
    pairs_of_images,
)
from detector.evaluation.metrics.sizes import in_range


@dataclass(frozen=True, eq=False)
class Matches:
    """The detections of all images matched with objects: all that average precision and the errors depend on.

    Attributes:
        order: (D,) int64, rows of the detections from the highest score to the lowest.
        taken: (D,) int64, by row of the detections: the object that it takes (a row of the ground truth), even if an
            earlier detection already found it; -1 if it takes none.
        true_positive: (D,) bool, by row.
        counts: (D,) bool, by row. A detection that does not count is ignored: it took an ignored object, or it would be
            a false positive of an area that is not evaluated. A detection that counts is a true or a false positive.
        counted: (N,) bool, objects that count.
    """

    truth: GroundTruth
    detections: DetectionTable
    order: IntArray
    taken: IntArray
    true_positive: BoolArray
    counts: BoolArray
    counted: BoolArray

    @property
    def ranked(self) -> IntArray:
        """Rows of the detections that count, from the highest score to the lowest."""
        return self.order[self.counts[self.order]]

    @property
    def false_positive(self) -> BoolArray:
        """(D,) by row."""
        return self.counts & ~self.true_positive

    @property
    def objects(self) -> IntArray:
        """(C,) number of objects that count."""
        return np.bincount(self.truth.labels[self.counted], minlength=len(self.truth.class_names))

    def found(self, score: float = -np.inf) -> BoolArray:
        """(N,) which objects a true positive of at least `score` finds."""
        found = np.zeros(len(self.truth), bool)
        found[self.taken[self.true_positive & at_least(self.detections.scores, score)]] = True
        return found

    def within(self, objects: BoolArray, boxes: BoolArray) -> Self:
        """The matches restricted to a subset of the objects, by COCO's rule for sizes.

        Detections that took an object outside the subset are ignored, and so are false positives outside it.

        Args:
            objects: (N,) which objects are in the subset.
            boxes: (D,) which detections have a box in the subset.
        """
        counts = self.counts & (self.true_positive | boxes)
        takes = self.taken >= 0
        counts[takes] &= objects[self.taken[takes]]
        return dataclasses.replace(
            self, true_positive=self.true_positive & counts, counts=counts, counted=self.counted & objects
        )

    def of_size(self, size: str) -> Self:
        """The matches of a range of `sizes.AREA_RANGES`: by `truth.areas`, and for detections by the boxes' areas."""
        areas = self.detections.sides.prod(axis=1)
        return self.within(in_range(self.truth.areas, size), in_range(areas, size))


def counted_objects(truth: GroundTruth) -> BoolArray:
    """(N,) which objects count: those that are neither difficult nor a crowd."""
    return ~(truth.difficult | truth.crowd)


def at_least(scores: FloatArray, score: float) -> BoolArray:
    """Which scores reach `score`, compared as float32, the type of a detector's scores: there 0.7 reaches 0.7."""
    return scores.astype(np.float32) >= np.float32(score)


def check_input(truth: GroundTruth, detections: DetectionTable, iou_thresholds: Sequence[float]) -> None:
    """InputError if a threshold is not above 0 and at most 1, or the detections refer to other images or classes."""
    for threshold in iou_thresholds:
        if not 0 < threshold <= 1:
            raise InputError(f"IoU threshold {threshold} is out of range; give a number above 0 and at most 1")
    check_same_data(truth, detections)


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


def match_free_objects(
    truth: GroundTruth,
    detections: DetectionTable,
    order: IntArray,
    object_thresholds: Mapping[float, FloatArray],
    counted: BoolArray,
    *,
    coco: bool,
) -> dict[float, Matches]:
    """Matches in which a detection takes the best object that is still free, by IoU threshold.

    In order of score, each detection takes the object of highest IoU among the free ones that count and whose threshold
    its IoU reaches; it is a true positive. Otherwise, if it reaches an ignored object, it is ignored.

    Args:
        order: (E,) rows of the detections to match, from the highest score to the lowest; others are ignored.
        object_thresholds: (N,) IoU at which a detection finds each object.
        counted: (N,) objects that count.
        coco: COCO's details. Of equally good objects the last is taken instead of the first; the overlap with a crowd
            is the share of the detection inside it; and an ignored object that is not a crowd can be taken only once.
    """
    ranked = detections[order]
    groups = ranked.images * len(truth.class_names) + ranked.labels
    reusable = truth.crowd if coco else ~counted
    # Objects that count, and the ignored ones, which a detection takes if it finds none that counts.
    free = {t: (FreeObjects(groups, reusable, coco), FreeObjects(groups, reusable, coco)) for t in object_thresholds}
    for pairs in pairs_of_images(truth, ranked):
        if coco:
            crowd = truth.crowd[pairs.objects]
            pairs.overlaps[crowd] = paired_iou(truth, ranked, pairs.detections[crowd], pairs.objects[crowd], crowd=True)
        for threshold, (counting, ignoring) in free.items():
            near = pairs[pairs.overlaps >= object_thresholds[threshold][pairs.objects]]
            counting.take(near[counted[near.objects]])
            ignoring.take(near[~counted[near.objects] & (counting.taken[near.detections] < 0)])
    matches = {}
    for threshold, (counting, ignoring) in free.items():
        taken = np.full(len(detections), -1)
        taken[order] = np.where(counting.taken >= 0, counting.taken, ignoring.taken)
        true_positive, counts = np.zeros((2, len(detections)), dtype=bool)
        true_positive[order] = counting.taken >= 0
        counts[order] = ignoring.taken < 0
        matches[threshold] = Matches(truth, detections, order, taken, true_positive, counts, counted)
    return matches
