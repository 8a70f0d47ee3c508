"""From pixels to the network's input.

Both sides of the input are rounded to a multiple, which changes a photo's aspect ratio by a few percent: oneDNN
prepares its convolutions for each new size, which costs as much as running them, and few sizes make that rare.
"""

import cv2
import numpy as np
import torch
from torch import Tensor

SIDE_MULTIPLE = 32
"""Sides of a test image are multiples of this and at least this long, so that every pool has an input."""


def input_size(
    width: int, height: int, short_side: float, long_side: float, multiple: int = SIDE_MULTIPLE
) -> tuple[int, int]:
    """(width, height) of the network's input for a photo.

    The short side becomes `short_side`, or less where the long side would exceed `long_side`; both are rounded to a
    `multiple`.
    """
    factor = min(short_side / min(width, height), long_side / max(width, height))
    new_width, new_height = (max(1, round(side * factor / multiple)) * multiple for side in (width, height))
    return new_width, new_height


def resize(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes an image (H, W, 3) to `size` (w, h): area-averaged to shrink, bilinear to enlarge."""
    height, width = pixels.shape[:2]
    if size == (width, height):
        return pixels
    smaller = size[0] * size[1] < width * height
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)


def to_input(pixels: np.ndarray, size: tuple[int, int]) -> Tensor:
    """(H, W, 3) uint8 RGB -> (3, h, w) uint8 of `size` (w, h)."""
    return torch.from_numpy(np.require(resize(pixels, size), requirements=("C", "W"))).permute(2, 0, 1)


def normalize(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """(images - mean) / std for (B, C, H, W) and (1, C, 1, 1), channels last in memory."""
    batch, channels, height, width = images.shape
    # Row by row, as they lie in memory: broadcasting three numbers over every pixel takes ten times as long.
    rows = images.permute(0, 2, 3, 1).reshape(batch, height, width * channels)
    rows = (rows - mean.flatten().repeat(width)) / std.flatten().repeat(width)
    return rows.view(batch, height, width, channels).permute(0, 3, 1, 2)


def box_scale(image_size: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """(4,) float32 factors for xyxy boxes of an image of `image_size` that is resized to `size`, both (w, h)."""
    x, y = size[0] / image_size[0], size[1] / image_size[1]
    return np.array([x, y, x, y], dtype=np.float32)
