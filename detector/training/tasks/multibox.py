"""Training of MultiBox as a separate network on batches of whole images, and what an R-FCN's MultiBox head shares."""

import copy
import functools
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from detector.data.annotations import AnnotatedImages, Annotations
from detector.data.voc import VOCDataset
from detector.errors import InputError
from detector.evaluation.prediction.proposals import ProposalReport, evaluate_proposals
from detector.models.weights import Model, make_network, save_model
from detector.ops.precision import fast_dtype
from detector.training.augmentation import color_jitter, crop_image, flip_boxes, random_crop
from detector.training.data import read_sample, sample_index
from detector.training.initial_weights import load_initial_weights
from detector.training.loop import Task
from detector.training.prefetch import Batch, map_tensors
from detector.training.recipes import MultiBoxRecipe
from proposals.multibox.config import MultiBoxLossConfig
from proposals.multibox.loss import MultiBoxObjects, MultiBoxTargets, multibox_loss, multibox_targets
from proposals.multibox.network import MultiBox, MultiBoxHead, MultiBoxPredictions
from proposals.multibox.priors import make_priors
from proposals.multibox.proposer import MultiBoxProposer

RECALL_BUDGETS = (100, 200)
"""Numbers of boxes at which recall is evaluated."""


@dataclass(frozen=True)
class MultiBoxBatch(Batch):
    """The images of a step and the targets of their predictions.

    Attributes:
        images: (B, 3, size, size) uint8 RGB.
        targets: None if they depend on the predictions.
        objects: of each image, if the targets depend on the predictions.
    """

    images: Tensor
    targets: MultiBoxTargets | None
    objects: tuple[MultiBoxObjects, ...]


class MultiBoxTask(Task[MultiBoxBatch]):
    """Trains a MultiBox network on a data set in VOC's layout.

    Args:
        recipe: the recipe.
        root: the folder that holds `JPEGImages`.

    Raises:
        InputError: the data cannot be used.
    """

    network: MultiBox
    head = ("head",)
    workers = True

    def __init__(self, recipe: MultiBoxRecipe, root: Path) -> None:
        self.recipe: MultiBoxRecipe = recipe
        self.data, self.val = (VOCDataset(root, s) for s in (recipe.data.train_split, recipe.data.eval_split))
        torch.manual_seed(recipe.seed)
        network = make_network(recipe.model, 0)
        assert isinstance(network, MultiBox)
        self.network = network
        self.network.backbone.freeze_stem()  # type: ignore[operator]

    def initialize(self, init: Path | None) -> None:
        load_initial_weights(self.network, init)
        set_priors(self.network.head, self.data, self.recipe.seed)

    def prepare(self) -> None:
        _ = self._cpu_head  # before worker processes make examples with it

    def example(self, step: int) -> MultiBoxBatch:
        size, batch = self.recipe.model.size, self.recipe.batch
        images, objects = [], []
        for slot in range(step * batch, (step + 1) * batch):
            image, annotations = read_sample(self.data, sample_index(self.recipe.seed, slot, len(self.data)))
            rng = np.random.default_rng((self.recipe.seed, slot, 6))
            pixels, boxes, difficult = self._augment(image.pixels, annotations, rng)
            images.append(cv2.resize(pixels, (size, size), interpolation=cv2.INTER_AREA))
            height, width = pixels.shape[:2]
            objects.append(relative_objects(torch.from_numpy(boxes), torch.from_numpy(difficult), width, height))
        stacked = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
        if self.recipe.loss.matching == "predictions":
            return MultiBoxBatch(stacked, None, tuple(objects))
        return MultiBoxBatch(stacked, multibox_targets(self._cpu_head, objects, self.recipe.loss), ())

    def _augment(
        self, pixels: np.ndarray, annotations: Annotations, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pixels, boxes of objects and which are difficult, of an image after random augmentation."""
        if self.recipe.color_jitter > 0:
            pixels = color_jitter(pixels, self.recipe.color_jitter, rng)
        window = random_crop(pixels.shape[1], pixels.shape[0], self.recipe.random_crop, rng)
        pixels, annotations = crop_image(pixels, annotations, window, self.recipe.random_crop.overlap)
        boxes, difficult = np.array(annotations.boxes), np.array(annotations.difficult)
        if rng.random() < 0.5:
            pixels, boxes = np.ascontiguousarray(pixels[:, ::-1]), flip_boxes(boxes, pixels.shape[1])
        return pixels, boxes, difficult

    def backward(
        self, model: nn.Module, example: MultiBoxBatch, autocast: AbstractContextManager[None]
    ) -> dict[str, Tensor]:
        batch = example.to(self.network.mean.device)
        with autocast:
            predictions = model(batch.images)
        targets = batch.targets
        if targets is None:
            targets = match_predictions(self._cpu_head, batch.objects, self.recipe.loss, predictions)
        loss = multibox_loss(self.network.head, predictions, targets, self.recipe.loss)
        loss.total.backward()
        return {
            "loss": loss.total.detach(),
            "boxes": loss.boxes.detach(),
            "confidences": loss.confidences.detach(),
        }

    @functools.cached_property
    def _cpu_head(self) -> MultiBoxHead:
        """A copy of the head that matches objects on the CPU; its priors are never trained."""
        return copy.deepcopy(self.network.head).cpu()

    def evaluate(self, network: nn.Module, metadata: dict[str, Any], out: Path, last: bool) -> dict[str, float]:
        """Recall on the first validation images, after the last step on all; writes the model."""
        assert isinstance(network, MultiBox)
        count = len(self.val) if last else min(len(self.val), self.recipe.data.eval_limit)
        converted = copy.deepcopy(network)  # the proposer changes its network's number format
        dtype = fast_dtype(str(network.mean.device))
        proposer = MultiBoxProposer(converted, self.recipe.model.size, max(RECALL_BUDGETS), dtype)
        numbers = recall_at_budgets(evaluate_proposals(proposer, self.val.first(count)))
        metadata |= {"split": self.recipe.data.eval_split, "images": count}
        metadata |= {name: round(value, 4) for name, value in numbers.items()}
        save_model(Model(network, self.recipe.model, (), metadata), out / "model.safetensors")
        return numbers


def relative_objects(
    boxes: Tensor, difficult: Tensor, width: int, height: int, complete: bool = True
) -> MultiBoxObjects:
    """MultiBox's targets of an image: boxes (G, 4) in pixels become fractions of its sides."""
    return MultiBoxObjects(boxes / boxes.new_tensor((width, height, width, height)), difficult, complete)


def match_predictions(
    cpu_head: MultiBoxHead,
    objects: Sequence[MultiBoxObjects],
    config: MultiBoxLossConfig,
    predictions: MultiBoxPredictions,
) -> MultiBoxTargets:
    """Targets that depend on the predictions: matched on the CPU, on the predictions' device."""
    on_cpu = MultiBoxPredictions(predictions.box_deltas.detach().cpu(), predictions.logits.detach().cpu())
    targets = multibox_targets(cpu_head, objects, config, on_cpu)
    return map_tensors(targets, lambda tensor: tensor.to(predictions.logits.device))


def set_priors(head: MultiBoxHead, dataset: AnnotatedImages, seed: int) -> None:
    """Gives a head the priors that fit the objects of a data set. Those that it has from a model file it keeps, because
    its weights were trained with them.

    Raises:
        InputError: the data set has too few distinct objects, or an annotation is wrong.
    """
    known = head.priors.any(dim=1, keepdim=True)
    if known.all():
        return
    try:
        priors = make_priors(relative_boxes(dataset), head.config, seed)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{dataset.root}: split '{dataset.split}': {error}") from None
    head.set_priors(torch.where(known, head.priors, torch.from_numpy(priors).to(head.priors)))


def relative_boxes(dataset: AnnotatedImages) -> np.ndarray:
    """(N, 4) float32: boxes of all objects of a data set that are not difficult, as fractions of the image's sides.

    Raises:
        InputError: an annotation is missing or wrong.
    """
    boxes: list[np.ndarray] = [np.zeros((0, 4), np.float32)]
    for index in range(len(dataset)):
        annotations = dataset[index].annotations
        width, height = annotations.image_size
        kept = annotations.boxes[~annotations.difficult]
        boxes.append(kept / np.array((width, height, width, height), np.float32))
    return np.concatenate(boxes)


def recall_at_budgets(report: ProposalReport) -> dict[str, float]:
    """Recall at IoU 0.5 with each number of boxes of `RECALL_BUDGETS`.

    Raises:
        InputError: an image failed.
    """
    for image_id, reason in report.failed.items():
        raise InputError(f"image {image_id}: {reason}")
    return {f"recall50 at {budget}": report.evaluation.coverage(budget).recall50 for budget in RECALL_BUDGETS}
