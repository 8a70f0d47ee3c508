"""Training of the region classifier with shared computation: the hardest regions of every image."""

import copy
import dataclasses
import functools
import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from detector.data.annotations import Annotations
from detector.data.detection_table import DetectionTable
from detector.data.ground_truth import GroundTruth
from detector.data.predictions import LOWEST_SCORE
from detector.data.voc import VOCDataset
from detector.errors import InputError
from detector.evaluation.metrics.calibration import fit_calibration
from detector.evaluation.metrics.voc import VOCResult, voc_average_precision
from detector.evaluation.prediction.proposals import evaluate_proposals
from detector.inference.detector import Detector, first_with_multibox
from detector.inference.proposers import SharedMultiBox
from detector.models.rfcn import RFCN
from detector.models.weights import Model, save_model
from detector.ops.distributed import rank, sum_over_processes, wait_for_all, world_size
from detector.structures.rois import RoIs
from detector.training.data import BatchOrder, ProposedImages
from detector.training.examples import Example, common_size, make_example
from detector.training.initial import initialize_backbone
from detector.training.loop import Task
from detector.training.objects import BUDGETS, recall_at_budgets, relative_objects, set_priors
from detector.training.random_crop import Part, mixup, mosaic, random_part
from detector.training.recipes import Recipe
from detector.training.targets import RegionTargets, hardest, match_regions, region_losses
from proposals import SelectiveSearch
from proposals.multibox.loss import MultiBoxObjects, MultiBoxTargets, multibox_loss, multibox_targets
from proposals.multibox.network import MultiBoxHead, MultiBoxPredictions


@dataclass(frozen=True)
class RegionBatch:
    """The images of a step, and what their regions should be predicted as.

    Attributes:
        images: (B, 3, h, w) uint8 RGB.
        regions: of all images, one after the other; targets: theirs.
        counts: regions of each image.
        multibox: what a MultiBox head should predict; None: there is none, or it depends on what it does predict.
        objects: of each image, where the targets are still to be made.
    """

    images: Tensor
    regions: RoIs
    targets: RegionTargets
    counts: tuple[int, ...]
    multibox: MultiBoxTargets | None
    objects: tuple[MultiBoxObjects, ...]

    def map(self, change: Callable[[Tensor], Tensor]) -> "RegionBatch":
        """The same with every tensor that the network needs changed, such as moved to a device."""
        return RegionBatch(
            change(self.images),
            RoIs(change(self.regions.boxes), change(self.regions.image_index)),
            RegionTargets(change(self.targets.labels), change(self.targets.box_deltas)),
            self.counts,
            None if self.multibox is None else self.multibox.map(change),
            self.objects,
        )

    def pin_memory(self) -> "RegionBatch":
        """The same where a GPU can fetch it by itself."""
        return self.map(Tensor.pin_memory)


class RegionTask(Task[RegionBatch]):
    """Trains a region classifier.

    Args:
        recipe: what to do.
        data, val: the images to train on, and those to judge by.
        others: number of further classes that count as background (`RFCN`).

    Raises:
        InputError: the batch cannot be shared by the processes.
    """

    network: RFCN
    head = ("multibox",)
    several_processes = True
    workers = True

    def __init__(
        self, recipe: Recipe, data: ProposedImages[Any], val: ProposedImages[Any], extra_background_classes: int = 0
    ) -> None:
        if recipe.batch % world_size():
            raise InputError(f"batch is {recipe.batch}: no multiple of the {world_size()} processes")
        self.recipe: Recipe = recipe
        self.places = range(rank(), recipe.batch, world_size())  # of a batch, those of this process
        self.data, self.val = data, val
        torch.manual_seed(recipe.seed)
        self.network = RFCN(len(self.data.dataset.class_names), recipe.model.network, extra_background_classes)
        self.network.backbone.freeze_stem()

    def initialize(self, init: Path | None) -> None:
        initialize_backbone(self.network, self.network.backbone, init)
        if self.network.multibox is not None:
            set_priors(self.network.multibox, self.data.dataset, self.recipe.seed)

    def prepare(self) -> None:
        self.data.fill(rank(), world_size())
        wait_for_all()
        _ = self._order, self._head  # before other processes make examples with them

    def example(self, step: int) -> RegionBatch:
        examples = self.examples(step)
        matched = [match_regions(e.regions, e.objects, e.labels, e.difficult) for e in examples]
        objects = tuple(relative_objects(e.objects, e.difficult, *e.size) for e in examples)
        multibox = None
        if self._head is not None and self.recipe.multibox.loss.matching == "priors":
            multibox = multibox_targets(self._head, objects, self.recipe.multibox.loss)
        return RegionBatch(
            torch.stack([e.image.permute(1, 2, 0) for e in examples]).permute(0, 3, 1, 2),
            RoIs.of_images([e.regions for e in examples]),
            RegionTargets(torch.cat([m.labels for m in matched]), torch.cat([m.box_deltas for m in matched])),
            tuple(len(e.regions) for e in examples),
            multibox,
            () if self._head is None or multibox is not None else objects,
        )

    def examples(self, step: int) -> list[Example]:
        """This process' images of a step. Those of all processes have one size, for which at most the
        first of the others' need be read.

        All that is random comes from (seed, step, place in the batch), so a resumed run sees what an uninterrupted one
        would have seen, and several processes see together what one would have seen.
        """
        seed, batch, augmentation = self.recipe.seed, self.recipe.batch, self.recipe.augmentation
        generators = [np.random.default_rng((seed, step * batch + place, 1)) for place in range(batch)]
        # The first one's numbers also give the scale, after those of a mixture, how many depends on its images.
        first = {0} if augmentation.mosaic > 0 or augmentation.mixup > 0 else set[int]()
        order = self._order[step]
        parts = {place: self._part(order[place], generators[place]) for place in sorted(first | set(self.places))}
        sizes = [
            parts[place].size if place in parts else self._part_size(order[place], generators[place])
            for place in range(batch)
        ]
        scale = float(np.exp(generators[0].uniform(*np.log(augmentation.scale))))
        size = common_size(sizes, self.recipe.model.input, scale)
        return [make_example(parts[place], size, augmentation, generators[place]) for place in self.places]

    def _part(self, index: int, rng: np.random.Generator) -> Part:
        """What is shown of an image, perhaps with others."""
        augmentation, parts = self.recipe.augmentation, self.recipe.augmentation.random_crop
        shown = self.read(index)
        if augmentation.mosaic > 0 and rng.random() < augmentation.mosaic:
            others = [self.read(int(other)) for other in rng.integers(0, len(self.data), 3)]
            shown = mosaic([shown, *others], parts.overlap, rng)
        elif parts.probability > 0:
            shown = shown.cut(random_part(*shown.size, parts, rng), parts.overlap)
        if augmentation.mixup > 0 and rng.random() < augmentation.mixup:
            shown = mixup(shown, self.read(int(rng.integers(0, len(self.data)))), parts.overlap, rng)
        return shown

    def _part_size(self, index: int, rng: np.random.Generator) -> tuple[int, int]:
        """Width and height of what `_part` would give, by the annotation; mixup does not change them."""
        augmentation, (width, height) = self.recipe.augmentation, self._sizes[index]
        if augmentation.mosaic > 0 and rng.random() < augmentation.mosaic:
            return width, height
        if augmentation.random_crop.probability > 0:
            x1, y1, x2, y2 = random_part(width, height, augmentation.random_crop, rng)
            return x2 - x1, y2 - y1
        return width, height

    def read(self, index: int) -> Part:
        """All of an image.

        Raises:
            InputError: it cannot be read.
        """
        image, proposals, annotations = self.data[index]
        return Part(image.pixels, proposals.boxes, annotations)

    @functools.cached_property
    def _order(self) -> BatchOrder:
        wide = [True] * len(self.data)
        if self.recipe.batch > 1:
            wide = [width >= height for width, height in self._sizes]
        return BatchOrder(self.recipe.seed, wide, self.recipe.batch)

    @functools.cached_property
    def _sizes(self) -> list[tuple[int, int]]:
        """Width and height of the images, as annotated."""
        return [self.data.dataset[index].annotations.image_size for index in range(len(self.data))]

    @functools.cached_property
    def _head(self) -> MultiBoxHead | None:
        """A copy of the MultiBox head that is matched with on the CPU: its priors stay as they are."""
        return None if self.network.multibox is None else copy.deepcopy(self.network.multibox).cpu()

    def backward(
        self, model: nn.Module, example: RegionBatch, autocast: AbstractContextManager[None]
    ) -> dict[str, Tensor]:
        count = self.recipe.ohem_rois
        device = self.network.mean.device
        batch = example.map(lambda tensor: tensor.to(device, non_blocking=True))
        regions, targets = batch.regions, batch.targets
        with autocast:
            features = self.network.features(batch.images)
            maps = self.network.score_maps(features)
            with torch.no_grad():  # score every region, train only the hardest
                losses = region_losses(self.network.classify(maps, regions), targets)
            chosen = hardest(losses.total, batch.counts, count)
            predictions = self.network.classify(maps, regions[chosen])
        losses = region_losses(predictions, targets[chosen])
        number = count * len(batch.images)
        classification, box_deltas = losses.classification.sum() / number, losses.box_deltas.sum() / number
        loss = classification + box_deltas
        numbers = {"classes": classification.detach(), "box_deltas": box_deltas.detach()}
        if self.network.multibox is not None:
            config = self.recipe.multibox
            with autocast:
                found = self.network.multibox(features if config.backbone else features.detach())
            wanted = batch.multibox
            if wanted is None:
                assert self._head is not None
                on_cpu = MultiBoxPredictions(found.box_deltas.detach().cpu(), found.logits.detach().cpu())
                wanted = multibox_targets(self._head, batch.objects, config.loss, on_cpu)
                wanted = wanted.map(lambda tensor: tensor.to(device))
            objects = None  # those of this batch, of which all processes have a part
            if world_size() > 1:
                objects = sum_over_processes(sum(wanted.counts), device).clamp(min=1) / world_size()
            proposed = multibox_loss(self.network.multibox, found, wanted, config.loss, objects)
            loss = loss + config.weight * proposed.total
            numbers |= {"boxes": proposed.boxes.detach(), "confidences": proposed.confidences.detach()}
        loss.backward()
        return {"loss": loss.detach(), **numbers}

    def evaluate(self, network: nn.Module, metadata: dict[str, Any], out: Path, last: bool) -> dict[str, float]:
        """Evaluates on the first held-back images, after the last step on all; writes the calibrated model."""
        assert isinstance(network, RFCN)
        count = len(self.val) if last else min(len(self.val), self.recipe.data.eval_limit)
        model = Model(network, self.recipe.model, self.data.dataset.class_names, {})
        detector = Detector(model, str(network.mean.device))
        result = evaluate_proposed(detector, self.val, count)
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
        judged = {"mAP": result.mean_ap, "precision at 0.5": precision, "recall at 0.5": recall}
        return {**judged, **recalls, "images": count}


def multibox_recall(detector: Detector, dataset: VOCDataset) -> dict[str, float]:
    """Recall of the detector's MultiBox head on a data set, at numbers of boxes."""
    proposer = SharedMultiBox(first_with_multibox(detector.scorers), max(BUDGETS))
    return recall_at_budgets(evaluate_proposals(proposer, dataset))


def evaluate_proposed(detector: Detector, images: ProposedImages[Any], count: int) -> VOCResult:
    """VOC07 average precision on the first `count` images; Selective Search's proposals are the cached ones."""
    return voc_average_precision(*detect_proposed(detector, images, count))


def detect_proposed(
    detector: Detector, images: ProposedImages[Any], count: int, deadline: float = math.inf
) -> tuple[GroundTruth, DetectionTable]:
    """The objects of the first `count` images, and what is detected there among the cached proposals.

    Args:
        deadline: by `time.perf_counter`; images whose turn comes later are left out, but for the first.
    """
    truth: list[Annotations] = []
    found = []
    for index in range(count):
        if truth and time.perf_counter() > deadline:
            break
        image, proposals, annotations = images[index]
        truth.append(annotations)
        if isinstance(detector.proposer, SelectiveSearch):
            found.append(detector.detect_proposals(image, proposals, LOWEST_SCORE))
        else:
            found.append(detector.detect(image, LOWEST_SCORE))
    objects = GroundTruth.from_annotations(images.dataset.ids[: len(truth)], truth, images.dataset.class_names)
    return objects, DetectionTable.from_detections(objects, found)
