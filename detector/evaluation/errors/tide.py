"""Kinds of errors and the mAP that each costs, after TIDE.

Source: Bolya, Foley, Hays and Hoffman, "TIDE: A General Toolbox for Identifying Object Detection Errors", ECCV 2020,
and its code (github.com/dbolya/tide), whose order of tests decides where a detection fits two kinds.

No package is used, because they match as COCO does: a detection whose best object is taken may take another, difficult
objects are unknown, and AP has 101 points. Here errors follow the matches and the metric of the mAP itself, so that mAP
and gains belong together. Without difficult objects, and where no detection overlaps two objects of its class by the
threshold, kinds and counts are those of TIDE.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from detector.evaluation.metrics.formatting import mean_of_known
from detector.evaluation.metrics.matching import Matches
from detector.evaluation.metrics.pairs import (
    BoolArray,
    FloatArray,
    IntArray,
    Pairs,
    best_of_pairs,
    pairs_of_images,
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


def error_kinds(matches: Matches, metric: VOCMetric, iou_threshold: float = 0.5) -> ErrorAnalysis:
    """Sort every false positive and every object that is not found into the kinds of TIDE.

    A difficult object may be the target of a false positive. Fixed, that detection would be ignored, so it is removed.

    Args:
        matches: of `match_voc` at `iou_threshold`.
        metric: the metric of average precision.
    """
    truth, detections = matches.truth, matches.detections
    kinds, targets = _kinds(matches, iou_threshold)
    unfound = matches.counted & ~matches.found()
    aimed = np.isin(kinds, (ErrorKind.LOCALIZATION, ErrorKind.CLASSIFICATION))
    # `aimed` masks the index -1 of errors without a target.
    aimed &= unfound[targets] if len(truth) else False
    usable = matches.order[aimed[matches.order]]
    _, first = np.unique(targets[usable], return_index=True)
    repaired = np.zeros(len(kinds), bool)
    repaired[usable[first]] = True
    missed = unfound.copy()
    missed[targets[usable]] = False
    before = matches.objects
    classes = len(before)

    def average_precision(
        fixed: ErrorKind | None = None, only_right: bool = False, without: BoolArray | None = None
    ) -> FloatArray:
        """(C,) AP by class; NaN for a class without objects in the data.

        Args:
            fixed: kind whose errors become true positives or are removed.
            only_right: remove all false positives.
            without: (N,) bool, objects to remove.
        """
        chosen = kinds == (len(ErrorKind) if fixed is None else fixed)
        turned = chosen & repaired
        true_positive = matches.true_positive | turned
        kept = matches.counts & (~chosen | turned)
        if only_right:
            kept &= true_positive
        labels = detections.labels.copy()
        labels[turned] = truth.labels[targets[turned]]
        counted = matches.counted if without is None else matches.counted & ~without
        objects = np.bincount(truth.labels[counted], minlength=classes)
        rows = matches.order[kept[matches.order]]
        ap = class_average_precision(labels[rows], true_positive[rows], objects, metric)
        # A class that loses its last object is perfect unless false positives remain. TIDE's code also gives it AP 0
        # with false positives, but excludes it from the mean without.
        emptied = (objects == 0) & (before > 0)
        ap[emptied] = np.bincount(labels[rows], minlength=classes)[emptied] == 0
        return ap

    ap = average_precision()
    fixed = [average_precision(kind, without=missed if kind == ErrorKind.MISSED else None) for kind in ErrorKind]
    counts = np.stack([np.bincount(detections.labels[kinds == kind], minlength=classes) for kind in ErrorKind])
    counts[ErrorKind.MISSED] = np.bincount(truth.labels[missed], minlength=classes)
    return ErrorAnalysis(
        kinds=kinds,
        targets=targets,
        repaired=repaired,
        missed=missed,
        ap=ap,
        class_gains=np.array(fixed) - ap,
        counts=counts,
        false_positive_gain=mean_of_known(average_precision(only_right=True) - ap),
        false_negative_gain=mean_of_known(average_precision(without=unfound) - ap),
    )


def _kinds(matches: Matches, iou_threshold: float) -> tuple[IntArray, IntArray]:
    """Kind and target of every detection, -1 without one."""
    truth, wrong = matches.truth, np.flatnonzero(matches.false_positive)
    table = matches.detections[wrong]

    def of_other_classes(pairs: Pairs) -> Pairs:
        return pairs[truth.labels[pairs.objects] != table.labels[pairs.detections]]

    same_class, same_iou = best_of_pairs(pairs_of_images(truth, table), len(table))
    others = map(of_other_classes, pairs_of_images(truth, table, any_class=True))
    other_class, other_iou = best_of_pairs(others, len(table))
    kinds, targets = np.full((2, len(matches.detections)), -1, np.int64)
    tests = [
        (same_iou >= BACKGROUND_IOU) & (same_iou < iou_threshold),
        other_iou >= iou_threshold,
        same_iou >= iou_threshold,
        np.maximum(same_iou, other_iou) <= BACKGROUND_IOU,
    ]
    kinds[wrong] = np.select(tests, list(ErrorKind)[: len(tests)], ErrorKind.BOTH)
    targets[wrong] = np.select(tests, [same_class, other_class, same_class, np.full(len(table), -1)], -1)
    return kinds, targets
