"""Matches in the order of the detection table, as most analyses need them."""

from dataclasses import dataclass

import numpy as np

from detector.data.detection_table import DetectionTable
from detector.data.ground_truth import GroundTruth
from detector.evaluation.metrics.matching import BoolArray, IntArray, Matches
from detector.evaluation.metrics.voc import at_least


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
