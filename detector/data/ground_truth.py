"""The annotated objects of a whole data set, in columns for the evaluators."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import numpy.typing as npt

from detector.data.annotations import Annotations
from detector.errors import InputError
from detector.structures.class_names import class_indices, default_class_ids
from proposals.names import as_names
from proposals.types import reduce_by_fields

LARGEST = 1e150
"""Larger coordinates are refused, because the areas of their boxes would overflow."""


@dataclass(frozen=True, eq=False, kw_only=True)
class GroundTruth:
    """The objects of a data set, an array a column. Arrays are converted to the types below and made read-only.

    Attributes:
        image_ids: (I,) the data set's names or numbers of its images, in its order; distinct, also as text.
        class_names: (C,) distinct.
        images: (N,) int64, the image of an object as an index into `image_ids`.
        labels: (N,) int64, its class as an index into `class_names`.
        boxes: (N, 4) float64 x1, y1, x2, y2 in pixels of the upright image, 0-based, right and bottom exclusive.
        difficult: (N,) bool, objects that an evaluation ignores, found or missed (VOC's flag); default False.
        crowd: (N,) bool, boxes around many objects (COCO's iscrowd), which are ignored likewise and match any number of
            detections; default False.
        sides: (N, 2) float64 width and height of the boxes in the file. x2 - x1, the default, may differ in the last
            bit: 100.1 + 32 - 100.1 is above 32.
        areas: (N,) float64 square pixels, which decide whether objects are small or large: COCO's area of the outline;
            by default that of the box.
        class_ids: (C,) the data set's ids of its classes, COCO's category ids or ImageNet's synsets; by default those
            of `detector.structures.class_names.default_class_ids`.
        image_numbers, class_numbers: (I,) and (C,) numbers of images and classes in some result files, such as
            ILSVRC's; by default their positions in the data set's lists, from 1. Subsets of a data set keep them.
        image_sizes: (I, 2) int64 width and height in pixels, 0 if unknown (the default).
        files: (I,) the images' files, relative to the folder of the images; the ids by default.

    Raises:
        InputError: a column has another length, an index is out of range, a box is not finite or has no area, or
            `sides` are not those of the boxes; the message names the first faulty object.
    """

    image_ids: tuple[str | int, ...]
    class_names: tuple[str, ...]
    images: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.float64]
    difficult: npt.NDArray[np.bool_] = field(default=None)  # type: ignore[arg-type]
    crowd: npt.NDArray[np.bool_] = field(default=None)  # type: ignore[arg-type]
    sides: npt.NDArray[np.float64] = field(default=None)  # type: ignore[arg-type]
    areas: npt.NDArray[np.float64] = field(default=None)  # type: ignore[arg-type]
    class_ids: tuple[str | int, ...] = ()
    image_sizes: npt.NDArray[np.int64] = field(default=None)  # type: ignore[arg-type]
    files: tuple[str, ...] = ()
    image_numbers: tuple[int, ...] = ()
    class_numbers: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        set_ = object.__setattr__  # the dataclass is frozen
        set_(self, "image_ids", tuple(self.image_ids))
        set_(self, "class_names", tuple(self.class_names))
        defaults: dict[str, Iterable[str | int]] = {
            "class_ids": default_class_ids(self.class_names),
            "class_numbers": range(1, len(self.class_names) + 1),
            "files": map(str, self.image_ids),
            "image_numbers": range(1, len(self.image_ids) + 1),
        }
        for name, default in defaults.items():
            set_(self, name, tuple(getattr(self, name) or default))
            of = "class_names" if name.startswith("class") else "image_ids"
            if len(getattr(self, name)) != len(getattr(self, of)):
                raise InputError(f"{name} must have an entry for each of the {of}, or be left out")
        for name in ("image_ids", "class_names", "class_ids", "image_numbers", "class_numbers"):
            check_distinct(name, getattr(self, name))
        count = len(self.labels)
        set_(self, "boxes", column("boxes", self.boxes, np.float64, (count, 4)))
        set_(self, "sides", sides_column("object", self.sides, self.boxes))
        for name, dtype, default_column in (
            ("images", np.int64, ()),
            ("labels", np.int64, ()),
            ("difficult", np.bool_, np.zeros(count)),
            ("crowd", np.bool_, np.zeros(count)),
            ("areas", np.float64, self.sides.prod(axis=1)),
            ("image_sizes", np.int64, np.zeros((len(self.image_ids), 2))),
        ):
            given = getattr(self, name)
            shape = (len(self.image_ids), 2) if name == "image_sizes" else (count,)
            set_(self, name, column(name, default_column if given is None else given, dtype, shape))
        check_rows("object", self.images, len(self.image_ids), self.labels, len(self.class_names), self.boxes)

    @classmethod
    def from_annotations(
        cls,
        image_ids: Sequence[str | int],
        annotations: Sequence[Annotations],
        class_names: Sequence[str],
        files: Sequence[str] = (),
    ) -> Self:
        """The ground truth of images with these annotations, such as a `VOCDataset`'s; InputError if counts differ."""
        if len(image_ids) != len(annotations):
            raise InputError(f"{len(image_ids)} image ids, but annotations of {len(annotations)} images")
        return cls(
            image_ids=tuple(image_ids),
            class_names=tuple(class_names),
            images=np.repeat(np.arange(len(annotations)), [len(image) for image in annotations]),
            labels=joined([image.labels for image in annotations], (0,)),
            boxes=joined([image.boxes for image in annotations], (0, 4)),
            difficult=joined([image.difficult for image in annotations], (0,)),
            image_sizes=np.array([image.image_size for image in annotations], np.int64).reshape(-1, 2),
            files=tuple(files),
        )

    __reduce__ = reduce_by_fields

    def __len__(self) -> int:
        return len(self.labels)

    def rows_by_image(self) -> list[npt.NDArray[np.int64]]:
        """The rows of each image's objects, in their order."""
        return rows_by_image(self.images, len(self.image_ids))

    def first(self, count: int) -> Self:
        """The subset of the first `count` images."""
        return self.of_images(range(min(count, len(self.image_ids))))

    def of_classes(self, names: str | Iterable[str]) -> Self:
        """The objects of some of the classes (a name, or several), in the order of `names`, in all images.

        Raises:
            InputError: a class is unknown or repeated.
        """
        names, chosen, new_labels = select_classes(names, self.class_names)
        labels = new_labels[self.labels]
        return dataclasses.replace(
            self._rows(labels >= 0),
            class_names=names,
            class_ids=tuple(self.class_ids[i] for i in chosen),
            class_numbers=tuple(self.class_numbers[i] for i in chosen),
            labels=labels[labels >= 0],
        )

    def of_images(self, chosen: Sequence[int]) -> Self:
        """The subset of some images, in the order of the indices `chosen`."""
        new_index = np.full(len(self.image_ids), -1)
        new_index[list(chosen)] = np.arange(len(chosen))
        images = new_index[self.images]
        return dataclasses.replace(
            self._rows(images >= 0),
            image_ids=tuple(self.image_ids[i] for i in chosen),
            images=images[images >= 0],
            image_sizes=self.image_sizes[list(chosen)],
            files=tuple(self.files[i] for i in chosen),
            image_numbers=tuple(self.image_numbers[i] for i in chosen),
        )

    def _rows(self, kept: npt.NDArray[np.bool_]) -> Self:
        columns = ("images", "labels", "boxes", "difficult", "crowd", "sides", "areas")
        return dataclasses.replace(self, **{name: getattr(self, name)[kept] for name in columns})


def select_classes(
    names: str | Iterable[str], class_names: Sequence[str]
) -> tuple[tuple[str, ...], list[int], npt.NDArray[np.int64]]:
    """One or several names as a tuple, their labels, and (C,) the new label of each class, -1 if it is not selected.

    Raises:
        InputError: a name is not among the (C,) `class_names`, or is repeated.
    """
    names = as_names(names)
    chosen = class_indices(names, class_names)
    check_distinct("classes", names)
    new_labels = np.full(len(class_names), -1)
    new_labels[chosen] = np.arange(len(chosen))
    return names, chosen, new_labels


def rows_by_image(
    images: npt.NDArray[np.int64], image_count: int, scores: npt.NDArray[np.float64] | None = None
) -> list[npt.NDArray[np.int64]]:
    """The rows of each of `image_count` images, whose indices (N,) are given: in order, or by falling (N,) scores."""
    order = np.argsort(images, kind="stable") if scores is None else np.lexsort((-scores, images))
    ends = np.cumsum(np.bincount(images, minlength=image_count))
    return np.split(order, ends[:-1]) if image_count else []


def joined(arrays: Sequence[np.ndarray], empty_shape: tuple[int, ...]) -> np.ndarray:
    """The concatenated arrays; an array of `empty_shape` if there are none."""
    return np.concatenate(arrays) if arrays else np.zeros(empty_shape)


def column(name: str, values: npt.ArrayLike, dtype: npt.DTypeLike, shape: tuple[int, ...]) -> np.ndarray:
    """`values` as a read-only array; InputError that names the column if their shape or kind is wrong."""
    try:
        given = np.asarray(values)
        if given.size and np.dtype(dtype).kind == "i" and given.dtype.kind not in "iub" and (given % 1).any():
            raise TypeError(f"{given.dtype} are not whole numbers")
        array = given.astype(dtype)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{name} cannot be read as numbers: {error}") from None
    if array.size == 0 and 0 in shape:
        array = array.reshape(shape)
    if array.shape != shape:
        raise InputError(f"{name} have the shape {array.shape}, expected {shape}")
    array.setflags(write=False)
    return array


def sides_column(what: str, sides: npt.ArrayLike | None, boxes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(N, 2) width and height of (N, 4) boxes, read-only; InputError names the first box of other sides."""
    differences = boxes[:, 2:] - boxes[:, :2]
    if sides is None:
        return column("sides", differences, np.float64, differences.shape)
    array: npt.NDArray[np.float64] = column("sides", sides, np.float64, differences.shape)
    differences -= array
    # The two may differ in the last bits of the larger corner.
    largest = np.maximum(boxes.max(axis=1, initial=1), -boxes.min(axis=1, initial=-1))
    good = np.abs(differences, out=differences).max(axis=1, initial=0) <= 1e-12 * largest
    if not good.all():
        row = int(np.argmin(good))
        raise InputError(f"{what} {row}: sides {array[row].tolist()} are not those of the box {boxes[row].tolist()}")
    return array


def repeated(values: Iterable[object]) -> Iterator[tuple[int, int]]:
    """The position of each value that is not the first of its kind, and the position of the first."""
    first: dict[object, int] = {}
    for position, value in enumerate(values):
        if first.setdefault(value, position) != position:
            yield position, first[value]


def check_distinct(name: str, values: Sequence[object]) -> None:
    """InputError that names the first repeated value; 1 and "1" are equal, as in files of results."""
    for position, first in repeated(map(str, values)):
        value, earlier = values[position], values[first]
        fault = "is repeated" if earlier == value else f"equals {earlier!r} in a file; give different ids"
        raise InputError(f"{name}: {value!r} {fault}")


def check_rows(
    what: str,
    images: npt.NDArray[np.int64],
    image_count: int,
    labels: npt.NDArray[np.int64],
    class_count: int,
    boxes: npt.NDArray[np.float64],
    empty: bool = False,
) -> None:
    """InputError that names the first row with a wrong image, label or box; `empty` allows boxes without area."""
    for name, values, limit in (("image", images, image_count), ("label", labels, class_count)):
        good = (values >= 0) & (values < limit)
        if not good.all():
            row = int(np.argmin(good))
            raise InputError(f"{what} {row}: {name} {values[row]} is not in 0..{limit - 1}")
    for valid, fault in (
        (np.isfinite(boxes).all(axis=1), "is not finite"),
        (~(boxes[:, 2:] < boxes[:, :2]).any(axis=1), "has a negative size"),
        (empty | (boxes[:, 2:] > boxes[:, :2]).all(axis=1), "has no area"),
    ):
        if not valid.all():
            row = int(np.argmin(valid))
            raise InputError(f"{what} {row}: box {boxes[row].tolist()} {fault}")
