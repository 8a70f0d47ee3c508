"""The eight color spaces of Selective Search (section 3.2 and table 1 of the paper), in integer arithmetic."""

import cv2
import numpy as np

from proposals.compilation import kernel
from proposals.config import ColorSpace

# OpenCV's 8-bit conversions use integer arithmetic: the results are equal on every machine.
_CODES: dict[ColorSpace, int] = {
    "HSV": cv2.COLOR_RGB2HSV_FULL,
    "Lab": cv2.COLOR_RGB2Lab,
    "I": cv2.COLOR_RGB2GRAY,
    "H": cv2.COLOR_RGB2HSV_FULL,
}


def color_planes(image: np.ndarray, space: ColorSpace) -> np.ndarray:
    """Converts an (H, W, 3) uint8 RGB image to (channels, H, W) uint8, every channel scaled to 0..255.

    - RGB, Lab and HSV; I: the intensity (luma); H: the hue channel of HSV.
    - rgb: each channel divided by the sum of the three; black counts as gray.
    - rgI: the r and g of rgb, and I.
    - C: the opponent colors divided by the intensity (Geusebroek et al., PAMI 2001): (R - G) / S and
      (R + G - 2 B) / S with S = R + G + B, each scaled from its possible range. The third channel, the intensity
      divided by itself, is constant and omitted.
    """
    if space in _CODES:
        converted = cv2.cvtColor(image, _CODES[space]).reshape(*image.shape[:2], -1)
        return np.ascontiguousarray((converted[:, :, :1] if space == "H" else converted).transpose(2, 0, 1))
    planes = np.array(image.transpose(2, 0, 1), order="C")
    if space == "C":
        return _opponent(planes)
    if space == "RGB":
        return planes
    planes = _normalized(planes)
    if space == "rgI":
        planes[2] = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return planes


@kernel
def _normalized(rgb):  # type: ignore[no-untyped-def]
    _, height, width = rgb.shape
    planes = np.empty((3, height, width), np.uint8)
    for y in range(height):
        for x in range(width):
            total = np.int32(rgb[0, y, x]) + rgb[1, y, x] + rgb[2, y, x]
            for c in range(3):
                planes[c, y, x] = 85 if total == 0 else (510 * np.int32(rgb[c, y, x]) + total) // (2 * total)
    return planes


@kernel
def _opponent(rgb):  # type: ignore[no-untyped-def]
    _, height, width = rgb.shape
    planes = np.empty((2, height, width), np.uint8)
    for y in range(height):
        for x in range(width):
            red, green, blue = np.int32(rgb[0, y, x]), np.int32(rgb[1, y, x]), np.int32(rgb[2, y, x])
            total = red + green + blue
            if total == 0:
                planes[0, y, x], planes[1, y, x] = 128, 170  # the values of every gray
            else:
                planes[0, y, x] = (255 * (red - green + total) + total) // (2 * total)
                planes[1, y, x] = (510 * (red + green - 2 * blue + 2 * total) + 3 * total) // (6 * total)
    return planes
