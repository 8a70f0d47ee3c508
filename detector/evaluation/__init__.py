"""Evaluation of detections against annotated objects. Only running a detector imports torch."""

from detector.data.blacklist import Blacklist
from detector.data.detection_table import DetectionTable
from detector.data.ground_truth import GroundTruth
from detector.data.predictions import Prediction, detection_table, failures, mean_seconds, write_predictions
from detector.data.traces import ObjectTraces
from detector.evaluation.comparison import Comparison, compare
from detector.evaluation.errors import Diagnosis, diagnose
from detector.evaluation.evaluation import METRICS, Evaluation, Metric, evaluate, match_by_metric
from detector.evaluation.metrics.bootstrap import bootstrap_average_precision
from detector.evaluation.metrics.coco import COCOResult, coco_average_precision
from detector.evaluation.metrics.ilsvrc import ilsvrc_average_precision
from detector.evaluation.metrics.localization import LocalizationResult, localization_error
from detector.evaluation.metrics.voc import APResult, ClassResult, voc_average_precision
from detector.evaluation.prediction.predict import predict, run_detector
from detector.evaluation.report.page import explain

__all__ = [
    "METRICS",
    "APResult",
    "Blacklist",
    "COCOResult",
    "ClassResult",
    "Comparison",
    "DetectionTable",
    "Diagnosis",
    "Evaluation",
    "GroundTruth",
    "LocalizationResult",
    "Metric",
    "ObjectTraces",
    "Prediction",
    "bootstrap_average_precision",
    "coco_average_precision",
    "compare",
    "detection_table",
    "diagnose",
    "evaluate",
    "explain",
    "failures",
    "ilsvrc_average_precision",
    "localization_error",
    "match_by_metric",
    "mean_seconds",
    "predict",
    "run_detector",
    "voc_average_precision",
    "write_predictions",
]
