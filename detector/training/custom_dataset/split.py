"""Which of a user's photos are trained on and which are held back to judge by."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from detector.data.annotations import Annotations, Sample
from detector.data.custom_dataset import CustomDataset
from detector.errors import InputError
from detector.structures.class_names import same_classes

SHARE = 0.2
"""Part of the photos that is held back."""
_MOST = 1000
"""Photos held back at most: more make the figure no surer that is worth their absence from the training."""

_LISTED = 10


@dataclass(frozen=True, eq=False)
class PhotoSet:
    """Photos with their objects, in the form of a `detector.training.data.AnnotatedImages`."""

    samples: tuple[Sample, ...]
    class_names: tuple[str, ...]
    class_ids: tuple[int | str, ...] = ()

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(sample.id for sample in self.samples)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]

    def image_path(self, index: int) -> Path:
        return self.samples[index].image_path

    def boxes(self) -> np.ndarray:
        """(C,) number of objects of each class that are not difficult."""
        counts = [_shown(sample, len(self.class_names)) for sample in self.samples]
        return np.array(counts, np.int64).reshape(-1, len(self.class_names)).sum(axis=0)


@dataclass(frozen=True, eq=False)
class Split:
    """Photos to train on and photos held back, of the same classes.

    Attributes:
        notes: what the user has to know, a line each.
    """

    train: PhotoSet
    val: PhotoSet
    notes: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """Twelve hex digits that change with the classes, the photos of either part and their objects."""
        digest = hashlib.sha256(repr((*self.train.class_names, *self.train.class_ids)).encode())
        for part in (self.train, self.val):
            for sample in part.samples:
                one = sample.annotations
                digest.update(f"\n{sample.id} {one.image_size} {sample.image_path.stat().st_size}".encode())
                for array in (one.boxes, one.labels, one.difficult):
                    digest.update(array.tobytes())
            digest.update(b"\n\n")
        return digest.hexdigest()[:12]


def split_data(data: CustomDataset, share: float = SHARE, seed: int = 0) -> Split:
    """Holds back a part of the photos: the data set's own if it has one, otherwise a share of each class.

    Classes without an object to learn from are left out, with a note. Each class of at least two photos has one on
    either side where that can be. The same data and seed give the same split.

    Raises:
        InputError: there are not two photos with objects, one to learn from and one to judge by, or two classes are
            one to the evaluation.
    """
    shown = np.array([_shown(sample, len(data.class_names)) > 0 for sample in data.samples])
    own = np.array([sample.id in data.val for sample in data.samples])
    chosen = own if own.any() else _choose(shown, share, np.random.default_rng(seed))
    order = np.random.default_rng((seed, 1)).permutation(len(chosen))
    learned = shown[~chosen].any(axis=0)
    if not learned.any() or not shown[chosen][:, learned].any():
        with_objects = int(shown.any(axis=1).sum())
        which = "the part held back" if learned.any() else "the part to train on"
        if own.any():
            raise InputError(f"{data.path}: {which} ({'val' if learned.any() else 'train'}) shows no object to use")
        raise InputError(
            f"{data.path}: {with_objects} photo{'s' * (with_objects != 1)} with objects; at least 2 are needed, one to "
            "learn from and one to judge by"
        )
    names = tuple(name for name, kept in zip(data.class_names, learned, strict=True) if kept)
    _check_names(data.path, names)
    kept = data.of_classes(names)
    train = PhotoSet(tuple(kept.samples[i] for i in order if not chosen[i]), names, kept.class_ids)
    val = PhotoSet(tuple(kept.samples[i] for i in order if chosen[i]), names, kept.class_ids)
    return Split(train, val, tuple(_notes(data, names, train, val)))


def listed(names: Sequence[str]) -> str:
    """Names in a line, not all of them where they are many."""
    shown = ", ".join(names[:_LISTED])
    return shown if len(names) <= _LISTED else f"{shown} and {len(names) - _LISTED} more"


def _shown(sample: Sample, classes: int) -> np.ndarray:
    objects: Annotations = sample.annotations
    return np.bincount(objects.labels[~objects.difficult], minlength=classes)


def _choose(shown: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """(N,) bool. Photos are grouped by the rarest class that they show, and each group gives its share."""
    photos = shown.sum(axis=0)
    rarest = np.where(shown.any(axis=1), np.where(shown, photos, photos.max() + 1).argmin(axis=1), -1)
    share = min(share, _MOST / len(shown))
    chosen = np.zeros(len(shown), bool)
    for group in np.unique(rarest).tolist():
        members = rng.permutation(np.flatnonzero(rarest == group))
        count = round(share * len(members))
        if group >= 0 and len(members) > 1:
            count = max(1, count)
        chosen[members[:count]] = True
    return chosen


def _check_names(path: Path, names: Sequence[str]) -> None:
    for name, other in same_classes(names, names).items():
        if name != other:
            raise InputError(f"{path}: the classes '{other}' and '{name}' mean the same; give them one name")


def _notes(data: CustomDataset, names: Sequence[str], train: PhotoSet, val: PhotoSet) -> list[str]:
    notes = []
    if unseen := [name for name in data.class_names if name not in names]:
        notes.append(f"without an example to learn from, and left out of the model: {listed(unseen)}")
    if all(len(sample.annotations) for sample in data.samples):
        notes.append("every photo shows an object: what the model finds on others is not judged; add some without")
    judged = val.boxes()
    if unjudged := [name for name, count in zip(names, judged, strict=True) if count == 0]:
        notes.append(f"no photo could be held back for {listed(unjudged)}: learned, but not judged")
    if few := [f"{name} ({count})" for name, count in zip(names, train.boxes(), strict=True) if count < 20]:
        notes.append(f"fewer than 20 objects to learn from, so expect little: {listed(few)}")
    return notes
