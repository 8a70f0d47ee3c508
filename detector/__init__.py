"""Object detection with a GoogLeNet: Selective Search regions, shared computation, box regression, NMS.

>>> from detector import load_detector
>>> detector = load_detector()
>>> [detection.label for detection in detector("tests/photos/cat.jpg")]
['cat']
"""

from typing import TYPE_CHECKING, Any

from detector.detections import Detection, Detections
from detector.errors import InputError
from detector.images import Image, read_image

if TYPE_CHECKING:
    from detector.pipeline import Detector, load_detector

__all__ = ["Detection", "Detections", "Detector", "Image", "InputError", "load_detector", "read_image"]


def __getattr__(name: str) -> Any:
    """Imports the detector, and with it torch, at first use: results and evaluation do without."""
    if name in ("Detector", "load_detector"):
        from detector import pipeline

        return getattr(pipeline, name)
    raise AttributeError(f"module 'detector' has no attribute '{name}'")
