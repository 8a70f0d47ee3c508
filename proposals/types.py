"""The input and output of every proposal method."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, Protocol

import numpy as np


def reduce_by_fields(value: Any) -> tuple[Any, ...]:
    """A dataclass's `__reduce__` that runs its constructor again, which makes the arrays read-only; pickle and copy
    would otherwise return writable ones."""
    constructor: Callable[..., Any] = type(value)
    return partial(constructor, **{field.name: getattr(value, field.name) for field in fields(value)}), ()


@dataclass(frozen=True, eq=False)
class Regions:
    """The regions behind N proposals of one image.

    Attributes:
        levels: (N,) int32, the level of each region in its hierarchy: 0 for a superpixel, for a union one more than the
            higher level of its two regions.
        counts: N strings of ASCII characters, each the `counts` of COCO's compressed RLE: the lengths of runs of pixels
            outside and inside the region in turn, column by column.
        image_size: (width, height) of the masks in pixels.

    Raises:
        ValueError: there are more or fewer levels than masks.
    """

    levels: np.ndarray
    counts: tuple[bytes, ...]
    image_size: tuple[int, int]

    def __post_init__(self) -> None:
        levels = np.array(self.levels, np.int32)
        if levels.shape != (len(self.counts),):
            raise ValueError(f"regions: levels must be ({len(self.counts)},), as there are masks, not {levels.shape}")
        levels.flags.writeable = False
        object.__setattr__(self, "levels", levels)

    def __len__(self) -> int:
        return len(self.counts)

    def mask(self, index: int) -> np.ndarray:
        """Returns the pixels of a region, (H, W) bool.

        Raises:
            ValueError: the run lengths do not cover the image.
        """
        from proposals.masks import decode_mask  # imports Numba

        return decode_mask(self.counts[index], self.image_size)

    def rle(self, index: int) -> dict[str, object]:
        """Returns a mask as COCO's JSON has it: `size` (height, width) and `counts`."""
        width, height = self.image_size
        return {"size": [height, width], "counts": self.counts[index].decode("ascii")}


@dataclass(frozen=True, eq=False)
class Proposals:
    """Class-agnostic boxes of one image, best first. Immutable: the arrays are copied and made read-only.

    Attributes:
        boxes: (N, 4) float32, xyxy pixels of the image, 0-based, right and bottom exclusive.
        scores: (N,) float32 rank scores in descending order, comparable only within one method.
        sources: (N,) int16, index into `source_names` of the strategy that proposed the box.
        source_names: names of the methods or strategies.
        image_size: (width, height) of the image in pixels.
        regions: the regions that the boxes are drawn around, if they were asked for.

    Raises:
        ValueError: a shape or type is wrong, a value is not finite, a box has no area or exceeds the image, the scores
            increase, a source has no name, or there are more or fewer regions than boxes.
    """

    boxes: np.ndarray
    scores: np.ndarray
    sources: np.ndarray
    source_names: tuple[str, ...]
    image_size: tuple[int, int]
    regions: Regions | None = None

    def __post_init__(self) -> None:
        n = len(self.boxes)
        for name, shape, dtype in (
            ("boxes", (n, 4), np.float32),
            ("scores", (n,), np.float32),
            ("sources", (n,), np.int16),
        ):
            array = getattr(self, name)
            if array.shape != shape or array.dtype != dtype:
                raise ValueError(
                    f"proposals: {name} must be {shape} {np.dtype(dtype)}, not {array.shape} {array.dtype}"
                )
            array = np.array(array, order="C")
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        width, height = self.image_size
        if width < 1 or height < 1:
            raise ValueError(f"proposals: image_size must be positive, not {width}x{height}")
        if not (np.isfinite(self.boxes).all() and np.isfinite(self.scores).all()):
            raise ValueError("proposals: boxes and scores must be finite")
        left, top, right, bottom = self.boxes.T
        outside = (left < 0) | (top < 0) | (right > width) | (bottom > height)
        invalid = outside | (left >= right) | (top >= bottom)
        if invalid.any():
            first = int(np.flatnonzero(invalid)[0])
            raise ValueError(
                f"proposals: box {first} {self.boxes[first].tolist()} has no area or exceeds the {width}x{height} image"
            )
        if (np.diff(self.scores) > 0).any():
            raise ValueError("proposals: scores must not increase (best box first)")
        if ((self.sources < 0) | (self.sources >= len(self.source_names))).any():
            raise ValueError(f"proposals: sources must index the {len(self.source_names)} source_names")
        if self.regions is not None and (len(self.regions), self.regions.image_size) != (n, self.image_size):
            raise ValueError(f"proposals: regions must be one for each of the {n} boxes, at the size of the image")

    __reduce__ = reduce_by_fields

    def __len__(self) -> int:
        return len(self.boxes)

    def top(self, n: int) -> "Proposals":
        """Returns the best `n` boxes, or all if there are fewer."""
        if n < 0:
            raise ValueError(f"proposals: the number of boxes must not be negative, not {n}")
        regions = self.regions
        if regions is not None:
            regions = Regions(regions.levels[:n], regions.counts[:n], self.image_size)
        return Proposals(self.boxes[:n], self.scores[:n], self.sources[:n], self.source_names, self.image_size, regions)


class Proposer(Protocol):
    """A proposal method with its settings."""

    @property
    def fingerprint(self) -> str:
        """Hash of method, settings and algorithm version; equal fingerprints guarantee equal boxes."""
        ...

    def __call__(self, image: np.ndarray) -> Proposals:
        """Proposes boxes for an (H, W, 3) uint8 RGB image; raises ValueError for other input."""
        ...


def checked_image(image: np.ndarray) -> np.ndarray:
    """Returns an (H, W, 3) or (H, W, 1) or (H, W) uint8 image as a contiguous (H, W, 3) RGB array.

    Raises:
        ValueError: `image` is not such an array, or is empty.
    """
    if not isinstance(image, np.ndarray):
        raise ValueError(f"an image must be a numpy array, not {type(image).__name__}")
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 3)):
        hint = "; drop the alpha channel: image[:, :, :3]" if image.ndim == 3 and image.shape[2] == 4 else ""
        raise ValueError(
            f"an image must be an (H, W, 3) RGB or (H, W) gray uint8 array, not {image.shape} {image.dtype}{hint}"
        )
    height, width = image.shape[:2]
    if height == 0 or width == 0:
        raise ValueError(f"an image must have at least one pixel, not {width}x{height}")
    if image.ndim == 2 or image.shape[2] == 1:
        image = np.repeat(image.reshape(height, width, 1), 3, axis=2)
    return np.ascontiguousarray(image)
