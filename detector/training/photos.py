"""Photos of custom data sets as training images: several sets joined, partly labeled ones, rare classes repeated."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from detector.data.annotations import AnnotatedImages, Sample
from detector.data.custom_dataset import CustomDataset, read_custom_dataset
from detector.data.image_labels import read_image_labels, whole_photo
from detector.data.validation import object_counts
from detector.errors import InputError
from detector.structures.class_names import same_classes
from detector.training.recipes import LabeledPhotosConfig, PhotosConfig
from proposals.names import unknown_name


@dataclass(frozen=True, eq=False)
class PhotoSet:
    """Photos with their objects, as `detector.data.annotations.AnnotatedImages`."""

    samples: tuple[Sample, ...]
    class_names: tuple[str, ...]
    class_ids: tuple[int | str, ...] = ()
    root: Path = Path()
    split: str = ""

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(sample.id for sample in self.samples)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]

    def image_path(self, index: int) -> Path:
        return self.samples[index].image_path

    def first(self, count: int) -> "PhotoSet":
        return self.select(range(min(count, len(self))))

    def select(self, indices: Sequence[int]) -> "PhotoSet":
        """Photos by index, some perhaps repeated."""
        return dataclasses.replace(self, samples=tuple(self.samples[i] for i in indices))

    def boxes(self) -> np.ndarray:
        """(C,) number of objects of each class that are not difficult."""
        return object_counts(self.samples, len(self.class_names)).sum(axis=0)


def read_photo_sets(config: PhotosConfig, root: Path) -> tuple[PhotoSet, PhotoSet]:
    """The training and validation photos of data sets below `root`.

    Raises:
        InputError: a data set cannot be used, photos were left out, a further data set has a class that the first one
            lacks, or lacks some of its classes without saying which ones are annotated.
    """
    read = read_image_labels if config.labels == "image" else read_custom_dataset
    first, *others = (_checked(read(root / part.path)) for part in config.train)
    names = first.class_names
    samples: list[Sample] = []
    for part, data in zip(config.train, (first, *others), strict=True):
        unlabeled = _unlabeled(part, data, names)
        for sample in _with_classes(data, names):
            objects = dataclasses.replace(sample.annotations, unlabeled=unlabeled)
            samples.append(Sample(f"{part.path}/{sample.id}", sample.image_path, objects))
    train = PhotoSet(tuple(samples), names, first.class_ids, root, config.train[0].path)
    val_samples = _with_classes(_checked(read_custom_dataset(root / config.val)), names)
    val = PhotoSet(val_samples, names, first.class_ids, root, config.val)
    return _repeat_rare(train, config.repeat_threshold), val


def without_boxes(images: AnnotatedImages) -> PhotoSet:
    """The images with image labels (`detector.data.image_labels`) in place of their objects."""
    samples = (images[index] for index in range(len(images)))
    labeled = tuple(dataclasses.replace(s, annotations=whole_photo(s.annotations)) for s in samples)
    return PhotoSet(labeled, images.class_names, images.class_ids, images.root, images.split)


def _checked(data: CustomDataset) -> CustomDataset:
    if data.faults:
        number, photos = len(data.faults), f"photo{'s' * (len(data.faults) > 1)} of {data.path}"
        raise InputError(f"{data.faults[0]}; {number} {photos} cannot be used: repair them")
    return data


def _with_classes(data: CustomDataset, names: tuple[str, ...]) -> tuple[Sample, ...]:
    """The samples of a data set with labels that are indices into `names`."""
    same = same_classes(data.class_names, names)
    for name in data.class_names:
        if name not in same:
            raise InputError(f"{data.path}: {unknown_name('class', name, names)}; the first data set lists all classes")
    new = np.array([names.index(same[name]) for name in data.class_names], np.int64)
    return tuple(dataclasses.replace(s, annotations=s.annotations.relabel(new)) for s in data.samples)


def _unlabeled(part: LabeledPhotosConfig, data: CustomDataset, names: tuple[str, ...]) -> frozenset[int]:
    if part.labeled_classes is None:
        missing = len(names) - len(same_classes(data.class_names, names))
        if missing:
            raise InputError(
                f"{data.path}: has labels of {len(names) - missing} of {len(names)} classes; say in labeled_classes "
                "which ones are annotated, so that objects of the others do not count as background"
            )
        return frozenset()
    same = same_classes(part.labeled_classes, names)
    for name in part.labeled_classes:
        if name not in same:
            raise InputError(f"{data.path}: labeled_classes: {unknown_name('class', name, names)}")
    return frozenset(range(len(names))) - {names.index(name) for name in same.values()}


def _repeat_rare(photos: PhotoSet, threshold: float) -> PhotoSet:
    """Repeat-factor sampling (Gupta et al., 2019, section 4.2): a class that a fraction f of the photos shows has the
    factor max(1, sqrt(threshold / f)), and a photo the largest factor of its classes; fractions of a repetition become
    whole ones for a random part of the photos."""
    shown = object_counts(photos.samples, len(photos.class_names)) > 0
    factors = np.sqrt(threshold / shown.mean(axis=0).clip(min=1 / len(shown))).clip(min=1)
    wanted = np.where(shown, factors, 1.0).max(axis=1)
    rounded = np.floor(wanted + np.random.default_rng(0).random(len(wanted))).astype(np.int64)
    return photos.select(np.repeat(np.arange(len(photos)), rounded).tolist())
