"""The split of a custom data set into training and validation photos."""

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from detector.data.custom_dataset import CustomDataset
from detector.data.validation import VAL_SHARE, object_counts, validation_photos
from detector.errors import InputError
from detector.models.weights import Model
from detector.structures.class_names import default_class_ids, same_classes
from detector.training.photos import PhotoSet

_MAX_NAMES = 10
_FEW_OBJECTS = 20
"""Objects of a class to train on, below which the user is warned."""


@dataclass(frozen=True, eq=False)
class Split:
    """Training and validation photos, of the same classes.

    Attributes:
        notes: what the user should know, a line each.
        unlabeled: photos to train on without labels.
    """

    train: PhotoSet
    val: PhotoSet
    notes: tuple[str, ...] = ()
    unlabeled: PhotoSet | None = None

    @property
    def digest(self) -> str:
        """Twelve hex digits that change with the classes, the photos of either part and their objects."""
        digest = hashlib.sha256(repr((*self.train.class_names, *self.train.class_ids)).encode())
        for photos in filter(None, (self.train, self.val, self.unlabeled)):
            for sample in photos.samples:
                annotations = sample.annotations
                digest.update(f"\n{sample.id} {annotations.image_size} {sample.image_path.stat().st_size}".encode())
                for array in (annotations.boxes, annotations.labels, annotations.difficult):
                    digest.update(array.tobytes())
            digest.update(b"\n\n")
        return digest.hexdigest()[:12]


def split_data(data: CustomDataset, seed: int = 0) -> Split:
    """Splits off the validation photos: the data set's own if it names any, otherwise a fifth of each class.

    Classes without an object to train on are left out, with a note. If possible, a class with at least two photos has
    one in each part. The same data and seed give the same split.

    Raises:
        InputError: fewer than two photos show objects, or two class names mean the same.
    """
    counts = object_counts(data.samples, len(data.class_names)) > 0
    in_val = validation_photos(data, VAL_SHARE, seed)
    order = np.random.default_rng((seed, 1)).permutation(len(in_val))
    trained = counts[~in_val].any(axis=0)
    if not trained.any() or not counts[in_val][:, trained].any():
        if data.val:
            part = "val" if trained.any() else "train"
            raise InputError(f"{data.path}: part '{part}' shows no object of a class to train; add photos to it")
        photos = int(counts.any(axis=1).sum())
        raise InputError(
            f"{data.path}: {photos} photo{'s' * (photos != 1)} with objects; at least 2 are needed, one to train on "
            "and one to evaluate on"
        )
    names = tuple(name for name, kept in zip(data.class_names, trained, strict=True) if kept)
    for name, same in same_classes(names, names).items():
        if name != same:
            raise InputError(f"{data.path}: the classes '{same}' and '{name}' mean the same; give them one name")
    kept = data.of_classes(names)
    train, val = (
        PhotoSet(tuple(kept.samples[i] for i in order if in_val[i] == part), names, kept.class_ids)
        for part in (False, True)
    )
    return Split(train, val, tuple(_notes(data, names, train, val)))


def keep_classes(split: Split, model: Model) -> Split:
    """A split whose classes are the model's, followed by the new ones. Its photos count as not annotated for those of
    the model's classes that the data set lacks.

    A category id of the data set stays, unless the model has it for another class.
    """
    names, new_names = list(model.class_names), split.train.class_names
    ids = list(model.class_ids or default_class_ids(model.class_names))
    same = same_classes(new_names, names)
    for name, category_id in zip(new_names, split.train.class_ids or default_class_ids(new_names), strict=True):
        if name not in same:
            names.append(name)
            ids.append(category_id if category_id not in ids else next(i for i in itertools.count(1) if i not in ids))
    new = np.array([names.index(same.get(name, name)) for name in new_names], np.int64)
    unlabeled = frozenset(range(len(names))) - set(new.tolist())

    def relabeled(photos: PhotoSet) -> PhotoSet:
        samples = (
            replace(s, annotations=replace(s.annotations.relabel(new), unlabeled=unlabeled)) for s in photos.samples
        )
        return PhotoSet(tuple(samples), tuple(names), tuple(ids))

    return Split(relabeled(split.train), relabeled(split.val), split.notes)


def add_unlabeled(split: Split, photos: CustomDataset) -> Split:
    """A split with photos to train on without labels, of the classes that its labeled ones are annotated for."""
    unlabeled = split.train.samples[0].annotations.unlabeled
    samples = (replace(s, annotations=replace(s.annotations, unlabeled=unlabeled)) for s in photos.samples)
    return replace(split, notes=(*split.notes, *photos.notes), unlabeled=replace(split.train, samples=tuple(samples)))


def join_names(names: Sequence[str]) -> str:
    """Names in one line, of which many are shortened to a number."""
    shown = ", ".join(names[:_MAX_NAMES])
    return shown if len(names) <= _MAX_NAMES else f"{shown} and {len(names) - _MAX_NAMES} more"


def _notes(data: CustomDataset, names: Sequence[str], train: PhotoSet, val: PhotoSet) -> list[str]:
    notes = []
    if untrained := [name for name in data.class_names if name not in names]:
        notes.append(f"left out of the model, because no training photo shows them: {join_names(untrained)}")
    if all(len(sample.annotations) for sample in data.samples):
        notes.append("every photo shows an object; add some without, to evaluate false alarms on such photos")
    if unevaluated := [name for name, count in zip(names, val.boxes(), strict=True) if count == 0]:
        notes.append(f"trained but not evaluated, because no validation photo shows them: {join_names(unevaluated)}")
    if few := [f"{name} ({n})" for name, n in zip(names, train.boxes(), strict=True) if n < _FEW_OBJECTS]:
        notes.append(f"fewer than {_FEW_OBJECTS} objects to train on, so expect low accuracy: {join_names(few)}")
    return notes
