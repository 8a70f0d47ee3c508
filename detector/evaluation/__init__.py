"""Evaluation of detections against annotated objects."""

from detector.evaluation.predictions import Prediction, predict
from detector.evaluation.report import Evaluation, evaluate
from detector.evaluation.stored import read_predictions, write_predictions
from detector.evaluation.voc import METRICS, ClassResult, Metric, VOCResult, voc_average_precision

__all__ = [
    "METRICS",
    "ClassResult",
    "Evaluation",
    "Metric",
    "Prediction",
    "VOCResult",
    "evaluate",
    "predict",
    "read_predictions",
    "voc_average_precision",
    "write_predictions",
]
