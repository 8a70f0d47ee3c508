"""From pixels to the network's input.

Both sides of the input are rounded to a multiple of some pixels, which changes the shape of the photo by a few percent:
oneDNN prepares its convolutions anew for every size it has not met, which costs as much as running them. With few
sizes, most photos find everything prepared.
"""

import cv2
import numpy as np
import torch
from torch import Tensor

SIDE_MULTIPLE = 32
"""The sides of a test image are multiples of this, and at least this long, so that every pool has something to read."""


def input_size(
    width: int, height: int, short_side: float, long_side: float, multiple: int = SIDE_MULTIPLE
) -> tuple[int, int]:
    """(width, height) of the network's input for a photo: its short side becomes `short_side`, unless its long side
    then passed `long_side`; each rounded to a `multiple`."""
    factor = min(short_side / min(width, height), long_side / max(width, height))
    return _rounded(width * factor, multiple), _rounded(height * factor, multiple)


def _rounded(side: float, multiple: int) -> int:
    return max(1, round(side / multiple)) * multiple


def resize(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An image (H, W, 3) resized to `size` (w, h): by area where it becomes smaller, bilinear where larger."""
    height, width = pixels.shape[:2]
    if size == (width, height):
        return pixels
    smaller = size[0] * size[1] < width * height
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)


def to_input(pixels: np.ndarray, size: tuple[int, int]) -> Tensor:
    """(H, W, 3) uint8 RGB -> (3, h, w) uint8 of `size` (w, h)."""
    return torch.from_numpy(np.require(resize(pixels, size), requirements=("C", "W"))).permute(2, 0, 1)


def normalize(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """(images - mean) / std, channels last, of (B, C, H, W) and (1, C, 1, 1)."""
    batch, channels, height, width = images.shape
    # Row by row, as they lie in memory: to spread three numbers over every pixel takes ten times as long.
    rows = images.permute(0, 2, 3, 1).reshape(batch, height, width * channels)
    rows = (rows - mean.flatten().repeat(width)) / std.flatten().repeat(width)
    return rows.view(batch, height, width, channels).permute(0, 3, 1, 2)


def box_scale(image_size: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """(4,) float32 by which boxes (xyxy) of an image of `image_size` are multiplied when it is resized to `size`."""
    x, y = size[0] / image_size[0], size[1] / image_size[1]
    return np.array([x, y, x, y], dtype=np.float32)
