"""Why a detector's average precision is what it is: everything the why-report shows, as numbers."""

from dataclasses import dataclass

from detector.data.detection_table import DetectionTable
from detector.data.ground_truth import GroundTruth
from detector.data.predictions import LOWEST_SCORE
from detector.data.traces import ObjectTraces
from detector.evaluation.errors.confusion import Confusion, confusion_matrix
from detector.evaluation.errors.errors import ErrorAnalysis, ErrorKind, error_kinds
from detector.evaluation.errors.images import ImageErrors, image_errors
from detector.evaluation.errors.misses import MissReason, MissReasons, object_fates
from detector.evaluation.errors.reliability import Reliability, reliability
from detector.evaluation.errors.shared import Judged
from detector.evaluation.errors.slices import Slice, by_aspect, by_size
from detector.evaluation.metrics.voc import VOCMetric, VOCResult, voc_average_precision
from detector.evaluation.metrics.voc_matching import match_detections
from detector.evaluation.result import DEFAULT_SCORE

__all__ = [
    "Confusion",
    "Diagnosis",
    "ErrorAnalysis",
    "ErrorKind",
    "ImageErrors",
    "Judged",
    "MissReason",
    "MissReasons",
    "Reliability",
    "Slice",
    "confusion_matrix",
    "diagnose",
    "error_kinds",
    "object_fates",
    "reliability",
]


@dataclass(frozen=True, eq=False, kw_only=True)
class Diagnosis:
    """Everything about one set of detections; see the parts.

    Attributes:
        score: from which detections are shown; confusion, images and the slices' hits are about these.
        miss_reasons, shown_miss_reasons: of the objects at any score and at `score`; None without traces.
        reliability: None if the scores are not probabilities.
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
    lowest_score: float = LOWEST_SCORE,
    traces: ObjectTraces | None = None,
) -> Diagnosis:
    """Analyse detections.

    Args:
        metric: `voc07` (11 points) or `voc10` (area).
        iou_threshold: IoU from which a detection finds an object, above 0 and at most 1.
        score: from which detections are shown.
        lowest_score: the one at which `traces` were made; detections may reach below.
        traces: of the objects of `truth`, in its order.

    Raises:
        InputError: the metric or threshold is wrong, or detections or traces are those of other data.
    """
    result = voc_average_precision(truth, detections, metric, iou_threshold)
    matches = match_detections(truth, detections, iou_threshold)
    judged = Judged.of(truth, matches)
    at_lowest = at_shown = None
    if traces is not None:
        lowest = float(detections.scores.min(initial=lowest_score))
        at_lowest, at_shown = (object_fates(truth, detections, judged, traces, least) for least in (lowest, score))
    return Diagnosis(
        result=result,
        errors=error_kinds(truth, detections, matches, metric, iou_threshold),
        confusion=confusion_matrix(truth, detections, judged, score, iou_threshold),
        sizes=by_size(truth, detections, matches, metric, score),
        aspects=by_aspect(truth, detections, matches, metric, score),
        reliability=reliability(detections, judged),
        miss_reasons=at_lowest,
        shown_miss_reasons=at_shown,
        traces=traces,
        images=image_errors(truth, detections, judged, score),
        score=score,
    )
