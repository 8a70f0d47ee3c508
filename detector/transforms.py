"""From pixels to the network's input."""

import cv2
import numpy as np
import torch
from torch import Tensor

MIN_SIDE = 32
"""Smaller inputs are padded at the right and the bottom, so that every pool of the trunk has something to read."""


def resize_factor(width: int, height: int, short_side: float, long_side: float) -> float:
    """Factor by which an image is resized: its short side becomes `short_side`, its long side at most `long_side`."""
    return min(short_side / min(width, height), long_side / max(width, height))


def to_input(pixels: np.ndarray, factor: float) -> Tensor:
    """(H, W, 3) uint8 RGB -> (3, h, w) uint8, resized by `factor` and at least `MIN_SIDE` pixels on each side."""
    height, width = pixels.shape[:2]
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    if size != (width, height):
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
    bottom, right = max(0, MIN_SIDE - size[1]), max(0, MIN_SIDE - size[0])
    if bottom or right:
        pixels = cv2.copyMakeBorder(pixels, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)
