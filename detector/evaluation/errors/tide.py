"""Kinds of errors and the mAP that each costs, after TIDE.

Source: Bolya, Foley, Hays and Hoffman, "TIDE: A General Toolbox for Identifying Object Detection Errors", ECCV 2020,
and its code (github.com/dbolya/tide), whose order of tests decides where a detection fits two kinds.

No package is used, because they match as COCO does: a detection whose best object is taken may take another, difficult
objects are unknown, and AP has 101 points. Here errors follow the matches and the metric of the mAP itself, so that mAP
and gains belong together. Without difficult objects, and where no detection overlaps two objects of its class by the
threshold, kinds and counts are those of TIDE.
"""

from collections.abc import Collection
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from detector.data.detection_table import DetectionTable
from detector.data.ground_truth import GroundTruth
from detector.evaluation.metrics.formatting import mean_of_known
from detector.evaluation.metrics.matching import (
    BoolArray,
    FloatArray,
    IntArray,
    Matches,
    Pairs,
    best_of_pairs,
    counted_objects,
    pairs_of_a_class,
    pairs_of_an_image,
)
from detector.evaluation.metrics.voc import VOCMetric, class_average_precision

BACKGROUND_IOU = 0.1
"""IoU up to which a detection and an object are unrelated (TIDE's t_b)."""


class ErrorKind(IntEnum):
    """Kinds of false positives, and missed objects; t is the IoU at which a detection finds an object.

    The tests are made in this order:
        LOCALIZATION: the best IoU with an object of its class is in [0.1, t).
        CLASSIFICATION: IoU of at least t with an object of another class.
        DUPLICATE: IoU of at least t with an object of its class that a detection of higher score found.
        BACKGROUND: IoU of at most 0.1 with every object.
        BOTH: the rest; they lie near an object of another class.
        MISSED: an object that is neither found nor the target of a localization or classification error.
    """

    LOCALIZATION = 0
    CLASSIFICATION = 1
    DUPLICATE = 2
    BACKGROUND = 3
    BOTH = 4
    MISSED = 5


@dataclass(frozen=True, eq=False, kw_only=True)
class ErrorAnalysis:
    """Errors by kind; arrays of detections are in the order of their table.

    Attributes:
        kinds: (D,) int64 `ErrorKind` of a false positive; -1 for true positives and ignored detections.
        targets: (D,) int64, the object of a localization, classification or duplicate error, otherwise -1.
        repaired: (D,) bool, errors that become true positives if their kind is fixed: of the errors on an object that
            is not found, the one of highest score. Fixing removes all other errors.
        missed: (N,) bool, the objects of the kind MISSED.
        ap: (C,) average precision by class, NaN without objects.
        class_gains: (6, C) AP that a class gains if the errors of one kind are fixed; NaN without objects.
        counts: (6, C) number of errors by kind and class: the detection's class, or the missed object's.
        false_positive_gain, false_negative_gain: mAP gained by removing all false positives (the objects found stay
            the same), and by removing all objects that are not found.
    """

    kinds: IntArray
    targets: IntArray
    repaired: BoolArray
    missed: BoolArray
    ap: FloatArray
    class_gains: FloatArray
    counts: IntArray
    false_positive_gain: float
    false_negative_gain: float

    @property
    def gains(self) -> FloatArray:
        """(6,) mAP gained by fixing each kind alone, a fraction; the kinds do not add up to 1 - mAP."""
        return np.array([mean_of_known(row) for row in self.class_gains])


def error_kinds(
    truth: GroundTruth,
    detections: DetectionTable,
    matches: Matches,
    metric: VOCMetric,
    iou_threshold: float = 0.5,
) -> ErrorAnalysis:
    """Sort every false positive and every object that is not found into the kinds of TIDE.

    A difficult object may be the target of a false positive. Fixed, that detection would be ignored, so it is removed.

    Args:
        matches: of `match_detections` at `iou_threshold`.
        metric: the metric of average precision.
    """
    kinds, targets = _kinds(truth, detections, matches, iou_threshold)
    found = np.zeros(len(truth), bool)
    found[matches.objects[matches.true_positive]] = True
    unfound = counted_objects(truth) & ~found
    aimed = np.isin(kinds, (ErrorKind.LOCALIZATION, ErrorKind.CLASSIFICATION))
    # `aimed` masks the index -1 of errors without a target.
    usable = np.flatnonzero(aimed & (unfound[targets] if len(truth) else False))
    _, first = np.unique(targets[usable], return_index=True)
    repaired = np.zeros(len(kinds), bool)
    repaired[usable[first]] = True
    missed = unfound.copy()
    missed[targets[usable]] = False

    repair = _Repair(truth, detections, matches, metric, kinds, targets, repaired, missed)
    ap = repair.average_precision(())
    gains = np.array([repair.average_precision((kind,)) - ap for kind in ErrorKind])
    labels = detections.labels[matches.order]
    classes = len(truth.class_names)
    counts = np.stack([np.bincount(labels[kinds == kind], minlength=classes) for kind in ErrorKind])
    counts[ErrorKind.MISSED] = np.bincount(truth.labels[missed], minlength=classes)
    only_right = repair.average_precision((), only_right=True)
    without_unfound = repair.average_precision((), without=unfound)

    by_row = np.argsort(matches.order)
    return ErrorAnalysis(
        kinds=kinds[by_row],
        targets=targets[by_row],
        repaired=repaired[by_row],
        missed=missed,
        ap=ap,
        class_gains=gains,
        counts=counts,
        false_positive_gain=mean_of_known(only_right - ap),
        false_negative_gain=mean_of_known(without_unfound - ap),
    )


def _kinds(
    truth: GroundTruth, detections: DetectionTable, matches: Matches, iou_threshold: float
) -> tuple[IntArray, IntArray]:
    """Kind and target of every detection by rank, -1 without one."""
    wrong = np.flatnonzero(matches.counts & ~matches.true_positive)
    table = detections[matches.order[wrong]]

    def of_other_classes(pairs: Pairs) -> Pairs:
        return pairs[truth.labels[pairs.objects] != table.labels[pairs.detections]]

    same_class, same_iou = best_of_pairs(pairs_of_a_class(truth, table), len(table))
    other_class, other_iou = best_of_pairs(map(of_other_classes, pairs_of_an_image(truth, table)), len(table))
    kinds = np.full(len(matches.order), -1, np.int64)
    targets = np.full(len(matches.order), -1, np.int64)
    tests = [
        (same_iou >= BACKGROUND_IOU) & (same_iou < iou_threshold),
        other_iou >= iou_threshold,
        same_iou >= iou_threshold,
        np.maximum(same_iou, other_iou) <= BACKGROUND_IOU,
    ]
    kinds[wrong] = np.select(tests, list(ErrorKind)[: len(tests)], ErrorKind.BOTH)
    targets[wrong] = np.select(tests, [same_class, other_class, same_class, np.full(len(table), -1)], -1)
    return kinds, targets


@dataclass(frozen=True, eq=False)
class _Repair:
    """Average precision once some errors are fixed; arrays of detections are by rank."""

    truth: GroundTruth
    detections: DetectionTable
    matches: Matches
    metric: VOCMetric
    kinds: IntArray
    targets: IntArray
    repaired: BoolArray
    missed: BoolArray

    def average_precision(
        self, fixed: Collection[ErrorKind], only_right: bool = False, without: BoolArray | None = None
    ) -> FloatArray:
        """(C,) AP by class; NaN for a class without objects in the data.

        Args:
            fixed: kinds whose errors become true positives or are removed; missed objects are removed.
            only_right: remove all false positives.
            without: (N,) bool, further objects to remove.
        """
        chosen = np.isin(self.kinds, list(fixed))
        turned = chosen & self.repaired
        true_positive = self.matches.true_positive | turned
        kept = self.matches.counts & (~chosen | turned)
        if only_right:
            kept &= true_positive
        labels = self.detections.labels[self.matches.order]
        labels[turned] = self.truth.labels[self.targets[turned]]
        counted = counted_objects(self.truth)
        classes = len(self.truth.class_names)
        before = np.bincount(self.truth.labels[counted], minlength=classes)
        if ErrorKind.MISSED in fixed:
            counted &= ~self.missed
        if without is not None:
            counted &= ~without
        objects = np.bincount(self.truth.labels[counted], minlength=classes)
        ap = class_average_precision(labels[kept], true_positive[kept], objects, self.metric)
        # A class that loses its last object is perfect unless false positives remain. TIDE's code also gives it AP 0
        # with false positives, but excludes it from the mean without.
        emptied = (objects == 0) & (before > 0)
        ap[emptied] = np.bincount(labels[kept], minlength=classes)[emptied] == 0
        return ap
