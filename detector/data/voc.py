"""Data sets in PASCAL VOC's layout, and their annotations alone: a folder of XML files or a devkit in an archive."""

import copy
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np

from detector.config import CONFIG_FOLDER
from detector.data.annotations import Annotations, Sample
from detector.data.archives import is_archive, read_members
from detector.data.faults import Faults
from detector.data.ground_truth import GroundTruth, check_distinct
from detector.data.voc_xml import VOC_CLASSES, VOCObject, parse_annotation, parse_split
from detector.errors import InputError

__all__ = ["VOC_CLASSES", "VOCDataset", "read_voc"]

_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG")
_LISTS = "ImageSets/Main"


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

    class_ids: tuple[int | str, ...] = ()  # VOC's classes have names alone

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
        self._labels = {name: label for label, name in enumerate(self.class_names)}
        self._on_other_class = _ignore if ignore_other_classes else None
        check_distinct("class names", self.class_names)
        for name in ("JPEGImages", "Annotations"):
            if not (self.root / name).is_dir():
                inner = sorted(path.parent for path in (*self.root.glob(f"*/{name}"), *self.root.glob(f"*/*/{name}")))
                hint = f"; {inner[0]} holds it" if inner else ""
                raise InputError(f"{root}: holds no folder {name}; give the folder that holds JPEGImages{hint}")
        self._source = folder_source(self.root / "Annotations")
        self.ids = self._source.split(split, self.root)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        """The sample at `index`, with its annotations read from the file; raises as `annotations`."""
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
        path = self._photo(self.ids[index])
        if path is None:
            stem = self.root / "JPEGImages" / self.ids[index]
            raise InputError(f"{stem}.jpg: no such image, but split '{self.split}' lists {self.ids[index]}")
        return path

    def _photo(self, image_id: str) -> Path | None:
        # An id may contain a dot, which with_suffix would cut at. Unlike Path.is_file, os.path.isfile is False for a
        # name that is too long.
        paths = (self.root / "JPEGImages" / f"{image_id}{suffix}" for suffix in _IMAGE_SUFFIXES)
        return next(filter(os.path.isfile, paths), None)

    def annotations(self, index: int) -> Annotations:
        """The annotated objects of the image at `index`.

        Raises:
            FaultyDataError: the file is missing, is not well-formed, or has wrong fields; each fault names the file,
                the object and the field.
        """
        faults = Faults()
        parsed = self._source.parse(self.ids[index], self._labels, faults, self._on_other_class, inside=True)
        faults.check()
        size, objects = parsed or ((0, 0), [])
        boxes, labels, difficult = ([one[field] for one in objects] for field in range(3))
        return Annotations(np.array(boxes), np.array(labels), np.array(difficult), size)

    def ground_truth(self, faults: Faults | None = None) -> GroundTruth:
        """The objects of all images, for an evaluation (see `read_voc`); the files are relative to `JPEGImages`."""
        truth = read_annotations(self._source, self.ids, self.class_names, faults, self._on_other_class)
        photos = zip(truth.files, map(self._photo, map(str, truth.image_ids)), strict=True)
        return replace(truth, files=tuple(photo.name if photo else file for file, photo in photos))


def read_voc(
    path: str | Path,
    split: str | Sequence[str] | None = None,
    class_names: Sequence[str] = VOC_CLASSES,
    *,
    ignore_other_classes: bool = False,
    faults: Faults | None = None,
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
        faults: collects the faults.

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
    source = folder_source(_find_folder(path)) if path.is_dir() else _archive(path)
    if split is None:
        ids: Sequence[str] = sorted(source.ids)
    else:
        ids = source.split(split, path) if isinstance(split, str) else split
    return read_annotations(source, ids, class_names, faults, _ignore if ignore_other_classes else None)


def _ignore(name: str) -> None:
    pass


@dataclass(frozen=True)
class Source:
    """A folder of annotations, on disk or in an archive.

    Attributes:
        folder: its path, which begins with the archive's.
        ids: of all images.
        lists: the path of each list of images, by its name.
        read: gives the content of a path in the folder or of a list; OSError or KeyError if it cannot be read.
    """

    folder: Path
    ids: Sequence[str]
    lists: Mapping[str, Path]
    read: Callable[[Path], bytes]

    def split(self, name: str, root: Path) -> tuple[str, ...]:
        """The ids in a list; InputError that names `root` if there is no such list, or the list if it is wrong."""
        packaged = CONFIG_FOLDER / f"{name}.txt"  # of VOC07, to repeat published figures
        if name not in self.lists and not packaged.is_file():
            raise InputError(f"{root}: no split {name}; there are: {', '.join(sorted(self.lists)) or 'none'}")
        path = self.lists.get(name, packaged)
        try:
            return parse_split(path.read_bytes() if path == packaged else self.read(path), str(path))
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from None

    def parse(
        self,
        image_id: str,
        labels: Mapping[str, int],
        faults: Faults,
        on_other_class: Callable[[str], None] | None,
        inside: bool = False,
    ) -> tuple[tuple[int, int], list[VOCObject]] | None:
        """The size and the objects of an image, as `parse_annotation`; None if it cannot be read, which is a fault."""
        path = self.folder / f"{image_id}.xml"
        file = str(path)
        try:
            return parse_annotation(self.read(path), file, labels, faults, on_other_class=on_other_class, inside=inside)
        except (FileNotFoundError, KeyError):
            faults.add(file, "", f"no such annotation, but the list of images has {image_id}")
        except OSError as error:
            faults.add(file, "", f"cannot be read: {error.strerror}")
        except InputError as error:
            faults.add(file, "", str(error))
        return None


def read_annotations(
    source: Source,
    ids: Sequence[str],
    class_names: Sequence[str],
    faults: Faults | None,
    on_other_class: Callable[[str], None] | None = None,
) -> GroundTruth:
    """The objects of some images, without images whose annotation cannot be read; see `parse_annotation`.

    Raises:
        FaultyDataError: annotations are missing or wrong; each fault names the file, the object and the field.
    """
    faults = faults or Faults()
    labels = {name: label for label, name in enumerate(class_names)}
    sizes: dict[str, tuple[int, int]] = {}
    images: list[int] = []
    objects: list[VOCObject] = []
    for image_id in ids:
        if parsed := source.parse(image_id, labels, faults, on_other_class):
            size, found = parsed
            images += [len(sizes)] * len(found)
            sizes[image_id] = size
            objects += found
            faults.origins += [(f"{source.folder / image_id}.xml", f"object {one.number}") for one in found]
    faults.check()
    return GroundTruth(
        image_ids=tuple(sizes),
        class_names=tuple(class_names),
        images=np.array(images, np.int64),
        labels=np.array([one.label for one in objects], np.int64),
        boxes=np.array([one.box for one in objects], np.float64).reshape(-1, 4),
        difficult=np.array([one.difficult for one in objects], bool),
        image_sizes=np.array(list(sizes.values()), np.int64).reshape(-1, 2),
        files=tuple(f"{image_id}.jpg" for image_id in sizes),
    )


def folder_source(folder: Path) -> Source:
    """The annotations in a folder of XML files, and the lists of a devkit around it."""
    ids = [file.stem for file in folder.glob("*.xml") if not file.name.startswith(".")]
    lists = {file.stem: file for file in (folder.parent / _LISTS).glob("*.txt")}
    return Source(folder, ids, lists, Path.read_bytes)


def _find_folder(path: Path) -> Path:
    near = [folder for folder in (path, path / "Annotations") if any(folder.glob("*.xml"))]
    far = sorted((*path.glob("*/Annotations"), *path.glob("*/*/Annotations")))
    return _only(path, near[:1] or [folder for folder in far if any(folder.glob("*.xml"))])


def _archive(path: Path) -> Source:
    def is_selected(name: str) -> bool:
        file = PurePosixPath(name)
        is_list = file.suffix == ".txt" and file.parent.match(_LISTS)
        return (file.suffix == ".xml" or is_list) and not file.name.startswith(".")  # macOS adds ._000001.xml

    files = {path / name: content for name, content in read_members(path, is_selected).items()}
    annotations = [file for file in files if file.suffix == ".xml"]
    folders = sorted({file.parent for file in annotations if file.parent.name == "Annotations"})
    folder = _only(path, folders or sorted({file.parent for file in annotations}))
    ids = [file.stem for file in annotations if file.parent == folder]
    lists = {file.stem: file for file in files if file.parent == folder.parent / _LISTS}
    return Source(folder, ids, lists, files.__getitem__)


def _only(path: Path, folders: Sequence[Path]) -> Path:
    if not folders:
        raise InputError(f"{path}: holds no annotation (.xml); give VOC's Annotations, or a folder that holds them")
    if len(folders) > 1:
        raise InputError(f"{path}: holds several folders of annotations, {', '.join(map(str, folders))}; give one")
    return folders[0]
