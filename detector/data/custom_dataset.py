"""A user's own photos and labels, found out by looking: VOC's XML files, COCO's JSON or YOLO's text files.

Wrong labels stop the reader, all named at once: they can be mended, and training without them may teach that their
objects are background. On demand they are left out and counted. A photo that is missing, damaged or of another size
than its labels say is left out and told.
"""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import numpy as np
from PIL import Image as PillowImage

from detector.data.annotations import Annotations, Sample
from detector.data.faults import Fault, Faults
from detector.data.layouts import (
    UNUSED,
    VAL,
    Layout,
    Part,
    PhotoFinder,
    find_layout,
    part_name,
    photos_below,
    read_parts,
)
from detector.data.yolo import upright_size
from detector.errors import InputError
from proposals.names import as_names, unknown_name

# A box that is further outside its photo, in pixels or in parts of a side, belongs to another photo.
_TOLERANCE = (2.0, 0.01)


@dataclass(frozen=True, eq=False)
class CustomDataset:
    """What was found.

    Attributes:
        path: what the user named.
        layout: of the labels.
        class_names: of all labels, also of classes that no photo shows.
        samples: photos and their objects; ids are all different.
        val: ids of the photos that the data set itself keeps for judging; empty if it has no such part.
        faults: photos that were left out, and why.
        class_ids: COCO's category ids of the classes; none in other layouts.
        notes: what the reader has to know, a line each.
    """

    path: Path
    layout: Layout
    class_names: tuple[str, ...]
    samples: tuple[Sample, ...]
    val: frozenset[str] = frozenset()
    faults: tuple[Fault, ...] = ()
    notes: tuple[str, ...] = ()
    class_ids: tuple[int | str, ...] = ()

    def of_classes(self, names: str | Iterable[str]) -> "CustomDataset":
        """The same photos with the objects of some of the classes (a name, or several), in the order of `names`.

        Raises:
            InputError: a name is none of the classes, or comes twice.
        """
        names = as_names(names)
        for name in names:
            if name not in self.class_names:
                raise InputError(f"{self.path}: {unknown_name('class', name, self.class_names)}")
        if len(set(names)) < len(names):
            raise InputError(f"{self.path}: a class is named twice: {', '.join(names)}")
        place = np.full(len(self.class_names), -1)
        place[[self.class_names.index(name) for name in names]] = np.arange(len(names))
        samples = []
        for sample in self.samples:
            old = sample.annotations
            kept = place[old.labels] >= 0
            objects = Annotations(old.boxes[kept], place[old.labels[kept]], old.difficult[kept], old.image_size)
            samples.append(replace(sample, annotations=objects))
        ids = tuple(self.class_ids[self.class_names.index(name)] for name in names) if self.class_ids else ()
        return replace(self, class_names=names, class_ids=ids, samples=tuple(samples))

    def without(self, faults: Sequence[tuple[str, Fault]]) -> "CustomDataset":
        """The data without some samples, by id, and why."""
        ids = {sample_id for sample_id, _ in faults}
        samples = tuple(sample for sample in self.samples if sample.id not in ids)
        return replace(self, samples=samples, faults=(*self.faults, *(fault for _, fault in faults)))


def read_custom_dataset(
    path: str | Path,
    layout: Layout | None = None,
    classes: str | Iterable[str] | None = None,
    *,
    skip_bad_labels: bool = False,
) -> CustomDataset:
    """Finds photos and labels.

    Args:
        path: a folder with photos and labels somewhere below; or the file that names them: COCO's JSON, YOLO's
            data.yaml, a list in VOC's `ImageSets/Main`.
        layout: of the labels; by default what `path` holds.
        classes: take only objects of these classes (a name, or several).
        skip_bad_labels: leave out labels that are wrong, with a note that counts them; by default they are raised. A
            photo none of whose labels can be read is left out with them.

    Photos in a part called val or valid (a folder, YOLO's key) are held back, those of test are left out. In VOC's
    layout, a file classes.txt or labels.txt beside the labels lists the classes; without it they are those that occur.

    Raises:
        InputError: there are no photos, no labels or no objects, labels of several layouts, or a class is unknown.
        FaultyDataError: labels are wrong; each fault names the file and the record.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; give the folder of photos and labels")
    if layout is not None and layout not in get_args(Layout):
        raise InputError(unknown_name("layout", layout, get_args(Layout)))
    layout = layout or find_layout(path)
    faults = Faults()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        data = _joined(path, layout, read_parts(path, layout, faults), faults)
    if faults.raised or not skip_bad_labels:
        faults.check(by_file=True)
    data = replace(data, notes=(*data.notes, *(str(one.message) for one in told), *faults.left_out()))
    if classes is not None:
        data = data.of_classes(classes)
    if not data.samples:
        first = f"; the first: {data.faults[0]}" if data.faults else ""
        raise InputError(f"{path}: no photo can be used, of {len(data.faults)} that have labels{first}")
    if not any(len(sample.annotations) for sample in data.samples):
        raise InputError(f"{path}: {len(data.samples)} photos, but not one labeled object to learn from")
    return data


def _joined(path: Path, layout: Layout, parts: Sequence[Part], faults: Faults) -> CustomDataset:
    names = tuple(dict.fromkeys(name for part in parts for name in part.truth.class_names))
    index = {name: label for label, name in enumerate(names)}
    root = path if path.is_dir() else path.parent
    samples: dict[str, Sample] = {}
    val: set[str] = set()
    left_out = [fault for part in parts for fault in part.gathered.unreadable]
    notes: list[str] = []
    for part in parts:
        find = PhotoFinder(part.folders)
        places = np.array([index[name] for name in part.truth.class_names])
        for i, rows in enumerate(part.truth.rows_by_image()):
            file = part.truth.files[i]
            photo = find(file, exact=layout != "voc")
            if isinstance(photo, str):
                left_out.append(Fault(file, "", photo))
                continue
            try:
                size = upright_size(photo)
            except (OSError, ValueError, PillowImage.DecompressionBombError) as error:
                left_out.append(Fault(str(photo), "", " ".join(str(error).split())))
                continue
            said = tuple(part.truth.image_sizes[i].tolist())
            if said[0] and said != size:
                wrong = f"is {size[0]}x{size[1]} pixels, but its labels say {said[0]}x{said[1]}"
                left_out.append(Fault(str(photo), "", wrong))
                continue
            boxes, good = _cut(
                part.truth.boxes[rows], size, photo, [part.gathered.origins[row] for row in rows], faults
            )
            rows = rows[good]
            difficult = part.truth.difficult[rows] | part.truth.crowd[rows]
            sample_id = photo.relative_to(root).as_posix() if photo.is_relative_to(root) else photo.as_posix()
            if sample_id in samples:
                faults.add(photo, "", "has labels twice")
                continue
            objects = Annotations(boxes, places[part.truth.labels[rows]], difficult, size)
            samples[sample_id] = Sample(sample_id, photo, objects)
            if part.name in VAL:
                val.add(sample_id)
    known = {sample.image_path for sample in samples.values()} | {Path(fault.file) for fault in left_out}
    photos = photos_below(path) if path.is_dir() and layout != "yolo" else []  # YOLO's without labels have no objects
    bare = [one for one in photos if one not in known and part_name(one, path) not in UNUSED]
    if bare:
        several = f"{len(bare)} photos have no labels and are left out, the first is {bare[0]}"
        notes.append(several if len(bare) > 1 else f"1 photo has no labels and is left out: {bare[0]}")
    ordered = tuple(samples[key] for key in sorted(samples))
    ids = _class_ids(parts) if layout == "coco" else ()
    if layout == "coco" and not ids:
        notes.append("the files give the classes different category ids: the model will have none of them")
    return CustomDataset(path, layout, names, ordered, frozenset(val), tuple(left_out), tuple(notes), ids)


def _class_ids(parts: Sequence[Part]) -> tuple[int | str, ...]:
    """The category ids of the classes of all parts, in the order of `_joined`; none if two parts disagree."""
    pairs = dict.fromkeys(
        pair for part in parts for pair in zip(part.truth.class_names, part.truth.class_ids, strict=True)
    )
    names, ids = zip(*pairs, strict=True)
    return ids if len(set(names)) == len(set(ids)) == len(pairs) else ()


def _cut(
    boxes: np.ndarray, size: tuple[int, int], photo: Path, origins: Sequence[tuple[str, str]], faults: Faults
) -> tuple[np.ndarray, np.ndarray]:
    """The boxes cut at the border of the photo, without those that are far outside or have nothing in it, which are
    faults; and which ones stay."""
    limit = np.array([*size, *size], np.float64)
    cut = np.clip(boxes, 0, limit)
    allowed = np.maximum(_TOLERANCE[0], _TOLERANCE[1] * limit)
    good = (np.abs(cut - boxes) <= allowed).all(axis=1) & (cut[:, 2:] - cut[:, :2] > 0).all(axis=1)
    for row in np.flatnonzero(~good).tolist():
        shown = ", ".join(f"{value:g}" for value in boxes[row].tolist())
        faults.add(*origins[row], f"box ({shown}) is outside the photo {photo.name} of {size[0]}x{size[1]} pixels")
    return cut[good], good
