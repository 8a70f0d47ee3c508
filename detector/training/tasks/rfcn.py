"""Training of the R-FCN: in every step the hardest regions of each image (online hard example mining)."""

import copy
import dataclasses
import functools
import math
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from detector.data.annotations import AnnotatedImages, Annotations
from detector.data.detection_table import DetectionTable
from detector.data.ground_truth import GroundTruth
from detector.data.image_labels import best_of_class
from detector.data.predictions import LOWEST_SCORE
from detector.evaluation.metrics.calibration import fit_calibration
from detector.evaluation.metrics.voc import voc_average_precision
from detector.evaluation.prediction.proposals import evaluate_proposals
from detector.inference.pipeline import DetectionPipeline
from detector.inference.proposers import SharedMultiBox, first_with_multibox
from detector.models.rfcn import RFCN
from detector.models.weights import Model, save_model
from detector.ops.distributed import check_batch, rank, sum_over_processes, wait_for_all, world_size
from detector.ops.transforms import input_size
from detector.structures.rois import RoIs
from detector.training.augmentation import TrainingImage, mixup, mosaic, random_crop
from detector.training.data import BatchOrder, ProposedImages
from detector.training.examples import Example, common_size, make_example, stack_images
from detector.training.image_labels import MAX_REGIONS, ImageLabelRFCN, image_label_losses, plain
from detector.training.initial_weights import load_initial_weights
from detector.training.loop import Task
from detector.training.prefetch import Batch
from detector.training.pseudo_labels import PseudoLabeler, UnlabeledBatch
from detector.training.recipes import Labels, RFCNRecipe
from detector.training.targets import RegionTargets, hardest, match_regions, region_losses
from detector.training.tasks.multibox import (
    RECALL_BUDGETS,
    match_predictions,
    recall_at_budgets,
    relative_objects,
    set_priors,
)
from detector.training.transfer import transfer_weights
from proposals import SelectiveSearch
from proposals.multibox.loss import MultiBoxObjects, MultiBoxTargets, multibox_loss, multibox_targets
from proposals.multibox.network import MultiBoxHead


@dataclass(frozen=True)
class RFCNBatch(Batch):
    """The images of a step with their regions and the targets.

    Attributes:
        images: (B, 3, h, w) uint8 RGB.
        regions: of all images, one image after another; `targets` are theirs.
        counts: number of regions of each image.
        multibox: targets of a MultiBox head; None without a head, or if they depend on its predictions.
        objects: of each image, if the targets of the MultiBox head depend on its predictions.
        unlabeled: photos without labels.
        image_labels: (B, num_classes) int64: 1 for classes that an image shows, 0 for others, -1 where that is unknown;
            None for a training with boxes.
    """

    images: Tensor
    regions: RoIs
    targets: RegionTargets
    counts: tuple[int, ...]
    multibox: MultiBoxTargets | None
    objects: tuple[MultiBoxObjects, ...]
    unlabeled: UnlabeledBatch | None = None
    image_labels: Tensor | None = None


class RFCNTask(Task[RFCNBatch]):
    """Trains an R-FCN.

    Args:
        recipe: the recipe.
        data, val: training and validation images.
        extra_background_classes: number of classes that count as background (`RFCN`).
        unlabeled: photos to train on without labels.

    Raises:
        InputError: the batch is not divisible by the number of processes.
    """

    network: RFCN
    head = ("score_conv", "multibox", "streams")
    clipped_apart = ("multibox",)  # beside the R-FCN, whose parts learn together
    several_processes = True
    workers = True

    def __init__(
        self,
        recipe: RFCNRecipe,
        data: ProposedImages[Any],
        val: ProposedImages[Any],
        extra_background_classes: int = 0,
        unlabeled: ProposedImages[Any] | None = None,
    ) -> None:
        check_batch(recipe.batch)
        self.recipe: RFCNRecipe = recipe
        self.slots = range(rank(), recipe.batch, world_size())  # of the batch, those of this process
        self.data, self.val = data, val
        self.labeler = None if unlabeled is None else PseudoLabeler(recipe, unlabeled)
        self._teacher: RFCN | None = None
        torch.manual_seed(recipe.seed)
        kind = ImageLabelRFCN if recipe.data.labels == "image" else RFCN
        self.network = kind(len(self.data.dataset.class_names), recipe.model.network, extra_background_classes)
        if recipe.frozen is None:
            self.network.backbone.freeze_stem()
        else:
            self.network.backbone.freeze(recipe.frozen)

    def initialize(self, init: Path | None) -> None:
        model = load_initial_weights(self.network, init)
        if model is not None and isinstance(model.network, RFCN):
            transfer_weights(self.network, self.data.dataset.class_names, model)
            if isinstance(self.network, ImageLabelRFCN):
                self.network.remember_objectness()
        if self.network.multibox is not None:
            set_priors(self.network.multibox, self.data.dataset, self.recipe.seed)

    def prepare(self) -> None:
        self.data.fill(rank(), world_size())
        if self.labeler is not None:
            self.labeler.photos.fill(rank(), world_size())
        wait_for_all()
        _ = self._order, self._cpu_head  # before worker processes make examples with them

    def before_step(self, averaged: nn.Module, position: float) -> None:
        if self.labeler is not None and position >= self.recipe.pseudo_labels.burn_in * self.recipe.optimizer.steps:
            assert isinstance(averaged, RFCN)
            self._teacher = averaged.eval()

    def example(self, step: int) -> RFCNBatch:
        examples = self.examples(step)
        objects = tuple(relative_objects(e.objects, e.difficult, *e.size, not e.unlabeled) for e in examples)
        multibox = None
        if self._cpu_head is not None and self.recipe.multibox.loss.matching == "priors":
            multibox = multibox_targets(self._cpu_head, objects, self.recipe.multibox.loss)
        return dataclasses.replace(
            self._batch(stack_images([e.image for e in examples]), examples),
            multibox=multibox,
            objects=() if self._cpu_head is None or multibox is not None else objects,
            unlabeled=None if self.labeler is None else self.labeler.batch(step, self.read),
        )

    def _batch(self, images: Tensor, examples: Sequence[Example]) -> RFCNBatch:
        """A batch for the R-FCN alone, of images (B, 3, h, w)."""
        targets = [match_regions(e.regions, e.objects, e.labels, e.difficult) for e in examples]
        return RFCNBatch(
            images,
            RoIs.of_images([e.regions for e in examples]),
            RegionTargets(
                torch.cat([t.labels for t in targets]),
                torch.cat([t.box_deltas for t in targets]),
                self._unlabeled(examples),
            ),
            tuple(len(e.regions) for e in examples),
            multibox=None,
            objects=(),
            image_labels=self._image_labels(examples) if self.recipe.data.labels == "image" else None,
        )

    def _image_labels(self, examples: Sequence[Example]) -> Tensor:
        """`RFCNBatch.image_labels`."""
        labels = torch.zeros(len(examples), len(self.data.dataset.class_names), dtype=torch.int64)
        for row, example in zip(labels, examples, strict=True):
            row[[*example.unlabeled]] = -1
            row[example.labels[example.difficult]] = -1
            row[example.labels[~example.difficult]] = 1
        return labels

    def _unlabeled(self, examples: Sequence[Example]) -> Tensor | None:
        """The mask of `RegionTargets.unlabeled`."""
        if not any(example.unlabeled for example in examples):
            return None
        mask = torch.zeros(len(examples), 1 + len(self.data.dataset.class_names), dtype=torch.bool)
        for index, example in enumerate(examples):
            mask[index, [1 + label for label in example.unlabeled]] = True
        return mask.repeat_interleave(torch.tensor([len(example.regions) for example in examples]), dim=0)

    def examples(self, step: int) -> list[Example]:
        """This process's images of a step. The images of all processes have one size, for which at most the first image
        of the other processes has to be read.

        All random numbers come from (seed, step, slot in the batch), so a resumed run draws the same images as an
        uninterrupted one, and several processes together the same as one.
        """
        seed, batch, augmentation = self.recipe.seed, self.recipe.batch, self.recipe.augmentation
        if self.recipe.data.labels == "image":  # there are no boxes to jitter
            augmentation = dataclasses.replace(augmentation, jittered_copies=0)
        generators = [np.random.default_rng((seed, step * batch + slot, 1)) for slot in range(batch)]
        # The first generator also draws the scale, after the numbers of mosaic and mixup, which depend on the images.
        first = {0} if augmentation.mosaic > 0 or augmentation.mixup > 0 else set[int]()
        order = self._order[step]
        images = {slot: self._augment(order[slot], generators[slot]) for slot in sorted(first | set(self.slots))}
        sizes = [
            images[slot].size if slot in images else self._augmented_size(order[slot], generators[slot])
            for slot in range(batch)
        ]
        scale = float(np.exp(generators[0].uniform(*np.log(augmentation.scale))))
        size = common_size(sizes, self.recipe.model.input, scale)
        return [make_example(images[slot], size, augmentation, generators[slot]) for slot in self.slots]

    def _augment(self, index: int, rng: np.random.Generator) -> TrainingImage:
        """An image after random crop or mosaic, and mixup."""
        augmentation, crop = self.recipe.augmentation, self.recipe.augmentation.random_crop
        image = self.read(self.data, index)
        if augmentation.mosaic > 0 and rng.random() < augmentation.mosaic:
            further = [self.read(self.data, int(i)) for i in rng.integers(0, len(self.data), 3)]
            image = mosaic([image, *further], self._mosaic_size(image.size), crop.overlap, rng)
        elif crop.probability > 0:
            image = image.crop(random_crop(*image.size, crop, rng), crop.overlap)
        if augmentation.mixup > 0 and rng.random() < augmentation.mixup:
            image = mixup(image, self.read(self.data, int(rng.integers(0, len(self.data)))), crop.overlap, rng)
        return image

    def _augmented_size(self, index: int, rng: np.random.Generator) -> tuple[int, int]:
        """Width and height of the image that `_augment` would return, from the annotation; mixup keeps the size."""
        augmentation, (width, height) = self.recipe.augmentation, self._sizes[index]
        if augmentation.mosaic > 0 and rng.random() < augmentation.mosaic:
            return self._mosaic_size((width, height))
        if augmentation.random_crop.probability > 0:
            x1, y1, x2, y2 = random_crop(width, height, augmentation.random_crop, rng)
            return x2 - x1, y2 - y1
        return width, height

    def _mosaic_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """(width, height) of a mosaic whose first image has `size`: the network's input, so that small images keep
        their details."""
        inputs = self.recipe.model.input
        return input_size(*size, inputs.short_side, inputs.long_side)

    def read(self, images: ProposedImages[Any], index: int) -> TrainingImage:
        """A whole image with its proposals and objects.

        Raises:
            InputError: it cannot be read.
        """
        image, proposals, annotations = images[index]
        count = MAX_REGIONS if self.recipe.data.labels == "image" else len(proposals.boxes)
        return TrainingImage(image.pixels, proposals.boxes[:count], annotations)

    @functools.cached_property
    def _order(self) -> BatchOrder:
        wide = [True] * len(self.data)
        if self.recipe.batch > 1:
            wide = [width >= height for width, height in self._sizes]
        return BatchOrder(self.recipe.seed, wide, self.recipe.batch)

    @functools.cached_property
    def _sizes(self) -> list[tuple[int, int]]:
        """Annotated width and height of each image."""
        return [self.data.dataset[index].annotations.image_size for index in range(len(self.data))]

    @functools.cached_property
    def _cpu_head(self) -> MultiBoxHead | None:
        """A copy of the MultiBox head that matches objects on the CPU; its priors are never trained. None without a
        head to train."""
        head = self.network.multibox
        return None if head is None or self.recipe.multibox.weight == 0 else copy.deepcopy(head).cpu()

    def backward(
        self, model: nn.Module, example: RFCNBatch, autocast: AbstractContextManager[None]
    ) -> dict[str, float | Tensor]:
        batch = example.to(self.network.mean.device)
        loss, numbers = self._loss(batch, autocast)
        loss.backward()
        if self.labeler is None or batch.unlabeled is None:
            return {"loss": loss.detach(), **numbers}
        unlabeled, counts = torch.zeros_like(loss), {"sure": 0.0, "unsure": 0.0}
        if self._teacher is not None:
            examples = self.labeler.label(self._teacher, batch.unlabeled, autocast)
            labeled = self._batch(batch.unlabeled.strong, examples).to(loss.device)
            unlabeled, _ = self._loss(labeled, autocast)
            unlabeled = self.recipe.pseudo_labels.weight * unlabeled
            unlabeled.backward()
            unsure = torch.cat([example.difficult for example in examples])
            counts = {"sure": float((~unsure).sum()), "unsure": float(unsure.sum())}
        return {"loss": (loss + unlabeled).detach(), **numbers, "unlabeled": unlabeled.detach(), **counts}

    def _loss(self, batch: RFCNBatch, autocast: AbstractContextManager[None]) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a batch, and its parts."""
        count, regions, targets = self.recipe.ohem_rois, batch.regions, batch.targets
        with autocast:
            features = self.network.features(batch.images)
            maps = self.network.score_maps(features)
            if batch.image_labels is not None:
                assert isinstance(self.network, ImageLabelRFCN)
                parts = image_label_losses(self.network, features, maps, regions, batch.counts, batch.image_labels)
                return torch.stack([*parts.values()]).sum(), {name: part.detach() for name, part in parts.items()}
            with torch.no_grad():  # score every region, train only the hardest
                losses = region_losses(self.network.classify(maps, regions), targets, self.recipe.iou_targets)
            chosen = hardest(losses.total, batch.counts, count)
            predictions = self.network.classify(maps, regions[chosen])
        losses = region_losses(predictions, targets[chosen], self.recipe.iou_targets)
        number = count * len(batch.images)
        classification, box_deltas = losses.classification.sum() / number, losses.box_deltas.sum() / number
        loss = classification + box_deltas
        numbers = {"classes": classification.detach(), "box_deltas": box_deltas.detach()}
        if self.network.multibox is not None and (batch.multibox is not None or batch.objects):
            multibox_total, multibox_numbers = self._multibox_loss(self.network.multibox, features, batch, autocast)
            loss = loss + self.recipe.multibox.weight * multibox_total
            numbers |= multibox_numbers
        return loss, numbers

    def _multibox_loss(
        self, head: MultiBoxHead, features: Tensor, batch: RFCNBatch, autocast: AbstractContextManager[None]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        config = self.recipe.multibox
        with autocast:
            predictions = head(features if config.backbone else features.detach())
        targets = batch.multibox
        if targets is None:
            assert self._cpu_head is not None
            targets = match_predictions(self._cpu_head, batch.objects, config.loss, predictions)
        objects = None  # number of objects in this batch, of which each process has a part
        if world_size() > 1:
            objects = sum_over_processes(sum(targets.counts), features.device).clamp(min=1) / world_size()
        loss = multibox_loss(head, predictions, targets, config.loss, objects)
        return loss.total, {"boxes": loss.boxes.detach(), "confidences": loss.confidences.detach()}

    def evaluate(self, network: nn.Module, metadata: dict[str, Any], out: Path, last: bool) -> dict[str, float]:
        """Evaluates on the first validation images, after the last step on all; writes the calibrated model."""
        assert isinstance(network, RFCN)
        network = plain(network)
        count = len(self.val) if last else min(len(self.val), self.recipe.data.eval_limit)
        dataset = self.data.dataset
        model = Model(network, self.recipe.model, dataset.class_names, {}, class_ids=dataset.class_ids)
        detector = DetectionPipeline(model, str(network.mean.device))
        result = voc_average_precision(*detect_proposed(detector, self.val, count))
        recalls = {} if network.multibox is None else multibox_recall(detector, self.val.dataset.first(count))
        precision, recall = result.at_score(0.5)
        metadata |= {
            "mAP": round(result.mean_ap, 4),
            "metric": result.metric,
            "split": self.recipe.data.eval_split,
            "images": count,
            **{name: round(value, 4) for name, value in recalls.items()},
        }
        post = self.recipe.model.postprocess
        post = dataclasses.replace(post, calibration=fit_calibration(result, post.calibration))
        config = dataclasses.replace(self.recipe.model, postprocess=post)
        save_model(dataclasses.replace(model, config=config, metadata=metadata), out / "model.safetensors")
        numbers = {"mAP": result.mean_ap, "precision at 0.5": precision, "recall at 0.5": recall}
        return {**numbers, **recalls, "images": count}


def multibox_recall(detector: DetectionPipeline, dataset: AnnotatedImages) -> dict[str, float]:
    """Recall of the detector's MultiBox head on a data set, at each number of boxes of `RECALL_BUDGETS`."""
    proposer = SharedMultiBox(first_with_multibox(detector.scorers), max(RECALL_BUDGETS))
    return recall_at_budgets(evaluate_proposals(proposer, dataset))


def detect_proposed(
    detector: DetectionPipeline,
    images: ProposedImages[Any],
    count: int,
    deadline: float = math.inf,
    labels: Labels = "boxes",
) -> tuple[GroundTruth, DetectionTable]:
    """Detects on the first `count` images; Selective Search's proposals come from the cache. Detections of classes that
    an image is not annotated for are left out, since nothing tells whether they are right.

    Args:
        deadline: by `time.perf_counter`; images after it are skipped, except the first.
        labels: "image" compares only which classes an image shows (`detector.data.image_labels.best_of_class`).

    Returns:
        The objects of the images, and the detections.
    """
    annotated: list[Annotations] = []
    detections = []
    for index in range(count):
        if annotated and time.perf_counter() > deadline:
            break
        image, proposals, annotations = images[index]
        if isinstance(detector.proposer, SelectiveSearch):
            found = detector.detect_proposals(image, proposals, LOWEST_SCORE)
        else:
            found = detector.detect(image, LOWEST_SCORE)
        if annotations.unlabeled:
            found = found[~np.isin(found.labels, list(annotations.unlabeled))]
        if labels == "image":
            annotations, found = best_of_class(annotations, found)
        annotated.append(annotations)
        detections.append(found)
    ids = images.dataset.ids[: len(annotated)]
    truth = GroundTruth.from_annotations(ids, annotated, images.dataset.class_names)
    return truth, DetectionTable.from_detections(truth, detections)
