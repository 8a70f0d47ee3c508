"""What a training example shows: a whole image, a random part of one, four put together, or two mixed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from detector.data.annotations import Annotations
from detector.ops.transforms import box_scale, resize
from detector.training.recipes import RandomCropConfig


@dataclass(frozen=True)
class Part:
    """Pixels (H, W, 3) uint8 RGB with what is known of them: proposals (N, 4) and objects, in these pixels."""

    pixels: np.ndarray
    proposals: np.ndarray
    annotations: Annotations

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.pixels.shape[1], self.pixels.shape[0]

    def cut(self, window: "Window", overlap: float) -> "Part":
        """What lies inside a window (`cut_part`, `cut_proposals`)."""
        pixels, annotations = cut_part(self.pixels, self.annotations, window, overlap)
        return Part(pixels, cut_proposals(self.proposals, window, overlap), annotations)


Window = tuple[int, int, int, int]
"""x1, y1, x2, y2 in pixels of an image, right and bottom exclusive."""


def random_part(width: int, height: int, config: RandomCropConfig, rng: np.random.Generator) -> Window:
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


def mosaic(images: Sequence[Part], overlap: float, rng: np.random.Generator) -> Part:
    """Four images put together to one of the first one's size (Bochkovskiy et al., 2020).

    It is divided at a random point between 0.3 and 0.7 of its sides. Each part shows a random piece of its image, and
    of its proposals a random quarter.
    """
    width, height = images[0].size
    x, y = round(width * rng.uniform(0.3, 0.7)), round(height * rng.uniform(0.3, 0.7))
    corners = ((0, 0, x, y), (x, 0, width, y), (0, y, x, height), (x, y, width, height))
    pixels = np.zeros((height, width, 3), np.uint8)
    proposals, boxes, labels, difficult = [], [], [], []
    for image, (x1, y1, x2, y2) in zip(images, corners, strict=True):
        if x1 == x2 or y1 == y2:  # an image of a pixel or two
            continue
        piece, shift = _random_piece(image, (x2 - x1, y2 - y1), overlap, rng), np.array((x1, y1, x1, y1), np.float32)
        pixels[y1:y2, x1:x2] = piece.pixels
        proposals.append(_one_in(4, piece.proposals, rng) + shift)
        boxes.append(piece.annotations.boxes + shift)
        labels.append(piece.annotations.labels)
        difficult.append(piece.annotations.difficult)
    objects = Annotations(np.concatenate(boxes), np.concatenate(labels), np.concatenate(difficult), (width, height))
    return Part(pixels, np.concatenate(proposals), objects)


FAINT = 0.3
"""The objects of an image that is mixed with a smaller ratio become difficult."""


def mixup(first: Part, second: Part, overlap: float, rng: np.random.Generator) -> Part:
    """The first image with a random piece of the second one laid over it, the objects of both, and of the proposals of
    each a random half (Zhang et al., 2018; for detection Zhang et al., 2019, whose Beta(1.5, 1.5) gives the mixing
    ratio).
    """
    ratio = rng.beta(1.5, 1.5)
    piece = _random_piece(second, first.size, overlap, rng)
    own, added = first.annotations, piece.annotations
    objects = Annotations(
        np.concatenate((own.boxes, added.boxes)),
        np.concatenate((own.labels, added.labels)),
        np.concatenate((own.difficult | (1 - ratio < FAINT), added.difficult | (ratio < FAINT))),
        first.size,
    )
    proposals = np.concatenate([_one_in(2, part.proposals, rng) for part in (first, piece)])
    return Part(cv2.addWeighted(first.pixels, 1 - ratio, piece.pixels, ratio, 0), proposals, objects)


def _random_piece(image: Part, size: tuple[int, int], overlap: float, rng: np.random.Generator) -> Part:
    """A piece of an image, of at least 0.4 of the area that fits, reduced or enlarged to `size` (width, height) without
    being stretched."""
    factor = min(image.size[0] / size[0], image.size[1] / size[1]) * np.sqrt(rng.uniform(0.4, 1.0))
    w, h = (max(1, min(side, round(part * factor))) for side, part in zip(image.size, size, strict=True))
    x, y = int(rng.integers(0, image.size[0] - w + 1)), int(rng.integers(0, image.size[1] - h + 1))
    piece = image.cut((x, y, x + w, y + h), overlap)
    scale, limit = box_scale(piece.size, size), np.tile(np.array(size, np.float32), 2)
    boxes, proposals = (np.minimum(found * scale, limit) for found in (piece.annotations.boxes, piece.proposals))
    return Part(resize(piece.pixels, size), proposals, replace(piece.annotations, boxes=boxes, image_size=size))


def _one_in(number: int, boxes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random part of the boxes (N, 4), one in `number`, rounded up."""
    return boxes[rng.permutation(len(boxes))[: -(-len(boxes) // number)]]
