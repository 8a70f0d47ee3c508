"""Evaluation of detections against annotated objects. Nothing here imports torch, but running a detector of ours."""

from detector.data.ground_truth import GroundTruth
from detector.evaluation.bootstrap import bootstrap_average_precision
from detector.evaluation.coco import COCOResult, coco_average_precision
from detector.evaluation.comparison import Comparison, compare
from detector.evaluation.diagnosis import Diagnosis, diagnose
from detector.evaluation.explanation import explain
from detector.evaluation.ilsvrc import Blacklist, ILSVRCResult, ilsvrc_average_precision
from detector.evaluation.localisation import LocalisationResult, localisation_error
from detector.evaluation.metrics import METRICS, Metric, judge
from detector.evaluation.predicting import predict
from detector.evaluation.predictions import Prediction, detection_table, failures, mean_seconds
from detector.evaluation.report import Evaluation, evaluate
from detector.evaluation.running import run_detector, write_predictions
from detector.evaluation.table import DetectionTable
from detector.evaluation.traces import ObjectTraces
from detector.evaluation.voc import ClassResult, VOCResult, voc_average_precision

__all__ = [
    "METRICS",
    "Blacklist",
    "COCOResult",
    "ClassResult",
    "Comparison",
    "DetectionTable",
    "Diagnosis",
    "Evaluation",
    "GroundTruth",
    "ILSVRCResult",
    "LocalisationResult",
    "Metric",
    "ObjectTraces",
    "Prediction",
    "VOCResult",
    "bootstrap_average_precision",
    "coco_average_precision",
    "compare",
    "detection_table",
    "diagnose",
    "evaluate",
    "explain",
    "failures",
    "ilsvrc_average_precision",
    "judge",
    "localisation_error",
    "mean_seconds",
    "predict",
    "run_detector",
    "voc_average_precision",
    "write_predictions",
]
