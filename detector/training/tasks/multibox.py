"""Training of a MultiBox network of its own: batches of whole images, squeezed to one size."""

import copy
import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from detector.data.annotations import Annotations
from detector.data.voc import VOCDataset
from detector.evaluation.prediction.proposals import evaluate_proposals
from detector.models.weights import Model, make_network, save_model
from detector.ops.precision import fast_dtype
from detector.training.data import read_sample, sample_index
from detector.training.examples import distort, flip_boxes
from detector.training.initial import initialize_backbone
from detector.training.loop import Task
from detector.training.objects import BUDGETS, recall_at_budgets, relative_objects, set_priors
from detector.training.random_crop import cut_part, random_part
from detector.training.recipes import MultiBoxRecipe
from proposals.multibox.loss import MultiBoxObjects, MultiBoxTargets, multibox_loss, multibox_targets
from proposals.multibox.network import MultiBox, MultiBoxHead, MultiBoxPredictions
from proposals.multibox.proposer import MultiBoxProposer


@dataclass(frozen=True)
class MultiBoxBatch:
    """The images of a step, and what the network should predict for them.

    Attributes:
        images: (B, 3, size, size) uint8 RGB.
        targets: None if they depend on what it does predict.
        objects: of each image, where the targets are still to be made.
    """

    images: Tensor
    targets: MultiBoxTargets | None
    objects: tuple[MultiBoxObjects, ...]

    def map(self, change: Callable[[Tensor], Tensor]) -> "MultiBoxBatch":
        """The same with every tensor that the network needs changed, such as moved to a device."""
        targets = None if self.targets is None else self.targets.map(change)
        return MultiBoxBatch(change(self.images), targets, self.objects)

    def pin_memory(self) -> "MultiBoxBatch":
        """The same where a GPU can fetch it by itself."""
        return self.map(Tensor.pin_memory)


class MultiBoxTask(Task[MultiBoxBatch]):
    """Trains a MultiBox network on a data set in VOC's layout.

    Args:
        recipe: what to do.
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
        initialize_backbone(self.network, self.network.backbone, init)  # type: ignore[arg-type]
        set_priors(self.network.head, self.data, self.recipe.seed)

    def prepare(self) -> None:
        _ = self._head  # before other processes make examples with it

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
        return MultiBoxBatch(stacked, multibox_targets(self._head, objects, self.recipe.loss), ())

    def _augment(
        self, pixels: np.ndarray, annotations: Annotations, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pixels, boxes of objects and which are difficult, of an image changed at random."""
        if self.recipe.color_jitter > 0:
            pixels = distort(pixels, self.recipe.color_jitter, rng)
        window = random_part(pixels.shape[1], pixels.shape[0], self.recipe.random_crop, rng)
        pixels, truth = cut_part(pixels, annotations, window, self.recipe.random_crop.overlap)
        boxes, difficult = np.array(truth.boxes), np.array(truth.difficult)
        if rng.random() < 0.5:
            pixels, boxes = np.ascontiguousarray(pixels[:, ::-1]), flip_boxes(boxes, pixels.shape[1])
        return pixels, boxes, difficult

    def backward(
        self, model: nn.Module, example: MultiBoxBatch, autocast: AbstractContextManager[None]
    ) -> dict[str, Tensor]:
        device = self.network.mean.device
        batch = example.map(lambda tensor: tensor.to(device, non_blocking=True))
        with autocast:
            predictions = model(batch.images)
        targets = batch.targets
        if targets is None:
            on_cpu = MultiBoxPredictions(predictions.box_deltas.detach().cpu(), predictions.logits.detach().cpu())
            targets = multibox_targets(self._head, batch.objects, self.recipe.loss, on_cpu)
            targets = targets.map(lambda tensor: tensor.to(device))
        loss = multibox_loss(self.network.head, predictions, targets, self.recipe.loss)
        loss.total.backward()
        return {
            "loss": loss.total.detach(),
            "boxes": loss.boxes.detach(),
            "confidences": loss.confidences.detach(),
        }

    @functools.cached_property
    def _head(self) -> MultiBoxHead:
        """A copy of the head that is matched with on the CPU: its priors stay as they are."""
        return copy.deepcopy(self.network.head).cpu()

    def evaluate(self, network: nn.Module, metadata: dict[str, Any], out: Path, last: bool) -> dict[str, float]:
        """Recall on the first held-back images, after the last step on all; writes the model."""
        assert isinstance(network, MultiBox)
        count = len(self.val) if last else min(len(self.val), self.recipe.data.eval_limit)
        model = Model(network, self.recipe.model, (), {})
        dtype = fast_dtype(str(network.mean.device))
        copy = make_network(self.recipe.model, 0)
        copy.load_state_dict(network.state_dict())
        assert isinstance(copy, MultiBox)
        proposer = MultiBoxProposer(copy.eval().to(network.mean.device), self.recipe.model.size, max(BUDGETS), dtype)
        numbers = recall_at_budgets(evaluate_proposals(proposer, self.val.first(count)))
        metadata |= {"split": self.recipe.data.eval_split, "images": count}
        metadata |= {name: round(value, 4) for name, value in numbers.items()}
        save_model(replace(model, metadata=metadata), out / "model.safetensors")
        return numbers
