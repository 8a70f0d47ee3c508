"""Files of detections in the formats of the field, read and written."""

from detector.evaluation.formats.reading import ReadDetections, read_detections
from detector.evaluation.formats.recognition import FORMATS, Format

__all__ = ["FORMATS", "Format", "ReadDetections", "read_detections"]
