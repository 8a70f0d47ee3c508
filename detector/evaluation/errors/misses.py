"""What became of every object in the stages of the detector: found, or lost to which stage."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from detector.data.detection_table import DetectionTable
from detector.data.ground_truth import GroundTruth
from detector.data.traces import COVERED, ObjectTraces
from detector.errors import InputError
from detector.evaluation.errors.shared import IntArray, Judged, at_least, counted_objects


class MissReason(IntEnum):
    """Of an object, tested in this order; s is the lowest score of the detections that are looked at.

    FOUND: a detection of at least s found it.
    SUPPRESSED: a region on it had a score of at least s for its class, but no detection of it is left:
        non-maximum suppression, or a limit on the number of detections, took it, or it counts for an object next to it.
    MISCLASSIFIED: a proposal covers it (IoU of at least 0.5), but no region on it reached s for its class.
    NOT_PROPOSED: no proposal covers it.
    """

    FOUND = 0
    SUPPRESSED = 1
    MISCLASSIFIED = 2
    NOT_PROPOSED = 3


@dataclass(frozen=True, eq=False, kw_only=True)
class MissReasons:
    """The miss_reason of every object.

    Attributes:
        miss_reasons: (N,) int64 `MissReason`; -1 for objects that do not count.
        score: lowest score of the detections that are looked at.
    """

    miss_reasons: IntArray
    score: float

    def count(self, groups: IntArray | None = None, number: int = 1) -> IntArray:
        """(number, 4) objects by group and miss_reason; `groups` (N,) int64 in 0..number - 1, all in one by default."""
        counted = self.miss_reasons >= 0
        group = np.zeros(len(self.miss_reasons), np.int64) if groups is None else groups
        cells = group[counted] * len(MissReason) + self.miss_reasons[counted]
        return np.bincount(cells, minlength=number * len(MissReason)).reshape(number, len(MissReason))


def object_fates(
    truth: GroundTruth, detections: DetectionTable, judged: Judged, traces: ObjectTraces, score: float
) -> MissReasons:
    """See `MissReason`.

    Raises:
        InputError: the traces are those of other objects.
    """
    if len(traces) != len(truth):
        raise InputError(f"traces of {len(traces)} objects, but the ground truth has {len(truth)}; trace the same data")
    miss_reasons = np.select(
        [
            judged.found(detections, score),
            (traces.region_scores > 0) & at_least(traces.region_scores, score),
            traces.proposal_overlaps >= COVERED,
        ],
        [MissReason.FOUND, MissReason.SUPPRESSED, MissReason.MISCLASSIFIED],
        MissReason.NOT_PROPOSED,
    )
    return MissReasons(miss_reasons=np.where(counted_objects(truth), miss_reasons, -1), score=score)
