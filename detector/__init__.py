"""Object detection with GoogLeNet: Selective Search and MultiBox proposals, R-FCN, box regression, NMS.

>>> from detector import load_detector
>>> detector = load_detector()
>>> [detection.label for detection in detector("tests/photos/cat.jpg")]
['cat']
"""

from typing import TYPE_CHECKING, Any

from detector.errors import InputError
from detector.structures.detections import Detection, Detections
from detector.structures.image import Image, read_image
from proposals import __version__

if TYPE_CHECKING:
    from detector.api import Detector, load_detector

__all__ = ["Detection", "Detections", "Detector", "Image", "InputError", "__version__", "load_detector", "read_image"]


def __getattr__(name: str) -> Any:
    """Imports the detector, and with it torch, at first use; results and evaluation do not need them."""
    if name in ("Detector", "load_detector"):
        from detector import api

        return getattr(api, name)
    raise AttributeError(f"module 'detector' has no attribute '{name}'")
