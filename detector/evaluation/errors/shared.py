"""What the analyses of a diagnosis have in common."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from detector.data.detection_table import DetectionTable
from detector.data.ground_truth import GroundTruth
from detector.evaluation.metrics.voc import VOCMetric, at_least, average_precision
from detector.evaluation.metrics.voc_matching import Matches

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


def counted_objects(truth: GroundTruth) -> BoolArray:
    """(N,) which objects count: those that are neither difficult nor a crowd."""
    return ~(truth.difficult | truth.crowd)


@dataclass(frozen=True, eq=False, kw_only=True)
class Judged:
    """Matches by row of the detection table rather than by rank.

    Attributes:
        true_positive, false_positive: (D,) bool; a detection that is neither was left out.
        finders: (N,) int64, row of the detection that found an object, -1 where none did.
    """

    true_positive: BoolArray
    false_positive: BoolArray
    finders: IntArray

    @classmethod
    def of(cls, truth: GroundTruth, matches: Matches) -> "Judged":
        """See the attributes."""
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


def class_average_precision(
    labels: IntArray, true_positive: BoolArray, objects: IntArray, metric: VOCMetric
) -> FloatArray:
    """(C,) average precision of each class, NaN without objects.

    Args:
        labels, true_positive: (D,) of the detections that count, from the highest score to the lowest.
        objects: (C,) number of objects of each class.
    """
    by_class = np.argsort(labels, kind="stable")
    ends = np.cumsum(np.bincount(labels, minlength=len(objects)))
    parts = np.split(true_positive[by_class], ends[:-1])
    return np.array([average_precision(hits, int(n), metric) for hits, n in zip(parts, objects, strict=True)])
