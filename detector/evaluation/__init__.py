"""Evaluation of detections against annotated objects."""

from detector.evaluation.bootstrap import bootstrap_average_precision, compare_average_precision
from detector.evaluation.coco import COCOResult, coco_average_precision
from detector.evaluation.ilsvrc import Blacklist, ILSVRCResult, ilsvrc_average_precision
from detector.evaluation.localisation import LocalisationResult, localisation_error
from detector.evaluation.predictions import Prediction, predict
from detector.evaluation.report import Evaluation, evaluate
from detector.evaluation.stored import read_predictions, write_predictions
from detector.evaluation.voc import METRICS, ClassResult, Metric, VOCResult, voc_average_precision

__all__ = [
    "METRICS",
    "Blacklist",
    "COCOResult",
    "ClassResult",
    "Evaluation",
    "ILSVRCResult",
    "LocalisationResult",
    "Metric",
    "Prediction",
    "VOCResult",
    "bootstrap_average_precision",
    "coco_average_precision",
    "compare_average_precision",
    "evaluate",
    "ilsvrc_average_precision",
    "localisation_error",
    "predict",
    "read_predictions",
    "voc_average_precision",
    "write_predictions",
]
