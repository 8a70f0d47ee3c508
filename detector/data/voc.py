"""Reader of data sets in PASCAL VOC's layout."""

import copy
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import numpy as np

from detector.data.annotations import Annotations, Sample
from detector.data.faults import Gathered
from detector.data.ground_truth import GroundTruth
from detector.data.voc_archive import read_voc
from detector.data.voc_xml import VOC_CLASSES, parse_annotation, parse_split
from detector.errors import InputError

__all__ = ["VOC_CLASSES", "VOCDataset"]

_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG")


class VOCDataset:
    """The images of one split of a data set in PASCAL VOC's layout.

    Only the list of the split is read here; an image's annotations are read when they are asked for.

    Args:
        root: the folder that holds `JPEGImages`, `Annotations` and `ImageSets/Main`.
        split: name of the list, `ImageSets/Main/<split>.txt`: one image id a line.
        class_names: the classes; labels are 0-based indices into it.
        ignore_other_classes: leave out objects of classes that are not in `class_names`. Without it such an
            object is an error, because a misspelt class would otherwise vanish in silence.

    Raises:
        InputError: the folder or the split is missing, or the split is empty or malformed.
    """

    def __init__(
        self,
        root: str | Path,
        split: str,
        class_names: Sequence[str] = VOC_CLASSES,
        *,
        ignore_other_classes: bool = False,
    ) -> None:
        self.root = Path(root)
        self.split = split
        self.class_names = tuple(class_names)
        self.ignore_other_classes = ignore_other_classes
        if not self.class_names or len(set(self.class_names)) != len(self.class_names):
            raise InputError(f"class names must be given, each once: {', '.join(self.class_names) or 'none'}")
        _check_layout(self.root)
        self.ids = _read_split(self.root / "ImageSets" / "Main", split)
        self._labels = {name: label for label, name in enumerate(self.class_names)}

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        """The sample at `index`, with its annotations read from the file.

        Raises:
            InputError: the image is missing, or its annotation is missing or wrong.
            IndexError: `index` is outside the data set.
        """
        return Sample(self.ids[index], self.image_path(index), self.annotations(index))

    def __iter__(self) -> Iterator[Sample]:
        return (self[index] for index in range(len(self)))

    def first(self, count: int) -> "VOCDataset":
        """The data set of the first `count` images (all of them where there are fewer)."""
        if count < 1:
            raise InputError(f"a data set of {count} images was asked for, at least 1 is needed")
        part = copy.copy(self)
        part.ids = self.ids[:count]
        return part

    def image_path(self, index: int) -> Path:
        """The image file at `index`; raises InputError where there is none."""
        stem = self.root / "JPEGImages" / self.ids[index]
        for suffix in _IMAGE_SUFFIXES:
            # Not with_suffix: an id may hold a dot of its own.
            path = stem.with_name(stem.name + suffix)
            if os.path.isfile(path):  # which takes a name that is too long for none
                return path
        raise InputError(f"{stem}.jpg: no such image, but split '{self.split}' lists {self.ids[index]}")

    def annotations(self, index: int) -> Annotations:
        """The annotated objects of the image at `index`.

        Raises:
            InputError: the file is missing, is not well-formed, or holds a wrong field; the message names the
                file, the object and the field.
        """
        image_id = self.ids[index]
        path = self.root / "Annotations" / f"{image_id}.xml"
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise InputError(f"{path}: no such annotation, but split '{self.split}' lists {image_id}") from None
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from error

        def fail(record: str, fault: str) -> NoReturn:
            raise InputError(": ".join(part for part in (str(path), record, fault) if part))

        objects = parse_annotation(content, self._labels, fail, ignore_other_classes=self.ignore_other_classes)
        boxes, labels, difficult = map(np.array, (objects.boxes, objects.labels, objects.difficult))
        return Annotations(boxes, labels, difficult, objects.image_size)

    def ground_truth(self, gathered: Gathered | None = None) -> GroundTruth:
        """The objects of all images, for an evaluation (see `read_voc`); the files are relative to `JPEGImages`.

        Args:
            gathered: what is wrong goes in here; by default it is raised.

        Raises:
            FaultyDataError: annotations are missing or wrong; names them all, up to a limit.
        """
        files = {}
        for index, image_id in enumerate(self.ids):
            try:
                files[image_id] = self.image_path(index).name
            except InputError:  # whoever needs the photo will say so
                files[image_id] = f"{image_id}.jpg"
        truth = read_voc(
            self.root, self.ids, self.class_names, ignore_other_classes=self.ignore_other_classes, gathered=gathered
        )
        return replace(truth, files=tuple(files[str(image_id)] for image_id in truth.image_ids))


def _check_layout(root: Path) -> None:
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; give the folder that holds JPEGImages")
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        if (root / name).is_dir():
            continue
        inner = sorted(path.parent for path in (*root.glob("*/JPEGImages"), *root.glob("*/*/JPEGImages")))
        hint = f"; {inner[0]} holds it" if name == "JPEGImages" and inner else ""
        raise InputError(f"{root}: holds no folder {name}; give the folder that holds JPEGImages{hint}")


def _read_split(folder: Path, split: str) -> tuple[str, ...]:
    path = folder / f"{split}.txt"
    if not path.is_file():
        known = ", ".join(sorted(path.stem for path in folder.glob("*.txt"))) or "none"
        raise InputError(f"{path}: no such split; there are: {known}")
    try:
        return parse_split(path.read_bytes(), str(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read as a list of image ids: {error}") from error
