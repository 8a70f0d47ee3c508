"""Training examples: an image with its proposals and objects, resized, mirrored and distorted at random.

All randomness of a step comes from (seed, step), so a resumed run sees what an uninterrupted one would have seen.
"""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image as PillowImage
from PIL import ImageEnhance
from torch import Tensor

from detector.config import InputConfig
from detector.data.annotations import Annotations
from detector.training.recipes import AugmentationConfig, PartConfig
from detector.transforms import box_scale, input_size, to_input

TRAINING_SIDE_MULTIPLE = 64
"""Few sizes of training images, for the reason given in `detector.transforms`; it also varies their shape a little."""


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


def make_example(
    pixels: np.ndarray,
    proposals: np.ndarray,
    annotations: Annotations,
    inputs: InputConfig,
    augmentation: AugmentationConfig,
    seed: int,
    step: int,
) -> Example:
    """The example that a step trains on, from an image (H, W, 3) uint8 RGB and its proposals (N, 4)."""
    rng = np.random.default_rng((seed, step, 1))
    if augmentation.parts.probability > 0:
        window = random_part(pixels.shape[1], pixels.shape[0], augmentation.parts, rng)
        pixels, annotations = cut_part(pixels, annotations, window, augmentation.parts.overlap)
        proposals = cut_proposals(proposals, window, augmentation.parts.overlap)
    height, width = pixels.shape[:2]
    scale = float(np.exp(rng.uniform(*np.log(augmentation.scale))))
    size = input_size(width, height, inputs.short_side * scale, inputs.long_side * scale, TRAINING_SIDE_MULTIPLE)
    factors = box_scale((width, height), size)
    mirrored = rng.random() < 0.5
    if augmentation.photometric > 0:
        pixels = distort(pixels, augmentation.photometric, rng)
    image = to_input(pixels[:, ::-1] if mirrored else pixels, size)

    jittered = jitter_boxes(annotations.boxes, augmentation.jittered_copies, rng)
    regions = np.concatenate((proposals, annotations.boxes, jittered)).astype(np.float32)
    limit = np.array([width, height, width, height], dtype=np.float32)
    regions = np.clip(regions, 0, limit)
    regions = regions[((regions[:, 2:] - regions[:, :2]) >= 1).all(axis=1)]
    objects = annotations.boxes
    if mirrored:
        regions, objects = mirror_boxes(regions, width), mirror_boxes(objects, width)
    return Example(
        image=image,
        regions=torch.from_numpy(regions * factors),
        objects=torch.from_numpy(objects * factors),
        labels=torch.tensor(annotations.labels),
        difficult=torch.tensor(annotations.difficult),
    )


Window = tuple[int, int, int, int]
"""x1, y1, x2, y2 in pixels of an image, right and bottom exclusive."""


def random_part(width: int, height: int, config: PartConfig, rng: np.random.Generator) -> Window:
    """A part of an image of that size, or all of it."""
    if rng.random() >= config.probability:
        return 0, 0, width, height
    stretch = np.exp(np.array([0.5, -0.5]) * rng.uniform(*np.log(config.aspect)))
    sides = np.minimum(np.sqrt(rng.uniform(*config.area)) * stretch, 1.0)
    w, h = max(1, round(width * sides[0])), max(1, round(height * sides[1]))
    x, y = int(rng.integers(0, width - w + 1)), int(rng.integers(0, height - h + 1))
    return x, y, x + w, y + h


def cut_part(
    pixels: np.ndarray, annotations: Annotations, window: Window, overlap: float
) -> tuple[np.ndarray, Annotations]:
    """The part of an image (H, W, 3), and what it shows of the objects.

    An object of which less than `overlap` is left becomes difficult: it is neither learned nor held against a box.
    """
    x1, y1, x2, y2 = window
    boxes = annotations.boxes
    clipped = np.clip(boxes, (x1, y1, x1, y1), (x2, y2, x2, y2))
    left, whole = ((b[:, 2:] - b[:, :2]).prod(axis=1) for b in (clipped, boxes))
    seen = ((clipped[:, 2:] - clipped[:, :2]) >= 1).all(axis=1)
    shown = Annotations(
        (clipped - np.array((x1, y1, x1, y1), np.float32))[seen],
        annotations.labels[seen],
        (annotations.difficult | (left < overlap * whole))[seen],
        (x2 - x1, y2 - y1),
    )
    return np.ascontiguousarray(pixels[y1:y2, x1:x2]), shown


def cut_proposals(boxes: np.ndarray, window: Window, overlap: float) -> np.ndarray:
    """What a part of an image shows of proposals (N, 4), each once; those of which less than `overlap` is left are
    dropped, as no method would propose them for the part."""
    x1, y1, x2, y2 = window
    clipped = np.clip(boxes, (x1, y1, x1, y1), (x2, y2, x2, y2)).astype(np.float32)
    left, whole = ((b[:, 2:] - b[:, :2]).prod(axis=1) for b in (clipped, boxes))
    return np.unique(clipped[left >= overlap * whole] - np.array((x1, y1, x1, y1), np.float32), axis=0)


def mirror_boxes(boxes: np.ndarray, width: int) -> np.ndarray:
    """(N, 4) boxes of an image `width` pixels wide, after it was mirrored left to right."""
    return np.stack((width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]), axis=1)


def jitter_boxes(boxes: np.ndarray, copies: int, rng: np.random.Generator) -> np.ndarray:
    """(N * copies, 4) boxes, each moved by up to a fifth of its size and resized by up to a third."""
    repeated = np.repeat(boxes, copies, axis=0)
    size = repeated[:, 2:] - repeated[:, :2]
    centre = (repeated[:, :2] + repeated[:, 2:]) / 2 + size * rng.uniform(-0.2, 0.2, size.shape)
    size = size * np.exp(rng.uniform(-0.3, 0.3, size.shape))
    return np.concatenate((centre - size / 2, centre + size / 2), axis=1).astype(np.float32)


def distort(pixels: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Brightness, contrast and saturation of an image in random order (after Howard 2013, as the paper does)."""
    image = PillowImage.fromarray(pixels)
    changes = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    for index in rng.permutation(len(changes)):
        image = changes[index](image).enhance(rng.uniform(1 - strength, 1 + strength))
    return np.asarray(image)
