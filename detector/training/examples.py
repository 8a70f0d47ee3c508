"""Training examples of R-FCN: an augmented image as the network's input, with the regions to classify."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from detector.config import InputConfig
from detector.ops.transforms import box_scale, input_size, to_input
from detector.training.augmentation import TrainingImage, color_jitter, flip_boxes, jitter_boxes
from detector.training.recipes import AugmentationConfig

TRAINING_SIDE_MULTIPLE = 64
"""Keeps the number of input sizes low, for the reason in `detector.ops.transforms`, and varies their shape."""


@dataclass(frozen=True)
class Example:
    """One training image.

    Attributes:
        image: (3, h, w) uint8 RGB, the network's input.
        regions: (R, 4) float32 boxes to classify: proposals, objects, jittered objects.
        objects, labels, difficult: (G, 4), (G,), (G,) the ground truth. All boxes are in pixels of `image`.
        unlabeled: labels of classes whose objects are not annotated.
    """

    image: Tensor
    regions: Tensor
    objects: Tensor
    labels: Tensor
    difficult: Tensor
    unlabeled: frozenset[int]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.image.shape[2], self.image.shape[1]


def common_size(sizes: Sequence[tuple[int, int]], inputs: InputConfig, scale: float) -> tuple[int, int]:
    """(width, height) of the network's input for a batch of images of these sizes: their mean shape, at a scale."""
    width, height = np.exp(np.log(sizes).mean(axis=0))
    return input_size(width, height, inputs.short_side * scale, inputs.long_side * scale, TRAINING_SIDE_MULTIPLE)


def make_example(
    image: TrainingImage, size: tuple[int, int], augmentation: AugmentationConfig, rng: np.random.Generator
) -> Example:
    """An image as `augment_pixels` gives it, with the regions of `place_regions`."""
    pixels, flipped = augment_pixels(image.pixels, size, augmentation, rng)
    return place_regions(image, pixels, flipped, augmentation, rng)


def augment_pixels(
    pixels: np.ndarray, size: tuple[int, int], augmentation: AugmentationConfig, rng: np.random.Generator
) -> tuple[Tensor, bool]:
    """Resizes an image (H, W, 3) to `size` (width, height), flips and color-jitters it at random.

    Returns:
        (3, h, w) uint8 RGB, and whether it is flipped.
    """
    flipped = rng.random() < 0.5 and augmentation.flip
    if augmentation.color_jitter > 0:
        pixels = color_jitter(pixels, augmentation.color_jitter, rng)
    return to_input(pixels[:, ::-1] if flipped else pixels, size), flipped


def place_regions(
    image: TrainingImage, pixels: Tensor, flipped: bool, augmentation: AugmentationConfig, rng: np.random.Generator
) -> Example:
    """The regions and the objects of an image in the network's input, with jittered objects among the regions.

    Args:
        pixels: (3, h, w) uint8 RGB, the input, from `augment_pixels`.
    """
    annotations, (width, height) = image.annotations, image.size
    factors = box_scale((width, height), (pixels.shape[2], pixels.shape[1]))
    jittered = jitter_boxes(annotations.boxes, augmentation.jittered_copies, rng)
    regions = np.concatenate((image.proposals, annotations.boxes, jittered)).astype(np.float32)
    regions = np.clip(regions, 0, np.array([width, height, width, height], dtype=np.float32))
    regions = regions[((regions[:, 2:] - regions[:, :2]) >= 1).all(axis=1)]
    objects = annotations.boxes
    if flipped:
        regions, objects = flip_boxes(regions, width), flip_boxes(objects, width)
    return Example(
        image=pixels,
        regions=torch.from_numpy(regions * factors),
        objects=torch.from_numpy(objects * factors),
        labels=torch.tensor(annotations.labels),
        difficult=torch.tensor(annotations.difficult),
        unlabeled=annotations.unlabeled,
    )


def stack_images(images: Sequence[Tensor]) -> Tensor:
    """(B, 3, h, w) from images (3, h, w), each of which is channels last in memory, as is the stack."""
    return torch.stack([image.permute(1, 2, 0) for image in images]).permute(0, 3, 1, 2)
