"""Evaluation of detections against annotated objects. Nothing here imports torch."""

from detector.data.ground_truth import GroundTruth
from detector.evaluation.coco import COCOResult, coco_average_precision
from detector.evaluation.ilsvrc import Blacklist, ILSVRCResult, ilsvrc_average_precision
from detector.evaluation.predictions import Prediction, detection_table, predict
from detector.evaluation.report import METRICS, Evaluation, Metric, evaluate
from detector.evaluation.running import run_detector, write_predictions
from detector.evaluation.table import DetectionTable
from detector.evaluation.voc import ClassResult, VOCResult, voc_average_precision

__all__ = [
    "METRICS",
    "Blacklist",
    "COCOResult",
    "ClassResult",
    "DetectionTable",
    "Evaluation",
    "GroundTruth",
    "ILSVRCResult",
    "Metric",
    "Prediction",
    "VOCResult",
    "coco_average_precision",
    "detection_table",
    "evaluate",
    "ilsvrc_average_precision",
    "predict",
    "run_detector",
    "voc_average_precision",
    "write_predictions",
]
