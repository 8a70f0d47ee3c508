"""Which stage of the detector loses each object that is not found."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from detector.data.detection_table import DetectionTable
from detector.data.ground_truth import GroundTruth
from detector.data.traces import COVERED, ObjectTraces
from detector.errors import InputError
from detector.evaluation.metrics.matching import IntArray, MatchesByRow, at_least, counted_objects


class MissReason(IntEnum):
    """Why an object is missed, tested in this order; s is the lowest score of the detections.

    FOUND: a detection of at least s found it.
    SUPPRESSED: a region on it scored at least s for its class, but its detection is gone: removed by non-maximum
        suppression or by a limit on the number of detections, or it counts for an adjacent object.
    MISCLASSIFIED: a proposal covers it (IoU of at least 0.5), but no region on it reached s for its class.
    NOT_PROPOSED: no proposal covers it.
    """

    FOUND = 0
    SUPPRESSED = 1
    MISCLASSIFIED = 2
    NOT_PROPOSED = 3


@dataclass(frozen=True, eq=False, kw_only=True)
class MissReasons:
    """The reasons for which objects are missed.

    Attributes:
        reasons: (N,) int64 `MissReason`; -1 for objects that do not count.
        score: lowest score of the detections.
    """

    reasons: IntArray
    score: float

    def count(self, groups: IntArray | None = None, number: int = 1) -> IntArray:
        """(number, 4) objects by group and reason; `groups` (N,) int64 in 0..number - 1, all 0 by default."""
        counted = self.reasons >= 0
        group = np.zeros(len(self.reasons), np.int64) if groups is None else groups
        cells = group[counted] * len(MissReason) + self.reasons[counted]
        return np.bincount(cells, minlength=number * len(MissReason)).reshape(number, len(MissReason))


def miss_reasons(
    truth: GroundTruth, detections: DetectionTable, matches: MatchesByRow, traces: ObjectTraces, score: float
) -> MissReasons:
    """The `MissReason` of every object.

    Raises:
        InputError: the traces are those of other objects.
    """
    if len(traces) != len(truth):
        raise InputError(f"traces of {len(traces)} objects, but the ground truth has {len(truth)}; trace the same data")
    reasons = np.select(
        [
            matches.found(detections, score),
            (traces.region_scores > 0) & at_least(traces.region_scores, score),
            traces.proposal_overlaps >= COVERED,
        ],
        [MissReason.FOUND, MissReason.SUPPRESSED, MissReason.MISCLASSIFIED],
        MissReason.NOT_PROPOSED,
    )
    return MissReasons(reasons=np.where(counted_objects(truth), reasons, -1), score=score)
