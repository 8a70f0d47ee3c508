"""What every proposal method takes and returns."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, Protocol

import numpy as np


def made_anew(value: Any) -> tuple[Any, ...]:
    """The `__reduce__` of a dataclass whose constructor makes its arrays read-only: pickle and copy would lose that."""
    make: Callable[..., Any] = type(value)
    return partial(make, **{field.name: getattr(value, field.name) for field in fields(value)}), ()


@dataclass(frozen=True, eq=False)
class Proposals:
    """Class-agnostic boxes of one image, best first. Immutable: the arrays are copied and made read-only.

    Attributes:
        boxes: (N, 4) float32, xyxy pixels of the image, 0-based, right and bottom exclusive.
        scores: (N,) float32, rank score, never increasing. Comparable only within one method.
        sources: (N,) int16, index into `source_names`: what found the box.
        source_names: names of the methods or strategies.
        image_size: (width, height) of the image in pixels.

    Raises ValueError if a shape or type is wrong, a value is not finite, a box has no area or leaves
    the image, the scores increase, or a source has no name.
    """

    boxes: np.ndarray
    scores: np.ndarray
    sources: np.ndarray
    source_names: tuple[str, ...]
    image_size: tuple[int, int]

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
        wrong = outside | (left >= right) | (top >= bottom)
        if wrong.any():
            first = int(np.flatnonzero(wrong)[0])
            raise ValueError(
                f"proposals: box {first} {self.boxes[first].tolist()} has no area or leaves the {width}x{height} image"
            )
        if (np.diff(self.scores) > 0).any():
            raise ValueError("proposals: scores must not increase (best box first)")
        if ((self.sources < 0) | (self.sources >= len(self.source_names))).any():
            raise ValueError(f"proposals: sources must index the {len(self.source_names)} source_names")

    __reduce__ = made_anew

    def __len__(self) -> int:
        return len(self.boxes)

    def top(self, n: int) -> "Proposals":
        """The best `n` boxes (all of them if there are fewer)."""
        if n < 0:
            raise ValueError(f"proposals: the number of boxes must not be negative, not {n}")
        return Proposals(self.boxes[:n], self.scores[:n], self.sources[:n], self.source_names, self.image_size)


class Proposer(Protocol):
    """A proposal method with its settings."""

    @property
    def fingerprint(self) -> str:
        """Hash of method, settings and algorithm version: equal fingerprints give equal boxes."""
        ...

    def __call__(self, image: np.ndarray) -> Proposals:
        """Propose boxes for an (H, W, 3) uint8 RGB image; raises ValueError for anything else."""
        ...
