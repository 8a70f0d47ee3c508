"""Which photos of a custom data set are for validation, and how many objects of each class its photos show."""

from collections.abc import Sequence

import numpy as np

from detector.data.annotations import Sample
from detector.data.custom_dataset import CustomDataset

VAL_SHARE = 0.2
MAX_VAL = 1000
"""Validation photos of a training: more would make mAP little more certain, and be missing from the training."""


def object_counts(samples: Sequence[Sample], classes: int) -> np.ndarray:
    """(N, C) number of objects of each class in each photo, without difficult ones."""
    annotations = [sample.annotations for sample in samples]
    counts = [np.bincount(a.labels[~a.difficult], minlength=classes) for a in annotations]
    return np.array(counts, np.int64).reshape(-1, classes)


def validation_photos(data: CustomDataset, share: float = VAL_SHARE, seed: int = 0) -> np.ndarray:
    """(N,) bool: those of the data set's own validation split if it has one, otherwise as `choose_photos`, of which a
    training takes at most `MAX_VAL`."""
    named = np.array([sample.id in data.val for sample in data.samples], bool)
    return named if named.any() else choose_photos(data, min(share, MAX_VAL / len(data.samples)), seed)


def choose_photos(data: CustomDataset, share: float, seed: int) -> np.ndarray:
    """(N,) bool: a share of the photos of each class, the same with the same seed.

    Photos are grouped by the rarest class that they show, and each group gives its share, of at least two photos at
    least one.
    """
    shown = object_counts(data.samples, len(data.class_names)) > 0
    rng = np.random.default_rng(seed)
    photos = shown.sum(axis=0)
    rarest = np.where(shown.any(axis=1), np.where(shown, photos, photos.max() + 1).argmin(axis=1), -1)
    chosen = np.zeros(len(shown), bool)
    for group in np.unique(rarest).tolist():
        members = rng.permutation(np.flatnonzero(rarest == group))
        count = round(share * len(members))
        if group >= 0 and len(members) > 1:
            count = max(1, count)
        chosen[members[:count]] = True
    return chosen
