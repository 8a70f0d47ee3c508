"""Augmentation of training images: random crops, mosaic, mixup, flips, color jitter, erasing and jittered boxes.

Every random number comes from the generator that the caller passes, so that a resumed run draws the same ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from PIL import Image as PillowImage
from PIL import ImageEnhance

from detector.data.annotations import Annotations
from detector.ops.transforms import box_scale, resize
from detector.training.recipes import RandomCropConfig, RandomResizedCropConfig

Window = tuple[int, int, int, int]
"""x1, y1, x2, y2 in pixels of an image, right and bottom exclusive."""

FAINT = 0.3
"""The objects of an image that mixup blends in with a smaller ratio become difficult."""

INTERPOLATIONS = {
    "bilinear": cv2.INTER_LINEAR,
    "area": cv2.INTER_AREA,
    "nearest": cv2.INTER_NEAREST,
    "cubic": cv2.INTER_CUBIC,
}
_CROP_ATTEMPTS = 10


@dataclass(frozen=True)
class TrainingImage:
    """Pixels (H, W, 3) uint8 RGB with their proposals (N, 4) and objects, both in these pixels."""

    pixels: np.ndarray
    proposals: np.ndarray
    annotations: Annotations

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.pixels.shape[1], self.pixels.shape[0]

    def crop(self, window: Window, overlap: float) -> "TrainingImage":
        """The part of the image inside a window (`crop_image`, `crop_proposals`)."""
        pixels, annotations = crop_image(self.pixels, self.annotations, window, overlap)
        return TrainingImage(pixels, crop_proposals(self.proposals, window, overlap), annotations)


def random_crop(width: int, height: int, config: RandomCropConfig, rng: np.random.Generator) -> Window:
    """The window of a random crop of an image of that size, or of the whole image."""
    if rng.random() >= config.probability:
        return 0, 0, width, height
    stretch = np.exp(np.array([0.5, -0.5]) * rng.uniform(*np.log(config.aspect)))
    sides = np.minimum(np.sqrt(rng.uniform(*config.area)) * stretch, 1.0)
    return _place((max(1, round(width * sides[0])), max(1, round(height * sides[1]))), (width, height), rng)


def crop_image(
    pixels: np.ndarray, annotations: Annotations, window: Window, overlap: float
) -> tuple[np.ndarray, Annotations]:
    """Crops an image (H, W, 3) and its objects to a window.

    An object of which less than `overlap` remains becomes difficult: it is neither a positive nor a negative.
    """
    x1, y1, x2, y2 = window
    clipped = _clip(annotations.boxes, window)
    visible = ((clipped[:, 2:] - clipped[:, :2]) >= 1).all(axis=1)
    cropped = Annotations(
        (clipped - np.array((x1, y1, x1, y1), np.float32))[visible],
        annotations.labels[visible],
        (annotations.difficult | (_areas(clipped) < overlap * _areas(annotations.boxes)))[visible],
        (x2 - x1, y2 - y1),
        annotations.unlabeled,
    )
    return np.ascontiguousarray(pixels[y1:y2, x1:x2]), cropped


def crop_proposals(boxes: np.ndarray, window: Window, overlap: float) -> np.ndarray:
    """Crops proposals (N, 4) to a window, without duplicates. Those of which less than `overlap` remains are dropped:
    no method would propose them for the crop."""
    clipped = _clip(boxes, window).astype(np.float32)
    kept = clipped[_areas(clipped) >= overlap * _areas(boxes)]
    return np.unique(kept - np.array((*window[:2], *window[:2]), np.float32), axis=0)


def random_resized_crop(
    pixels: np.ndarray, size: int, config: RandomResizedCropConfig, rng: np.random.Generator
) -> np.ndarray:
    """(size, size, 3) uint8: a random crop of an image (H, W, 3) uint8 RGB, resized, and flipped half of the time
    (GoogLeNet, section 6)."""
    x1, y1, x2, y2 = random_resized_window(pixels.shape[1], pixels.shape[0], config, rng)
    interpolation = INTERPOLATIONS[config.interpolations[rng.integers(len(config.interpolations))]]
    crop = cv2.resize(pixels[y1:y2, x1:x2], (size, size), interpolation=interpolation)
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    return color_jitter(crop, config.color_jitter, rng) if config.color_jitter > 0 else np.ascontiguousarray(crop)


def random_resized_window(width: int, height: int, config: RandomResizedCropConfig, rng: np.random.Generator) -> Window:
    """A window of random area and aspect ratio, both uniformly distributed; the largest centered square if none of
    ten attempts fits, as in long narrow images."""
    for _ in range(_CROP_ATTEMPTS):
        area = rng.uniform(*config.area) * width * height
        aspect = rng.uniform(*config.aspect)
        w, h = max(1, round(np.sqrt(area * aspect))), max(1, round(np.sqrt(area / aspect)))
        if w <= width and h <= height:
            return _place((w, h), (width, height), rng)
    side = min(width, height)
    x, y = (width - side) // 2, (height - side) // 2
    return x, y, x + side, y + side


def mosaic(
    images: Sequence[TrainingImage], size: tuple[int, int], overlap: float, rng: np.random.Generator
) -> TrainingImage:
    """Four images combined into one of `size`, (width, height) in pixels (Bochkovskiy et al., 2020).

    The mosaic is divided at a random point between 0.3 and 0.7 of its sides. Each tile shows a random crop of its image
    and keeps a random quarter of its proposals.
    """
    width, height = size
    x, y = round(width * rng.uniform(0.3, 0.7)), round(height * rng.uniform(0.3, 0.7))
    windows = ((0, 0, x, y), (x, 0, width, y), (0, y, x, height), (x, y, width, height))
    pixels = np.zeros((height, width, 3), np.uint8)
    proposals, boxes, labels, difficult = [], [], [], []
    for image, (x1, y1, x2, y2) in zip(images, windows, strict=True):
        tile, shift = _random_tile(image, (x2 - x1, y2 - y1), overlap, rng), np.array((x1, y1, x1, y1), np.float32)
        pixels[y1:y2, x1:x2] = tile.pixels
        proposals.append(_random_share(tile.proposals, 4, rng) + shift)
        boxes.append(tile.annotations.boxes + shift)
        labels.append(tile.annotations.labels)
        difficult.append(tile.annotations.difficult)
    unlabeled = frozenset[int]().union(*(image.annotations.unlabeled for image in images))
    objects = Annotations(
        np.concatenate(boxes), np.concatenate(labels), np.concatenate(difficult), (width, height), unlabeled
    )
    return TrainingImage(pixels, np.concatenate(proposals), objects)


def mixup(first: TrainingImage, second: TrainingImage, overlap: float, rng: np.random.Generator) -> TrainingImage:
    """The first image blended with a random crop of the second: the objects of both, and a random half of the proposals
    of each.

    Mixup is from Zhang et al. (2018); the mixing ratio from Beta(1.5, 1.5) from Zhang et al. (2019), for detection.
    """
    ratio = rng.beta(1.5, 1.5)
    tile = _random_tile(second, first.size, overlap, rng)
    a, b = first.annotations, tile.annotations
    objects = Annotations(
        np.concatenate((a.boxes, b.boxes)),
        np.concatenate((a.labels, b.labels)),
        np.concatenate((a.difficult | (1 - ratio < FAINT), b.difficult | (ratio < FAINT))),
        first.size,
        a.unlabeled | b.unlabeled,
    )
    proposals = np.concatenate([_random_share(image.proposals, 2, rng) for image in (first, tile)])
    return TrainingImage(cv2.addWeighted(first.pixels, 1 - ratio, tile.pixels, ratio, 0), proposals, objects)


def flip_boxes(boxes: np.ndarray, width: int) -> np.ndarray:
    """(N, 4) boxes of an image `width` pixels wide, after it was flipped left to right."""
    return np.stack((width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]), axis=1)


def jitter_boxes(boxes: np.ndarray, copies: int, rng: np.random.Generator) -> np.ndarray:
    """(N * copies, 4) boxes, each moved by up to a fifth of its size and resized by up to a third."""
    repeated = np.repeat(boxes, copies, axis=0)
    size = repeated[:, 2:] - repeated[:, :2]
    center = (repeated[:, :2] + repeated[:, 2:]) / 2 + size * rng.uniform(-0.2, 0.2, size.shape)
    size = size * np.exp(rng.uniform(-0.3, 0.3, size.shape))
    return np.concatenate((center - size / 2, center + size / 2), axis=1).astype(np.float32)


def color_jitter(pixels: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Changes brightness, contrast and saturation in random order (after Howard, 2013, as GoogLeNet's paper does)."""
    image = PillowImage.fromarray(pixels)
    enhancements = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    for index in rng.permutation(len(enhancements)):
        image = enhancements[index](image).enhance(rng.uniform(1 - strength, 1 + strength))
    return np.asarray(image)


def erase(pixels: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Fills up to `count` random rectangles of an image (H, W, 3) with random noise (Zhong et al., 'Random erasing data
    augmentation', 2020), with sides of 5 to 20 % of the image's."""
    erased, size = pixels.copy(), (pixels.shape[1], pixels.shape[0])
    for _ in range(rng.integers(0, count + 1)):
        w, h = (max(1, round(side * rng.uniform(0.05, 0.2))) for side in size)
        x1, y1, x2, y2 = _place((w, h), size, rng)
        erased[y1:y2, x1:x2] = rng.integers(0, 256, (h, w, 3), np.uint8)
    return erased


def _random_tile(
    image: TrainingImage, size: tuple[int, int], overlap: float, rng: np.random.Generator
) -> TrainingImage:
    """A random crop of at least 0.4 of the largest area with the aspect ratio of `size` (width, height), resized to
    it."""
    factor = min(image.size[0] / size[0], image.size[1] / size[1]) * np.sqrt(rng.uniform(0.4, 1.0))
    w, h = (max(1, min(limit, round(side * factor))) for limit, side in zip(image.size, size, strict=True))
    crop = image.crop(_place((w, h), image.size, rng), overlap)
    scale, limit = box_scale(crop.size, size), np.tile(np.array(size, np.float32), 2)
    boxes, proposals = (np.minimum(b * scale, limit) for b in (crop.annotations.boxes, crop.proposals))
    return TrainingImage(resize(crop.pixels, size), proposals, replace(crop.annotations, boxes=boxes, image_size=size))


def _place(crop: tuple[int, int], image: tuple[int, int], rng: np.random.Generator) -> Window:
    """A random window of size `crop` inside an image; both are (width, height)."""
    x, y = (int(rng.integers(0, outer - inner + 1)) for inner, outer in zip(crop, image, strict=True))
    return x, y, x + crop[0], y + crop[1]


def _random_share(boxes: np.ndarray, number: int, rng: np.random.Generator) -> np.ndarray:
    """One in `number` of the boxes (N, 4), chosen at random, rounded up."""
    return boxes[rng.permutation(len(boxes))[: -(-len(boxes) // number)]]


def _clip(boxes: np.ndarray, window: Window) -> np.ndarray:
    return np.clip(boxes, window[:2] * 2, window[2:] * 2)


def _areas(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
