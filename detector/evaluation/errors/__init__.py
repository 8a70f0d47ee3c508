"""Diagnosis of a detector's errors: the numbers that the report shows."""

from dataclasses import dataclass

from detector.data.detection_table import DetectionTable
from detector.data.ground_truth import GroundTruth
from detector.data.predictions import LOWEST_SCORE
from detector.data.traces import ObjectTraces
from detector.evaluation.errors.confusion import Confusion, confusion_matrix
from detector.evaluation.errors.images import ImageErrors, image_errors
from detector.evaluation.errors.misses import MissReason, MissReasons, miss_reasons
from detector.evaluation.errors.reliability import Reliability, reliability
from detector.evaluation.errors.slices import Slice, slice_by_size_and_aspect
from detector.evaluation.errors.tide import ErrorAnalysis, ErrorKind, error_kinds
from detector.evaluation.evaluation import DEFAULT_SCORE
from detector.evaluation.metrics.matching import MatchesByRow
from detector.evaluation.metrics.voc import VOCMetric, VOCResult, match_detections, voc_average_precision

__all__ = ["Diagnosis", "ErrorKind", "ImageErrors", "MissReason", "diagnose", "image_errors"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Diagnosis:
    """All analyses of one set of detections.

    Attributes:
        confusion, images, sizes, aspects: of the detections of at least `score`.
        reliability: None if the scores are not probabilities.
        miss_reasons, shown_miss_reasons: of the objects at any score and at `score`; None without traces.
        score: score threshold of the detections that are shown.
    """

    result: VOCResult
    errors: ErrorAnalysis
    confusion: Confusion
    sizes: tuple[Slice, ...]
    aspects: tuple[Slice, ...]
    reliability: Reliability | None
    miss_reasons: MissReasons | None
    shown_miss_reasons: MissReasons | None
    traces: ObjectTraces | None
    images: ImageErrors
    score: float


def diagnose(
    truth: GroundTruth,
    detections: DetectionTable,
    *,
    metric: VOCMetric = "voc07",
    iou_threshold: float = 0.5,
    score: float = DEFAULT_SCORE,
    traces: ObjectTraces | None = None,
) -> Diagnosis:
    """Analyze the errors of detections.

    Args:
        metric: `voc07` (11 points) or `voc10` (area).
        iou_threshold: IoU at which a detection finds an object, above 0 and at most 1.
        score: score threshold of the detections that are shown.
        traces: of the objects of `truth`, in its order.

    Raises:
        InputError: the metric or threshold is invalid, or detections or traces are those of other data.
    """
    result = voc_average_precision(truth, detections, metric, iou_threshold)
    matches = match_detections(truth, detections, iou_threshold)
    by_row = MatchesByRow.of(truth, matches)
    sizes, aspects = slice_by_size_and_aspect(truth, detections, matches, metric, score)
    at_lowest = at_shown = None
    if traces is not None:
        # A run of this detector has no scores below `LOWEST_SCORE`; detections from a file may.
        lowest = float(detections.scores.min(initial=LOWEST_SCORE))
        at_lowest, at_shown = (miss_reasons(truth, detections, by_row, traces, least) for least in (lowest, score))
    return Diagnosis(
        result=result,
        errors=error_kinds(truth, detections, matches, metric, iou_threshold),
        confusion=confusion_matrix(truth, detections, by_row, score, iou_threshold),
        sizes=sizes,
        aspects=aspects,
        reliability=reliability(detections, by_row),
        miss_reasons=at_lowest,
        shown_miss_reasons=at_shown,
        traces=traces,
        images=image_errors(truth, detections, by_row, score),
        score=score,
    )
