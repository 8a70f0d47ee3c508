"""Data sets in PASCAL VOC's layout, and their annotations alone: a folder of XML files or a devkit in an archive."""

import copy
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NoReturn, TypeVar

import numpy as np

from detector.config import CONFIG_FOLDER
from detector.data.annotations import Annotations, Sample
from detector.data.archives import is_archive, read_members
from detector.data.faults import Faults, ReadReport
from detector.data.ground_truth import GroundTruth
from detector.data.voc_xml import VOC_CLASSES, VOCObjects, parse_annotation, parse_split
from detector.errors import InputError

__all__ = ["VOC_CLASSES", "VOCDataset", "read_voc"]

_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG")
_LISTS = "ImageSets/Main"
# Lists of VOC07 by which the published figures can be repeated; a data set's own list of the same name is used instead.
_PACKAGED_LISTS = {file.stem: file.read_bytes for file in CONFIG_FOLDER.glob("*.txt")}


class VOCDataset:
    """The images of one split of a data set in PASCAL VOC's layout.

    Only the list of the split is read here; an image's annotations are read when they are requested.

    Args:
        root: the folder that holds `JPEGImages`, `Annotations` and `ImageSets/Main`.
        split: name of the list, `ImageSets/Main/<split>.txt`: one image id a line; or one in the package, val500 or
            train4508.
        class_names: the classes; labels are 0-based indices into it.
        ignore_other_classes: leave out objects of other classes. By default they are errors, because objects of a
            misspelt class would otherwise be lost.

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
        self.ids = _read_split(self.root / _LISTS, split)
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
        """The data set of the first `count` images, or of all if there are fewer."""
        if count < 1:
            raise InputError(f"a data set of {count} images was requested, at least 1 is needed")
        subset = copy.copy(self)
        subset.ids = self.ids[:count]
        return subset

    def image_path(self, index: int) -> Path:
        """The image file at `index`; InputError if it is missing."""
        stem = self.root / "JPEGImages" / self.ids[index]
        for suffix in _IMAGE_SUFFIXES:
            path = stem.with_name(stem.name + suffix)  # an id may contain a dot, which with_suffix would cut at
            if os.path.isfile(path):  # unlike Path.is_file, False for a name that is too long
                return path
        raise InputError(f"{stem}.jpg: no such image, but split '{self.split}' lists {self.ids[index]}")

    def annotations(self, index: int) -> Annotations:
        """The annotated objects of the image at `index`.

        Raises:
            InputError: the file is missing, is not well-formed, or has a wrong field; the message names the
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

    def ground_truth(self, report: ReadReport | None = None) -> GroundTruth:
        """The objects of all images, for an evaluation (see `read_voc`); the files are relative to `JPEGImages`.

        Args:
            report: collects the faults; by default they are raised.

        Raises:
            FaultyDataError: annotations are missing or wrong; names them all, up to a limit.
        """
        files = {}
        for index, image_id in enumerate(self.ids):
            try:
                files[image_id] = self.image_path(index).name
            except InputError:  # reported where the photo is read
                files[image_id] = f"{image_id}.jpg"
        truth = read_voc(
            self.root, self.ids, self.class_names, ignore_other_classes=self.ignore_other_classes, report=report
        )
        return replace(truth, files=tuple(files[str(image_id)] for image_id in truth.image_ids))


def _check_layout(root: Path) -> None:
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; give the folder that holds JPEGImages")
    for name in ("JPEGImages", "Annotations", _LISTS):
        if (root / name).is_dir():
            continue
        inner = sorted(path.parent for path in (*root.glob("*/JPEGImages"), *root.glob("*/*/JPEGImages")))
        hint = f"; {inner[0]} holds it" if name == "JPEGImages" and inner else ""
        raise InputError(f"{root}: holds no folder {name}; give the folder that holds JPEGImages{hint}")


def _read_split(folder: Path, split: str) -> tuple[str, ...]:
    path = folder / f"{split}.txt"
    own_lists = {file.stem: file.read_bytes for file in folder.glob("*.txt")}
    read = own_lists.get(split) or _PACKAGED_LISTS.get(split)
    if read is None:
        raise InputError(f"{path}: no such split; there are: {', '.join(sorted(own_lists)) or 'none'}")
    try:
        return parse_split(read(), str(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read as a list of image ids: {error}") from error


def read_voc(
    path: str | Path,
    split: str | Sequence[str] | None = None,
    class_names: Sequence[str] = VOC_CLASSES,
    *,
    ignore_other_classes: bool = False,
    report: ReadReport | None = None,
) -> GroundTruth:
    """The objects in annotations in PASCAL VOC's format; photos are not needed.

    `image_ids` are the names of the XML files without their suffix, `files` those with `.jpg`.

    Args:
        path: a folder of XML files, a folder that holds `Annotations` (directly or one or two folders below, such as a
            devkit), or a zip or tar (also .tar.gz) of one, which is read without extracting it.
        split: name of the list of images, `ImageSets/Main/<split>.txt` beside `Annotations`, which gives their order,
            of one in the package (val500, train4508), or their ids; by default all annotations, by name.
        class_names: the classes; labels are indices into it.
        ignore_other_classes: leave out objects of other classes; otherwise they are faults.
        report: collects the faults; by default they are raised.

    Raises:
        InputError: there is no such file, no annotation or no such list, there are several data sets, or the archive
            is damaged or hostile (see `read_members`).
        FaultyDataError: annotations are wrong; each fault names the file, the object and the field.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; give VOC's annotations as a folder, zip or tar")
    if path.is_file() and not is_archive(path):
        raise InputError(f"{path}: is neither a zip nor a tar; give VOC's annotations as a folder, zip or tar")
    contents, lists, locate = _folder(path) if path.is_dir() else _archive(path)
    if split is None:
        ids = tuple(sorted(contents))
    elif not isinstance(split, str):
        ids = tuple(split)
    elif (read := lists.get(split) or _PACKAGED_LISTS.get(split)) is not None:
        ids = parse_split(read(), f"{path}: {split}.txt")
    else:
        raise InputError(f"{path}: no split {split}; there are: {', '.join(sorted(lists)) or 'none'}")

    faults = Faults() if report is None else report.faults
    labels = {name: label for label, name in enumerate(class_names)}
    annotations: dict[str, VOCObjects] = {}
    origins: list[tuple[str, str]] = []
    for image_id in ids:
        file, member = locate(f"{image_id}.xml")
        if image_id not in contents:
            listed = f"split '{split}' lists {image_id}" if isinstance(split, str) else "it is listed"
            faults.add(file, member, f"no such annotation, but {listed}")
            continue
        try:
            content = contents[image_id]()
        except OSError as error:
            faults.add(file, member, f"cannot be read: {error.strerror}")
            continue

        def on_fault(record: str, fault: str, faults: Faults = faults, file: str = file, member: str = member) -> None:
            faults.add(file, ", ".join(filter(None, (member, record))), fault)

        unknown_classes = faults if report is None or report.unknown_classes is None else report.unknown_classes
        objects = parse_annotation(
            content,
            labels,
            on_fault,
            on_other_class=partial(on_fault, faults=unknown_classes),
            ignore_other_classes=ignore_other_classes,
            inside=False,
        )
        if objects.image_size == (0, 0):  # unreadable, so whether the image has objects is unknown
            continue
        annotations[image_id] = objects
        origins += [(file, ", ".join(filter(None, (member, f"object {number}")))) for number in objects.numbers]
    if report is None:
        faults.check()
    else:
        report.origins.extend(origins)
    images = list(annotations.values())
    return GroundTruth(
        image_ids=tuple(annotations),
        class_names=tuple(class_names),
        images=np.repeat(np.arange(len(images)), [len(image.labels) for image in images]),
        labels=np.array([label for image in images for label in image.labels], np.int64),
        boxes=np.array([box for image in images for box in image.boxes], np.float64).reshape(-1, 4),
        difficult=np.array([flag for image in images for flag in image.difficult], bool),
        image_sizes=np.array([image.image_size for image in images], np.int64).reshape(-1, 2),
        files=tuple(f"{image_id}.jpg" for image_id in annotations),
    )


# Each source of annotations gives functions that read the annotations, by image id, and the lists of images, by name;
# and, for faults, the file that holds an annotation, and its name inside if that is an archive.
_Contents = Mapping[str, Callable[[], bytes]]
_Locate = Callable[[str], tuple[str, str]]
_AnyPath = TypeVar("_AnyPath", Path, PurePosixPath)


def _folder(path: Path) -> tuple[_Contents, _Contents, _Locate]:
    near = [folder for folder in (path, path / "Annotations") if any(folder.glob("*.xml"))]
    far = sorted((*path.glob("*/Annotations"), *path.glob("*/*/Annotations")))
    annotations = _only(path, near[:1] or [folder for folder in far if any(folder.glob("*.xml"))])
    contents = {file.stem: file.read_bytes for file in annotations.glob("*.xml") if not file.name.startswith(".")}
    lists = {file.stem: file.read_bytes for file in (annotations.parent / _LISTS).glob("*.txt")}
    return contents, lists, lambda name: (str(annotations / name), "")


def _archive(path: Path) -> tuple[_Contents, _Contents, _Locate]:
    def is_selected(name: str) -> bool:
        file = PurePosixPath(name)
        is_list = file.suffix == ".txt" and file.parent.match(_LISTS)
        return (file.suffix == ".xml" or is_list) and not file.name.startswith(".")  # macOS adds ._000001.xml

    def reader(content: bytes) -> Callable[[], bytes]:
        return lambda: content

    files = {PurePosixPath(name): reader(content) for name, content in read_members(path, is_selected).items()}
    annotations = [name for name in files if name.suffix == ".xml"]
    folders = sorted({name.parent for name in annotations if name.parent.name == "Annotations"})
    folder = _only(path, folders or sorted({name.parent for name in annotations}))
    contents = {name.stem: files[name] for name in annotations if name.parent == folder}
    lists = {name.stem: files[name] for name in files if name.parent == folder.parent / _LISTS}
    return contents, lists, lambda name: (str(path), str(folder / name))


def _only(path: Path, folders: Sequence[_AnyPath]) -> _AnyPath:
    if not folders:
        raise InputError(f"{path}: holds no annotation (.xml); give VOC's Annotations, or a folder that holds them")
    if len(folders) > 1:
        raise InputError(f"{path}: holds several folders of annotations, {', '.join(map(str, folders))}; give one")
    return folders[0]
