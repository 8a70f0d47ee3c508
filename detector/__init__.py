"""Object detection with a GoogLeNet: Selective Search regions, shared computation, box regression, NMS.

>>> from detector import load_detector
>>> detector = load_detector()
>>> [detection.label for detection in detector("tests/photos/cat.jpg")]
['cat']
"""

from typing import TYPE_CHECKING, Any

from detector.errors import InputError
from detector.structures.detections import Detection, Detections
from detector.structures.image import Image, read_image

if TYPE_CHECKING:
    from detector.inference.assembly import load_detector
    from detector.inference.detector import Detector

__all__ = ["Detection", "Detections", "Detector", "Image", "InputError", "load_detector", "read_image"]

_MODULES = {"Detector": "inference.detector", "load_detector": "inference.assembly"}


def __getattr__(name: str) -> Any:
    """Imports the detector, and with it torch, at first use: results and evaluation do without."""
    if name in _MODULES:
        import importlib

        return getattr(importlib.import_module(f"detector.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'detector' has no attribute '{name}'")
