"""Photos that are labeled as a whole: folders by class, a CSV file, or the labels of boxes without the boxes.

The label of a photo is kept as a box of the whole photo, so that splits, counts and classes are those of other data.
"""

import csv
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Literal

import numpy as np

from detector.data.annotations import Annotations, Sample
from detector.data.custom_dataset import CustomDataset, Layout, layouts_in, read_custom_dataset, split_name
from detector.data.faults import Fault
from detector.data.photo_finder import files_below
from detector.data.validation import object_counts
from detector.errors import InputError
from detector.io.text import open_text
from detector.structures.detections import Detections
from detector.structures.image import EXTENSIONS, read_size

_HEADER = ["image", "class"]


def read_image_labels(
    path: str | Path,
    layout: Layout | None = None,
    classes: str | Iterable[str] | None = None,
    *,
    skip_bad_labels: bool = False,
) -> CustomDataset:
    """Reads photos with the classes that they show.

    Args:
        path: a folder with a folder of photos for each class (in train and val, if there are such folders); a CSV file
            with the columns `image` and `class` and a row for each label, or with an empty class for a photo that shows
            none; or what `read_custom_dataset` takes, whose boxes are not used. Equal photos of one name in several
            folders are one photo with several labels.
        layout, classes, skip_bad_labels: as for `read_custom_dataset`.

    Returns:
        Data whose boxes are those of whole photos.

    Raises:
        InputError: there are no photos or labels, a row is wrong, a photo has a class and none, or every photo shows a
            class, so that nothing tells it from its surroundings.
    """
    path = Path(path)
    if layout is None and path.suffix.lower() == ".csv" and path.is_file():
        data = _collect(path, _rows(path))
    elif layout is None and path.is_dir() and not layouts_in(path):
        data = _collect(path, _by_folder(path))
    else:
        data = read_custom_dataset(path, layout, skip_bad_labels=skip_bad_labels)
        samples = (replace(sample, annotations=whole_photo(sample.annotations)) for sample in data.samples)
        data = replace(data, samples=tuple(samples))
    data = replace(data, image_labels=True)
    if classes is not None:
        data = data.of_classes(classes)
    shown = object_counts(data.samples, len(data.class_names)).all(axis=0)
    if shown.any():
        name = data.class_names[int(np.argmax(shown))]
        raise InputError(f"{path}: every photo shows '{name}', so nothing tells it from its surroundings; add others")
    return data


def whole_photo(annotations: Annotations) -> Annotations:
    """The image labels of a photo: a box of the whole photo for each class, which is difficult if all objects of the
    class are."""
    labels = np.unique(annotations.labels)
    difficult = np.array([annotations.difficult[annotations.labels == label].all() for label in labels], bool)
    boxes = np.tile((0, 0, *annotations.image_size), (len(labels), 1))
    return replace(annotations, boxes=boxes, labels=labels, difficult=difficult)


def best_of_class(annotations: Annotations, found: Detections) -> tuple[Annotations, Detections]:
    """A photo's labels and detections, compared as image labels: the best detection of each class, which has the place
    of the label if the photo has it."""
    _, first = np.unique(found.labels, return_index=True)  # the best come first
    best = found[np.sort(first)]
    boxes = annotations.boxes.copy()
    for row, label in enumerate(annotations.labels):
        boxes[row] = best.boxes[best.labels == label][0] if label in best.labels else boxes[row]
    return replace(annotations, boxes=boxes), best


def _by_folder(root: Path) -> list[tuple[Path, str]]:
    """Each photo below a folder, and the folder of its class."""
    labels = []
    for photo in files_below(root, *EXTENSIONS):
        split = split_name(photo.parent, root)
        folders = [name for name in photo.relative_to(root).parts[:-1] if name.casefold() != split]
        if len(folders) > 1 and folders[0].casefold() == "train":  # alone it is the class of that name
            del folders[0]
        if not folders:
            raise InputError(f"{photo}: lies in no folder of a class; photos of no class are rows of a CSV file alone")
        labels.append((photo, folders[0]))
    if not labels:
        raise InputError(f"{root}: holds no photos; put those of each class into a folder of its name")
    return labels


def _rows(path: Path) -> list[tuple[Path, str]]:
    """The photos and classes of a CSV file, whose photos are relative to its folder."""
    with open_text(path) as lines:
        rows = list(csv.reader(lines))
    if not rows or [name.strip().casefold() for name in rows[0]] != _HEADER:
        raise InputError(f"{path}: the first line must be image,class")
    labels = []
    for number, row in enumerate(rows[1:], 2):
        if len(row) != len(_HEADER):
            raise InputError(f"{path}, line {number}: {len(row)} fields; give a photo and a class")
        photo = path.parent / row[0].strip()
        if not photo.is_file():
            raise InputError(f"{path}, line {number}: no such photo: {photo}")
        labels.append((photo, row[1].strip()))
    return labels


def _collect(path: Path, labels: list[tuple[Path, str]]) -> CustomDataset:
    """The data of labels "CLASS", or "" for none, of photos."""
    names = tuple(sorted({name for _, name in labels} - {""}))
    if not names:
        raise InputError(f"{path}: names no class")
    root = path if path.is_dir() else path.parent
    of_photo: dict[Path, set[str]] = defaultdict(set)
    equal: dict[tuple[str, bytes], Path] = {}
    for photo, name in labels:
        if split_name(photo.parent, root) == "test":
            continue
        first = equal.setdefault((photo.name, blake2b(photo.read_bytes()).digest()), photo)
        of_photo[first].add(name)
    samples, faults, val = [], [], set()
    for photo, shown in sorted(of_photo.items()):
        if "" in shown and len(shown) > 1:
            raise InputError(f"{path}: says that {photo} shows no class, and that it shows {max(shown)}; remove one")
        try:
            size = read_size(photo)
        except InputError as error:
            faults.append(Fault(str(photo), "", str(error).removeprefix(f"{photo}: ")))
            continue
        found = np.array([names.index(name) for name in sorted(shown - {""})], np.int64)
        boxes = np.tile((0, 0, *size), (len(found), 1))
        sample_id = photo.relative_to(root).as_posix() if photo.is_relative_to(root) else photo.as_posix()
        samples.append(Sample(sample_id, photo, Annotations(boxes, found, np.zeros(len(found), bool), size)))
        if split_name(photo.parent, root):
            val.add(sample_id)
    if not samples:
        raise InputError(
            f"{faults[0]}; none of the photos can be read" if faults else f"{path}: all photos lie in test"
        )
    layout: Literal["csv", "folders"] = "csv" if path.is_file() else "folders"
    return CustomDataset(path, layout, names, tuple(samples), frozenset(val), tuple(faults))
