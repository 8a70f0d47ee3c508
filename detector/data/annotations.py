"""The annotated objects of one image, which all readers of data sets return."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

from detector.errors import InputError
from proposals.types import reduce_by_fields


@dataclass(frozen=True, eq=False)
class Annotations:
    """The objects of one image.

    Attributes:
        boxes: (N, 4) float32 x1, y1, x2, y2 in pixels of the upright image, 0-based, right and bottom
            exclusive; inside the image and of positive area.
        labels: (N,) int64, 0-based index into the class names of the data set.
        difficult: (N,) bool; difficult objects are ignored in training and evaluation.
        image_size: width and height of the image in pixels.
        unlabeled: labels of classes whose objects are not annotated in this image; they may be there.

    The arrays are converted to the types above and made read-only.

    Raises:
        InputError: a shape, a size or a box is wrong; the message names the first faulty box.
    """

    boxes: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    difficult: npt.NDArray[np.bool_]
    image_size: tuple[int, int]
    unlabeled: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        boxes = np.array(self.boxes, dtype=np.float32)
        labels = np.array(self.labels, dtype=np.int64)
        difficult = np.array(self.difficult, dtype=bool)
        if boxes.size == 0:
            boxes = boxes.reshape(0, 4)
        if boxes.ndim != 2 or boxes.shape[1] != 4 or not labels.shape == difficult.shape == (len(boxes),):
            shapes = f"{boxes.shape}, {labels.shape} and {difficult.shape}"
            raise InputError(f"boxes, labels and difficult have the shapes {shapes}, expected (N, 4), (N,) and (N,)")
        width, height = self.image_size
        if width < 1 or height < 1:
            raise InputError(f"image size {width} x {height} is not positive")
        low, high = boxes[:, :2], boxes[:, 2:]
        inside = (low >= 0).all(axis=1) & (high <= (width, height)).all(axis=1)
        for good, fault in (
            (np.isfinite(boxes).all(axis=1), "is not finite"),
            ((high > low).all(axis=1), "has no area"),
            (inside, f"is not inside the image of {width} x {height} pixels"),
            (labels >= 0, "has a negative label"),
        ):
            if not good.all():
                index = int(np.argmin(good))
                raise InputError(f"box {index} ({', '.join(f'{side:g}' for side in boxes[index].tolist())}) {fault}")
        for name, array in (("boxes", boxes), ("labels", labels), ("difficult", difficult)):
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    __reduce__ = reduce_by_fields

    def __len__(self) -> int:
        return len(self.boxes)

    def relabel(self, new_labels: npt.NDArray[np.int64]) -> Self:
        """The objects with `new_labels[label]` for each label; a negative one leaves its objects out."""
        labels = new_labels[self.labels]
        kept = labels >= 0
        unlabeled = frozenset(new for old in self.unlabeled if (new := int(new_labels[old])) >= 0)
        return replace(
            self, boxes=self.boxes[kept], labels=labels[kept], difficult=self.difficult[kept], unlabeled=unlabeled
        )


@dataclass(frozen=True, eq=False)
class Sample:
    """One image of a data set: its id, its file and its annotated objects."""

    id: str
    image_path: Path
    annotations: Annotations


class AnnotatedImages(Protocol):
    """A data set of images with objects, such as a `VOCDataset`; `root` and `split` name it in messages."""

    @property
    def ids(self) -> Sequence[str]: ...
    @property
    def class_names(self) -> tuple[str, ...]: ...
    @property
    def class_ids(self) -> tuple[int | str, ...]: ...
    @property
    def root(self) -> Path: ...
    @property
    def split(self) -> str: ...
    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Sample: ...
    def image_path(self, index: int, /) -> Path: ...
    def first(self, count: int, /) -> "AnnotatedImages": ...
