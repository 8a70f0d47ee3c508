"""A data set by its layout, from what a user names: folders, a split, annotations."""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self, get_args

import numpy as np

from detector.data.blacklist import Blacklist
from detector.data.coco import read_coco
from detector.data.faults import Gathered
from detector.data.ground_truth import GroundTruth
from detector.data.ilsvrc import read_blacklist, read_ilsvrc
from detector.data.voc import VOC_CLASSES, VOCDataset
from detector.data.voc_archive import read_voc
from detector.data.yolo import read_yolo
from detector.data.yolo_config import read_yolo_config
from detector.errors import InputError
from proposals.names import as_names, unknown_name

Layout = Literal["voc", "coco", "ilsvrc", "yolo"]


@dataclass(frozen=True, eq=False, kw_only=True)
class DataSet:
    """Ground truth and where its photos are.

    Attributes:
        truth: the objects.
        name: for the reader of a result: a split, a file.
        folder: of the photos, to which `truth.files` are relative; None if it is not known.
        blacklist: what ILSVRC does not judge.
        notes: what the reader has to know, a line each.
    """

    truth: GroundTruth
    name: str
    folder: Path | None = None
    blacklist: Blacklist | None = None
    notes: tuple[str, ...] = ()

    def of_classes(self, names: str | Iterable[str]) -> Self:
        """Some of the classes (a name, or several); raises `InputError` if one is unknown."""
        names = as_names(names)
        truth = self.truth.of_classes(names)
        if self.blacklist is None:
            return replace(self, truth=truth)
        place = np.full(len(self.truth.class_names), -1)
        place[[self.truth.class_names.index(name) for name in names]] = np.arange(len(names))
        labels = place[self.blacklist.labels]
        kept = Blacklist(self.blacklist.images[labels >= 0], labels[labels >= 0])
        return replace(self, truth=truth, blacklist=kept)

    def first(self, count: int) -> Self:
        """The first `count` images."""
        blacklist = self.blacklist
        if blacklist is not None:
            kept = blacklist.images < count
            blacklist = Blacklist(blacklist.images[kept], blacklist.labels[kept])
        return replace(self, truth=self.truth.first(count), blacklist=blacklist)


def read_data_set(
    layout: Layout,
    *,
    root: Path | None = None,
    annotations: Path | None = None,
    split: str | None = None,
    class_names: Sequence[str] = VOC_CLASSES,
    classes: str | Iterable[str] | None = None,
    class_map: Path | None = None,
    blacklist: Path | None = None,
    skip_bad_labels: bool = False,
) -> DataSet:
    """Read the ground truth of a data set.

    Args:
        layout: `voc`: `root` holds JPEGImages, Annotations and ImageSets, and `split` is a list in the latter; or
            `annotations` is an archive of that, or a folder of XML files. `coco`: `annotations` is the JSON file, and
            `root` holds the photos. `ilsvrc`: `annotations` is the folder of XML files, `split` the list file,
            `class_map` the file that names the synsets, `blacklist` the file of what is not judged. `yolo`:
            `annotations` is the data.yaml, `split` one of its lists, val by default.
        class_names: of a `voc` data set; any other name in it is an error.
        classes: judge only these (a name, or several).
        skip_bad_labels: leave out labels that are wrong, and images of which none can be read, with a note that counts
            them; by default they are raised.

    Raises:
        InputError: something that the layout needs is not named, or what its reader refuses.
    """
    if layout not in get_args(Layout):
        raise InputError(unknown_name("layout", layout, get_args(Layout)))
    classes = None if classes is None else as_names(classes)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        gathered = Gathered() if skip_bad_labels else None
        data = _read(layout, root, annotations, split, class_names, classes, class_map, blacklist, gathered)
    data = replace(data, notes=(*data.notes, *(str(one.message) for one in told)))
    if gathered is not None:
        if not len(data.truth):
            gathered.faults.check()
        unread = [f"an image is left out: {fault}" for fault in gathered.unreadable]
        data = replace(data, notes=(*data.notes, *gathered.faults.left_out(), *unread))
    return data if classes is None else data.of_classes(classes)


def _read(
    layout: Layout,
    root: Path | None,
    annotations: Path | None,
    split: str | None,
    class_names: Sequence[str],
    classes: Sequence[str] | None,
    class_map: Path | None,
    blacklist: Path | None,
    gathered: Gathered | None,
) -> DataSet:
    if layout == "voc":
        return _voc(root, annotations, split, class_names, classes, gathered)
    if annotations is None:
        raise InputError(f"--dataset {layout} needs --annotations: {_ANNOTATIONS[layout]}")
    if layout == "coco":
        return DataSet(truth=read_coco(annotations, gathered), name=annotations.name, folder=root)
    if layout == "yolo":
        truth = read_yolo(annotations, split or "val", gathered)
        folder = root or read_yolo_config(annotations, split or "val").root
        return DataSet(truth=truth, name=split or "val", folder=folder)
    if split is None or class_map is None:
        raise InputError("--dataset ilsvrc needs --split, the list file, and --class-map, the names of the synsets")
    return _ilsvrc(root, annotations, Path(split), class_map, blacklist, gathered)


_ANNOTATIONS = {"coco": "the JSON file", "yolo": "the data.yaml", "ilsvrc": "the folder of XML files"}


def _voc(
    root: Path | None,
    annotations: Path | None,
    split: str | None,
    class_names: Sequence[str],
    classes: Sequence[str] | None,
    gathered: Gathered | None,
) -> DataSet:
    # Some of the known classes are taken out of all: so these keep their numbers.
    names = class_names if classes is None or set(classes) <= set(class_names) else classes
    if annotations is not None:
        truth = read_voc(annotations, split, names, ignore_other_classes=classes is not None, gathered=gathered)
        return DataSet(truth=truth, name=split or annotations.name, folder=root and _photos(root))
    if root is None or split is None:
        raise InputError("--dataset voc needs --root, the folder that holds JPEGImages, and --split, a list of images")
    dataset = VOCDataset(root, split, names, ignore_other_classes=classes is not None)
    return DataSet(truth=dataset.ground_truth(gathered), name=split, folder=_photos(dataset.root))


def _photos(root: Path) -> Path:
    return root / "JPEGImages" if (root / "JPEGImages").is_dir() else root


def _ilsvrc(
    root: Path | None,
    annotations: Path,
    image_list: Path,
    class_map: Path,
    blacklist: Path | None,
    gathered: Gathered | None,
) -> DataSet:
    data = read_ilsvrc(annotations, image_list, class_map, gathered=gathered)
    notes = []
    if data.other_synsets:
        counts = ", ".join(f"{synset} ({count})" for synset, count in data.other_synsets.items())
        notes.append(f"annotated objects of synsets that are no class, left out: {counts}")
    pairs = None if blacklist is None else read_blacklist(blacklist, data.truth)
    if pairs is not None:
        notes.append(f"{len(pairs.images)} pairs of an image and a class are on the blacklist")
    return DataSet(truth=data.truth, name=image_list.name, folder=root, blacklist=pairs, notes=tuple(notes))
