"""Fine-tuning of R-CNN's network (Girshick et al., 2014, section 2.3) on batches of foreground and background crops.

After the last step SVMs and box regression are fitted to the network's features (`detector.training.rcnn_heads`).
"""

import copy
import dataclasses
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detector.config import Calibration, RCNNConfig, config_hash
from detector.evaluation.metrics.calibration import fit_calibration
from detector.evaluation.prediction.ablation import ablate
from detector.inference.rcnn_scorer import RCNNScorer
from detector.io.progress import Progress
from detector.models.rcnn import RCNN
from detector.models.weights import Model, save_model, weights_hash
from detector.ops.crops import crop_windows, warp_windows
from detector.ops.precision import fast_dtype
from detector.training.augmentation import color_jitter
from detector.training.data import ProposedImages, proposed_splits, sample_index
from detector.training.initial_weights import load_initial_weights
from detector.training.loop import Task
from detector.training.rcnn_heads import collect_features, fit_boxes, fit_svms
from detector.training.recipes import RCNNRecipe
from detector.training.targets import match_regions

_VAL_CROPS = 512
"""Crops of validation images on which loss and accuracy are evaluated during the training."""


@dataclass(frozen=True)
class CropBatch:
    """Crops (N, 3, size, size), normalized, and their classes (N,) int64, 0 = background."""

    crops: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


class RCNNTask(Task[CropBatch]):
    """Trains the network of an R-CNN on a data set in VOC's layout.

    Args:
        recipe: the recipe.
        root: the folder that holds `JPEGImages`.
        cache: folder of cached proposals.

    Raises:
        InputError: the data cannot be used.
    """

    network: RCNN
    head = ("classifier",)

    def __init__(self, recipe: RCNNRecipe, root: Path, cache: Path) -> None:
        self.recipe: RCNNRecipe = recipe
        self.data, self.val = proposed_splits(recipe.data, recipe.model.proposals, root, cache)
        torch.manual_seed(recipe.seed)
        self.network = RCNN(len(self.data.dataset.class_names), recipe.model.network)
        self.network.backbone.freeze_stem()

    def initialize(self, init: Path | None) -> None:
        load_initial_weights(self.network, init)

    def prepare(self) -> None:
        self.data.fill()

    def example(self, step: int) -> CropBatch:
        images = self.recipe.batch.images
        batches = []
        for slot in range(step * images, (step + 1) * images):
            index = sample_index(self.recipe.seed, slot, len(self.data))
            batches.append(self._crops(self.data, index, np.random.default_rng((self.recipe.seed, slot, 2))))
        return CropBatch(torch.cat([b.crops for b in batches]), torch.cat([b.labels for b in batches]))

    def _crops(self, images: ProposedImages, index: int, rng: np.random.Generator) -> CropBatch:
        """The crops of an image; empty if it has no regions, or only regions on difficult objects."""
        config = self.recipe.batch
        image, proposals, annotations = images[index]
        pixels = color_jitter(image.pixels, config.color_jitter, rng) if config.color_jitter > 0 else image.pixels
        boxes = torch.from_numpy(np.concatenate((annotations.boxes, proposals.boxes)))
        objects = torch.from_numpy(np.array(annotations.boxes))
        labels, difficult = torch.tensor(annotations.labels), torch.tensor(annotations.difficult)
        targets = match_regions(boxes, objects, labels, difficult).labels
        selection = self._select(targets.numpy(), rng)
        windows = self._windows(boxes[selection], rng)
        normalized = self.network.normalize(torch.tensor(pixels, device=self._device).permute(2, 0, 1))
        crops = warp_windows(normalized, windows, self.recipe.model.crops.size)
        flipped = torch.from_numpy(rng.random(len(selection)) < 0.5)
        crops[flipped] = crops[flipped].flip(3)
        return CropBatch(crops, targets[selection])

    def _select(self, targets: np.ndarray, rng: np.random.Generator) -> Tensor:
        """Random indices of foreground and background regions; if one kind is missing, the other fills its share."""
        count = self.recipe.batch.crops // self.recipe.batch.images
        foreground, background = np.flatnonzero(targets > 0), np.flatnonzero(targets == 0)
        positives = self.recipe.batch.foreground // self.recipe.batch.images
        if not len(foreground):
            positives = 0
        elif not len(background):
            positives = count
        chosen = [
            rng.choice(indices, number, replace=number > len(indices))
            for indices, number in ((foreground, positives), (background, count - positives))
            if number and len(indices)
        ]
        return torch.from_numpy(np.concatenate(chosen)) if chosen else torch.zeros(0).long()

    def _windows(self, boxes: Tensor, rng: np.random.Generator) -> Tensor:
        """The windows of boxes (N, 4), a random part of them without context."""
        crops = self.recipe.model.crops
        plain = dataclasses.replace(crops, context=0)
        without_context = torch.from_numpy(rng.random(len(boxes)) < self.recipe.batch.without_context)
        return torch.where(without_context[:, None], crop_windows(boxes, plain), crop_windows(boxes, crops))

    def backward(
        self, model: nn.Module, example: CropBatch, autocast: AbstractContextManager[None]
    ) -> dict[str, float]:
        labels = example.labels.to(self._device)
        size = self.recipe.batch.micro_batch
        loss, correct = 0.0, 0
        for start in range(0, len(example), size):
            rows = slice(start, start + size)
            with autocast:
                logits = model(example.crops[rows].to(self._device)).float()
            share = F.cross_entropy(logits, labels[rows], reduction="sum") / self.recipe.batch.crops
            share.backward()
            loss += share.item()
            correct += int((logits.argmax(1) == labels[rows]).sum())
        return {"loss": loss, "accuracy": correct / max(1, len(example))}

    def evaluate(self, network: nn.Module, metadata: dict[str, Any], out: Path, last: bool) -> dict[str, float]:
        """Loss and accuracy on crops of validation images; after the last step fits the heads and evaluates mAP."""
        assert isinstance(network, RCNN)
        numbers = self._evaluate_crops(network)
        config = self.recipe.model
        if last:
            cache = out / f"features_{config_hash(self.recipe)}_{weights_hash(network)}"
            mean_aps, config = self._fit_heads(network, cache)
            numbers |= mean_aps
            images = min(len(self.val), self.recipe.data.eval_limit)
            metadata |= {"metric": "voc07", "split": self.recipe.data.eval_split, "images": images}
        metadata |= {name: round(value, 4) for name, value in numbers.items()}
        save_model(Model(network, config, self.data.dataset.class_names, metadata), out / "model.safetensors")
        return numbers

    @torch.inference_mode()
    def _evaluate_crops(self, network: RCNN) -> dict[str, float]:
        batch = self.recipe.batch
        count = min(len(self.val), _VAL_CROPS // (batch.crops // batch.images))
        losses, correct, dtype = [], [], fast_dtype(self._device.type)
        for index in range(count):
            example = self._crops(self.val, index, np.random.default_rng((index, 5)))
            with torch.autocast(self._device.type, dtype, enabled=dtype != torch.float32):
                logits = network(example.crops).float()
            labels = example.labels.to(self._device)
            losses.append(F.cross_entropy(logits, labels, reduction="none"))
            correct.append((logits.argmax(1) == labels).float())
        if not sum(map(len, losses)):
            return {}
        return {"val loss": torch.cat(losses).mean().item(), "val accuracy": torch.cat(correct).mean().item()}

    def _fit_heads(self, network: RCNN, cache: Path) -> tuple[dict[str, float], RCNNConfig]:
        """Fits SVMs and box regression into the network; returns the mAP of every combination of heads, and the
        calibrated configuration."""
        names, heads = self.data.dataset.class_names, self.recipe.heads
        scorer = RCNNScorer(copy.deepcopy(network).eval(), self.recipe.model, fast_dtype(self._device.type))
        features = collect_features(scorer, self.data, heads, self.recipe.seed, cache)
        fitted = (*fit_svms(features, heads, names), *fit_boxes(features, heads, names))
        for module in (network, scorer.network):
            for buffer, values in zip(("svm_weight", "svm_bias", "box_weight", "box_bias"), fitted, strict=True):
                getattr(module, buffer).copy_(torch.from_numpy(values))
        count = min(len(self.val), self.recipe.data.eval_limit)
        images = (self.val[index] for index in Progress(range(count), desc="mAP", unit="image"))
        results = ablate(scorer, images, names, self.recipe.model.postprocess)
        regression = " + box regression" if self.recipe.model.box_regression else ""
        calibration = Calibration(*(fit_calibration(results[f"{head}{regression}"]) for head in ("softmax", "svm")))
        config = dataclasses.replace(self.recipe.model, calibration=calibration)
        return {f"mAP {name}": result.mean_ap for name, result in results.items()}, config

    @property
    def _device(self) -> torch.device:
        return self.network.mean.device
