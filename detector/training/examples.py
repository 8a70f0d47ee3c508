"""Training examples: images with their proposals and objects, resized, mirrored and distorted at random."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image as PillowImage
from PIL import ImageEnhance
from torch import Tensor

from detector.config import InputConfig
from detector.ops.transforms import box_scale, input_size, to_input
from detector.training.random_crop import Part
from detector.training.recipes import AugmentationConfig

TRAINING_SIDE_MULTIPLE = 64
"""Few sizes of training images, for the reason given in `detector.ops.transforms`; it also varies their shape."""


@dataclass(frozen=True)
class Example:
    """One training image.

    Attributes:
        image: (3, h, w) uint8 RGB, as the network sees it.
        regions: (R, 4) float32 boxes to classify: proposals, objects, jittered objects.
        objects, labels, difficult: (G, 4), (G,), (G,) the ground truth. All boxes in pixels of `image`.
    """

    image: Tensor
    regions: Tensor
    objects: Tensor
    labels: Tensor
    difficult: Tensor

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.image.shape[2], self.image.shape[1]


def common_size(sizes: Sequence[tuple[int, int]], inputs: InputConfig, scale: float) -> tuple[int, int]:
    """(width, height) of the network's input for images of these sizes, whose mean shape it has, at a random scale."""
    width, height = np.exp(np.log(sizes).mean(axis=0))
    return input_size(width, height, inputs.short_side * scale, inputs.long_side * scale, TRAINING_SIDE_MULTIPLE)


def make_example(
    part: Part, size: tuple[int, int], augmentation: AugmentationConfig, rng: np.random.Generator
) -> Example:
    """The example that a part of an image becomes, mirrored and distorted at random, at `size` (width, height)."""
    pixels, annotations, (width, height) = part.pixels, part.annotations, part.size
    factors = box_scale((width, height), size)
    flipped = rng.random() < 0.5
    if augmentation.color_jitter > 0:
        pixels = distort(pixels, augmentation.color_jitter, rng)
    image = to_input(pixels[:, ::-1] if flipped else pixels, size)

    jittered = jitter_boxes(annotations.boxes, augmentation.jittered_copies, rng)
    regions = np.concatenate((part.proposals, annotations.boxes, jittered)).astype(np.float32)
    limit = np.array([width, height, width, height], dtype=np.float32)
    regions = np.clip(regions, 0, limit)
    regions = regions[((regions[:, 2:] - regions[:, :2]) >= 1).all(axis=1)]
    objects = annotations.boxes
    if flipped:
        regions, objects = flip_boxes(regions, width), flip_boxes(objects, width)
    return Example(
        image=image,
        regions=torch.from_numpy(regions * factors),
        objects=torch.from_numpy(objects * factors),
        labels=torch.tensor(annotations.labels),
        difficult=torch.tensor(annotations.difficult),
    )


def flip_boxes(boxes: np.ndarray, width: int) -> np.ndarray:
    """(N, 4) boxes of an image `width` pixels wide, after it was mirrored left to right."""
    return np.stack((width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]), axis=1)


def jitter_boxes(boxes: np.ndarray, copies: int, rng: np.random.Generator) -> np.ndarray:
    """(N * copies, 4) boxes, each moved by up to a fifth of its size and resized by up to a third."""
    repeated = np.repeat(boxes, copies, axis=0)
    size = repeated[:, 2:] - repeated[:, :2]
    center = (repeated[:, :2] + repeated[:, 2:]) / 2 + size * rng.uniform(-0.2, 0.2, size.shape)
    size = size * np.exp(rng.uniform(-0.3, 0.3, size.shape))
    return np.concatenate((center - size / 2, center + size / 2), axis=1).astype(np.float32)


def distort(pixels: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Brightness, contrast and saturation of an image in random order (after Howard 2013, as the paper does)."""
    image = PillowImage.fromarray(pixels)
    changes = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    for index in rng.permutation(len(changes)):
        image = changes[index](image).enhance(rng.uniform(1 - strength, 1 + strength))
    return np.asarray(image)
