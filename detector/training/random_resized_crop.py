"""Training patches of an image: position, shape, colors and interpolation drawn at random (GoogLeNet, section 6)."""

import cv2
import numpy as np

from detector.training.examples import distort
from detector.training.recipes import RandomResizedCropConfig

INTERPOLATIONS = {
    "bilinear": cv2.INTER_LINEAR,
    "area": cv2.INTER_AREA,
    "nearest": cv2.INTER_NEAREST,
    "cubic": cv2.INTER_CUBIC,
}
_TRIES = 10


def draw_patch(
    width: int, height: int, config: RandomResizedCropConfig, rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """(x, y, w, h) in whole pixels of a patch of 8 to 100 % of an image's area and of aspect 3/4 to 4/3, both evenly
    distributed; the largest centered square where none of ten fits, as in long narrow images."""
    for _ in range(_TRIES):
        area = rng.uniform(*config.area) * width * height
        aspect = rng.uniform(*config.aspect)
        w, h = max(1, round(np.sqrt(area * aspect))), max(1, round(np.sqrt(area / aspect)))
        if w <= width and h <= height:
            return int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1)), w, h
    side = min(width, height)
    return (width - side) // 2, (height - side) // 2, side, side


def make_patch(pixels: np.ndarray, size: int, config: RandomResizedCropConfig, rng: np.random.Generator) -> np.ndarray:
    """(size, size, 3) uint8: a random patch of an image (H, W, 3) uint8 RGB, resized, mirrored half of the time."""
    x, y, w, h = draw_patch(pixels.shape[1], pixels.shape[0], config, rng)
    interpolation = INTERPOLATIONS[config.interpolations[rng.integers(len(config.interpolations))]]
    patch = cv2.resize(pixels[y : y + h, x : x + w], (size, size), interpolation=interpolation)
    if rng.random() < 0.5:
        patch = patch[:, ::-1]
    return distort(patch, config.color_jitter, rng) if config.color_jitter > 0 else np.ascontiguousarray(patch)
