"""Diagnosis of a detector's errors: the numbers that the report shows."""

from detector.evaluation.errors.diagnosis import Diagnosis, ImageErrors, MissReason, diagnose, image_errors
from detector.evaluation.errors.tide import ErrorKind

__all__ = ["Diagnosis", "ErrorKind", "ImageErrors", "MissReason", "diagnose", "image_errors"]
