"""Colour spaces of Selective Search."""

import cv2
import numpy as np

from proposals.config import ColourSpace

_CODES: dict[ColourSpace, int] = {
    "HSV": cv2.COLOR_RGB2HSV_FULL,
    "Lab": cv2.COLOR_RGB2Lab,
}


def colour_planes(image: np.ndarray, space: ColourSpace) -> np.ndarray:
    """Convert an (H, W, 3) uint8 RGB image to (channels, H, W) uint8, every channel scaled to 0..255.

    OpenCV's 8-bit conversions are integer arithmetic, hence equal on every machine.
    """
    return np.ascontiguousarray(cv2.cvtColor(image, _CODES[space]).transpose(2, 0, 1))
