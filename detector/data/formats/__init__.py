"""Files of detections in the formats of the field, read and written."""

from detector.data.formats.native import read_predictions, saved_classes
from detector.data.formats.reading import ReadDetections, read_detections, write_detections
from detector.data.formats.recognition import FORMATS, Format, check_format

__all__ = [
    "FORMATS",
    "Format",
    "ReadDetections",
    "check_format",
    "read_detections",
    "read_predictions",
    "saved_classes",
    "write_detections",
]
