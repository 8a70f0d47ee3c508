"""Pseudo labels: photos without labels in the training of an R-FCN.

The averaged weights of the training (the teacher) detect on a photo as it is, and the trained weights (the student)
learn these detections on the photo under strong augmentation: Sohn et al., 'A simple semi-supervised learning framework
for object detection' (STAC), 2020, section 3, with a teacher that is made anew at every step, as in Xu et al.,
'End-to-end semi-supervised object detection with Soft Teacher', 2021, section 3.1:

    teacher  <-  d teacher + (1 - d) student                    d: `OptimizerConfig.ema_decay`
    loss      =  loss(labeled) + weight * loss(unlabeled)

A detection of score s, the softmax of its class, is

    an object                             if s >= sure
    neither an object nor background      if unsure <= s < sure
    background                            if s < unsure

as regions on difficult objects are neither. Labels are made after a part of the steps on labeled photos alone (burn-in:
Liu et al., 'Unbiased teacher for semi-supervised object detection', 2021, section 3.1). They depend on the teacher
alone, which the checkpoint holds, so that a resumed training makes the same ones.
"""

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from detector.data.annotations import Annotations, Sample
from detector.data.custom_dataset import CustomDataset
from detector.data.faults import Fault
from detector.data.photo_finder import files_below
from detector.errors import InputError
from detector.inference.postprocess import postprocess
from detector.models.rfcn import RFCN
from detector.ops.distributed import rank, world_size
from detector.ops.transforms import box_scale, to_input
from detector.structures.detections import Detections
from detector.structures.image import EXTENSIONS, read_size
from detector.structures.region_scores import RegionScores, fetch
from detector.structures.rois import RoIs
from detector.training.augmentation import TrainingImage, erase
from detector.training.data import BatchOrder, ProposedImages
from detector.training.examples import Example, augment_pixels, common_size, place_regions, stack_images
from detector.training.prefetch import Batch
from detector.training.recipes import RFCNRecipe
from proposals.boxes import box_iou

_COLOR_JITTER, _ERASED = 0.5, 3
"""Strong augmentation: `AugmentationConfig.color_jitter`, and the largest number of erased rectangles."""
_SAME_OBJECT = 0.5
"""An unsure detection that overlaps a sure one by this IoU is of the same object."""


def find_unlabeled(folder: Path, labeled: Iterable[Path]) -> CustomDataset:
    """The photos below a folder, without objects.

    Photos that are equal, to the byte, to one of the data set are left out, since some of these are for validation, and
    so are those in folders named test; notes count them.

    Raises:
        InputError: the folder is missing, or none of its photos can be used.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give a folder of photos without labels")
    photos = files_below(folder, *EXTENSIONS)
    if not photos:
        raise InputError(f"{folder}: holds no photos to use without labels")
    by_size: dict[int, list[Path]] = defaultdict(list)
    for path in labeled:
        if path.is_file():  # a missing one is reported when it is read
            by_size[path.stat().st_size].append(path)
    digest = lru_cache(maxsize=None)(lambda path: blake2b(path.read_bytes()).digest())
    samples, faults, known, test = [], [], 0, 0
    for photo in photos:
        if "test" in map(str.casefold, photo.relative_to(folder).parts[:-1]):
            test += 1
            continue
        if any(digest(photo) == digest(other) for other in by_size.get(photo.stat().st_size, ())):
            known += 1
            continue
        try:
            size = read_size(photo)
        except InputError as error:
            faults.append(Fault(str(photo), "", str(error).removeprefix(f"{photo}: ")))
            continue
        objects = Annotations(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, bool), size)
        samples.append(Sample(photo.relative_to(folder).as_posix(), photo, objects))
    if not samples:
        reason = str(faults[0]) if faults else "the data have them too, or their folder is named test"
        raise InputError(f"{folder}: none of its {len(photos)} photos can be used without labels: {reason}")
    left_out = {"because the data have them too": known, "because their folder is named test": test}
    notes = [f"{n} of the {len(photos)} photos in {folder} are left out, {why}" for why, n in left_out.items() if n]
    return CustomDataset(folder, "yolo", (), tuple(samples), faults=tuple(faults), notes=tuple(notes))


def pseudo_labels(found: Detections, sure: float, unlabeled: frozenset[int] = frozenset()) -> Annotations:
    """The objects of a photo by its detections. Those of less than `sure` become difficult ones, unless a sure
    detection has their place.

    Args:
        unlabeled: labels of classes that are not annotated, whose detections do not count.
    """
    found = found[~np.isin(found.labels, list(unlabeled))]
    difficult = found.scores < sure
    overlaps = box_iou(torch.tensor(found.boxes), torch.tensor(found.boxes[~difficult])).numpy()
    kept = ~(difficult & (overlaps >= _SAME_OBJECT).any(axis=1))
    return Annotations(found.boxes[kept], found.labels[kept], difficult[kept], found.image_size, unlabeled)


@dataclass(frozen=True, eq=False)
class UnlabeledPhoto:
    """A photo of a step.

    Attributes:
        image: without objects, in pixels of the file; the pixels themselves are in the batch.
        flipped: whether the student sees it mirrored left to right.
        rng: for what follows the labels.
    """

    image: TrainingImage
    flipped: bool
    rng: np.random.Generator


@dataclass(frozen=True)
class UnlabeledBatch(Batch):
    """Photos without labels in a step.

    Attributes:
        weak: (B, 3, h, w) uint8 RGB, the teacher's input.
        strong: (B, 3, H, W) uint8 RGB, the student's input.
    """

    weak: Tensor
    strong: Tensor
    photos: tuple[UnlabeledPhoto, ...]


class PseudoLabeler:
    """Makes the examples of photos without labels.

    Args:
        recipe: of the training.
        photos: the photos, without objects, all wide or all tall in a step.
    """

    def __init__(self, recipe: RFCNRecipe, photos: ProposedImages[Any]) -> None:
        self.recipe, self.photos, self.config = recipe, photos, recipe.pseudo_labels
        self.count = self.config.ratio * recipe.batch
        self.slots = range(rank(), self.count, world_size())
        self.sizes = [photos.dataset[index].annotations.image_size for index in range(len(photos))]
        self.order = BatchOrder(recipe.seed, [width >= height for width, height in self.sizes], self.count)
        self.strong = dataclasses.replace(recipe.augmentation, color_jitter=_COLOR_JITTER)

    def batch(self, step: int, read: Callable[[ProposedImages[Any], int], TrainingImage]) -> UnlabeledBatch:
        """The photos of a step; depends only on the seed and the step.

        Raises:
            InputError: a photo cannot be read.
        """
        inputs, order = self.recipe.model.input, self.order[step]
        rngs = [np.random.default_rng((self.recipe.seed, step * self.count + slot, 2)) for slot in range(self.count)]
        sizes = [self.sizes[index] for index in order]
        scale = float(np.exp(rngs[0].uniform(*np.log(self.strong.scale))))
        weak_size, size = common_size(sizes, inputs, 1.0), common_size(sizes, inputs, scale)
        weak, strong, photos = [], [], []
        for slot in self.slots:
            image, rng = read(self.photos, order[slot]), rngs[slot]
            weak.append(to_input(image.pixels, weak_size))
            pixels, flipped = augment_pixels(erase(image.pixels, _ERASED, rng), size, self.strong, rng)
            strong.append(pixels)
            no_pixels = np.empty((*image.pixels.shape[:2], 0), np.uint8)  # another process need not send them
            photos.append(UnlabeledPhoto(dataclasses.replace(image, pixels=no_pixels), flipped, rng))
        return UnlabeledBatch(stack_images(weak), stack_images(strong), tuple(photos))

    def label(self, teacher: RFCN, batch: UnlabeledBatch, autocast: AbstractContextManager[None]) -> list[Example]:
        """The student's examples, with the teacher's detections as objects.

        Args:
            teacher: in evaluation mode.
            batch: on the teacher's device.
        """
        found = self.detect(teacher, batch, autocast)
        examples = []
        for pixels, photo, detections in zip(batch.strong, batch.photos, found, strict=True):
            objects = pseudo_labels(detections, self.config.sure, photo.image.annotations.unlabeled)
            image = dataclasses.replace(photo.image, annotations=objects)
            examples.append(place_regions(image, pixels, photo.flipped, self.strong, photo.rng))
        return examples

    @torch.no_grad()
    def detect(self, teacher: RFCN, batch: UnlabeledBatch, autocast: AbstractContextManager[None]) -> list[Detections]:
        """The teacher's detections of at least `unsure`, in pixels of the photos."""
        weak_size = batch.weak.shape[3], batch.weak.shape[2]
        boxes = [torch.tensor(photo.image.proposals, dtype=torch.float32) for photo in batch.photos]
        scaled = [
            (of_photo * torch.from_numpy(box_scale(photo.image.size, weak_size))).to(batch.weak.device)
            for of_photo, photo in zip(boxes, batch.photos, strict=True)
        ]
        with autocast:
            maps = teacher.score_maps(teacher.features(batch.weak))
            predictions = teacher.classify(maps, RoIs.of_images(scaled))
        scores = predictions.class_logits.float().softmax(dim=1)[:, 1:]
        counts, deltas = [len(of_photo) for of_photo in boxes], predictions.box_deltas.float()[:, None]
        scored = fetch(list(map(RegionScores, scores.split(counts), deltas.split(counts))))
        names, config = self.photos.dataset.class_names, self.recipe.model.postprocess
        return [
            postprocess(of_photo, proposed, photo.image.size, names, config, self.config.unsure)
            for of_photo, proposed, photo in zip(scored, boxes, batch.photos, strict=True)
        ]
