"""Ground truth of a data set in any layout, from the folders, split and annotations that a user names."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self, get_args

from detector.data.blacklist import Blacklist
from detector.data.coco import read_coco
from detector.data.custom_dataset import read_custom_dataset
from detector.data.faults import Faults
from detector.data.ground_truth import GroundTruth, select_classes
from detector.data.ilsvrc import read_blacklist, read_ilsvrc
from detector.data.predictions import known_classes
from detector.data.validation import validation_photos
from detector.data.voc import VOC_CLASSES, VOCDataset, read_voc
from detector.data.yolo import read_yolo, read_yolo_config
from detector.errors import InputError
from proposals.names import as_names, unknown_name

Layout = Literal["voc", "coco", "ilsvrc", "yolo"]

_ANNOTATIONS = {"coco": "the JSON file", "yolo": "the data.yaml", "ilsvrc": "the folder of XML files"}


@dataclass(frozen=True, eq=False, kw_only=True)
class DataSet:
    """Ground truth and the folder of its photos.

    Attributes:
        truth: the objects.
        name: of the split or the file, for reports.
        folder: of the photos, to which `truth.files` are relative; None if unknown.
        blacklist: what ILSVRC's evaluation leaves out.
        notes: what to know about the data, a line each.
    """

    truth: GroundTruth
    name: str
    folder: Path | None = None
    blacklist: Blacklist | None = None
    notes: tuple[str, ...] = ()

    def of_classes(self, names: str | Iterable[str]) -> Self:
        """The data with only these classes (a name, or several); raises `InputError` if one is unknown."""
        names, _, new_labels = select_classes(names, self.truth.class_names)
        blacklist = self.blacklist
        if blacklist is not None:
            labels = new_labels[blacklist.labels]
            blacklist = Blacklist(blacklist.images[labels >= 0], labels[labels >= 0])
        return replace(self, truth=self.truth.of_classes(names), blacklist=blacklist)

    def known_to(self, detected: Sequence[str], source: str) -> Self:
        """The data set with only the classes that a detector knows, in the detector's order, and notes on the others.

        Args:
            detected: names of the detector's classes.
            source: the detector, for messages.

        Raises:
            InputError: the detector knows none of the classes.
        """
        same = known_classes(self.truth.class_names, detected, source)
        with_objects = {self.truth.class_names[label] for label in set(self.truth.labels.tolist())}
        notes = []
        if unknown := [name for name in self.truth.class_names if name in with_objects and name not in same]:
            notes.append(f"classes missing from the model, not evaluated: {', '.join(unknown)}")
        if renamed := [f"{name} = {alias}" for name, alias in same.items() if name != alias]:
            notes.append(f"classes of the data set, as the model names them: {', '.join(renamed)}")
        data = self.of_classes(sorted(same, key=lambda name: detected.index(same[name])))
        return replace(data, notes=(*data.notes, *notes))

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
            `class_map` the file that names the synsets, `blacklist` the file of pairs to leave out. `yolo`:
            `annotations` is the data.yaml, `split` one of its lists, val by default.
        root, annotations, split, class_map, blacklist: files and folders, which depend on the layout.
        class_names: of a `voc` data set; any other name in it is an error.
        classes: evaluate only these (a name, or several).
        skip_bad_labels: skip faulty labels, and images whose labels cannot be read, with a note that counts them; by
            default they are raised. Unknown classes of a `voc` data set always are: `class_names` may be wrong.

    Raises:
        InputError: an argument that the layout needs is missing, or a file cannot be read.
        FaultyDataError: labels are wrong, unless they are skipped.
    """
    if layout not in get_args(Layout):
        raise InputError(unknown_name("layout", layout, get_args(Layout)))
    classes = None if classes is None else as_names(classes)
    faults = Faults(collect=skip_bad_labels)
    if skip_bad_labels:
        faults.unknown_classes = Faults()
    if layout == "voc":
        data = _read_voc(root, annotations, split, class_names, classes, faults)
    elif annotations is None:
        raise InputError(f"--dataset {layout} needs --annotations: {_ANNOTATIONS[layout]}")
    elif layout == "coco":
        data = DataSet(truth=read_coco(annotations, faults), name=annotations.name, folder=root)
    elif layout == "yolo":
        split = split or "val"
        folder = root or read_yolo_config(annotations, split).root
        data = DataSet(truth=read_yolo(annotations, split, faults), name=split, folder=folder)
    elif split is None or class_map is None:
        raise InputError("--dataset ilsvrc needs --split, the list file, and --class-map, the names of the synsets")
    else:
        truth = read_ilsvrc(annotations, Path(split), class_map, faults)
        pairs = None if blacklist is None else read_blacklist(blacklist, truth)
        if pairs is not None:
            faults.notes.append(f"{len(pairs.images)} pairs of an image and a class are on the blacklist")
        data = DataSet(truth=truth, name=Path(split).name, folder=root, blacklist=pairs)
    faults.unknown_classes.check()
    if not len(data.truth):
        faults.check(always=True)
    left_out = (f"an image is left out: {fault}" for fault in faults.unreadable)
    data = replace(data, notes=(*faults.notes, *faults.summary(), *left_out))
    return data if classes is None else data.of_classes(classes)


Part = Literal["val", "train", "all"]


def read_part(
    path: Path,
    part: Part = "val",
    *,
    classes: str | Iterable[str] | None = None,
    skip_bad_labels: bool = False,
    seed: int = 0,
) -> DataSet:
    """A part of a custom dataset (`read_custom_dataset`), such as the photos that a training evaluates on.

    Args:
        part: "val", the photos that a training with these classes and this seed sets aside for validation
            (`validation_photos`), the others, or all.

    Raises:
        InputError: as for `read_custom_dataset`; or the part is unknown or has no photos.
    """
    if part not in get_args(Part):
        raise InputError(unknown_name("split", part, get_args(Part)))
    data = read_custom_dataset(path, None, classes, skip_bad_labels=skip_bad_labels)
    in_val = validation_photos(data, seed=seed)
    chosen = {"val": in_val, "train": ~in_val, "all": in_val | True}[part].tolist()
    samples = [sample for sample, is_chosen in zip(data.samples, chosen, strict=True) if is_chosen]
    if not samples:
        raise InputError(f"{path}: has no photos of the part {part}; choose another --split")
    ids = [sample.id for sample in samples]
    truth = GroundTruth.from_annotations(ids, [sample.annotations for sample in samples], data.class_names, ids)
    notes = [*data.notes, *(f"a photo is left out: {fault}" for fault in data.faults)]
    if part != "all":
        purpose = "validation" if part == "val" else "training"
        notes.append(f"{len(samples)} of {len(data.samples)} photos: those for {purpose}")
    folder = path if path.is_dir() else path.parent
    return DataSet(
        truth=replace(truth, class_ids=data.class_ids), name=f"{part} of {path}", folder=folder, notes=tuple(notes)
    )


def find_photos(annotations: Path, files: Sequence[str]) -> Path:
    """The folder of a data set's photos: that of its annotations, the one above it, or a folder in either.

    Raises:
        InputError: none of them has the first of the `files`.
    """
    folders = [annotations.parent, annotations.absolute().parents[1]]
    folders += [below for folder in folders for below in sorted(folder.iterdir()) if below.is_dir()]
    for folder in folders:
        if files and (folder / files[0]).is_file():
            return folder
    raise InputError(
        f"{annotations}: its photos, such as {next(iter(files), 'any')}, are not near it; give their folder"
    )


def _read_voc(
    root: Path | None,
    annotations: Path | None,
    split: str | None,
    class_names: Sequence[str],
    classes: Sequence[str] | None,
    faults: Faults,
) -> DataSet:
    # Chosen classes keep their numbers: all known classes are read, and the others removed later.
    names = class_names if classes is None or set(classes) <= set(class_names) else classes
    ignore = classes is not None
    if annotations is not None:
        truth = read_voc(annotations, split, names, ignore_other_classes=ignore, faults=faults)
        folder = root / "JPEGImages" if root and (root / "JPEGImages").is_dir() else root
        return DataSet(truth=truth, name=split or annotations.name, folder=folder)
    if root is None or split is None:
        raise InputError("--dataset voc needs --root, the folder that holds JPEGImages, and --split, a list of images")
    truth = VOCDataset(root, split, names, ignore_other_classes=ignore).ground_truth(faults)
    return DataSet(truth=truth, name=split, folder=root / "JPEGImages")
