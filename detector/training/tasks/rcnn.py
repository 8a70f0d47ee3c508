"""Fine-tuning of R-CNN's crop network (Girshick et al., 2014, section 2.3): batches of foreground and background crops.

After the last step SVMs and box regression are fitted on the network's features (`detector.training.rcnn_heads`).
"""

import copy
import dataclasses
import logging
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from detector.config import Calibration, RCNNConfig, config_hash
from detector.evaluation.metrics.calibration import fit_calibration
from detector.evaluation.prediction.ablation import ablate
from detector.inference.rcnn_scorer import RCNNScorer
from detector.models.rcnn import RCNN
from detector.models.weights import Model, save_model, weights_hash
from detector.ops.crops import crop_windows, warp_windows
from detector.ops.precision import fast_dtype
from detector.training.data import ProposedImages, proposed_splits, sample_index
from detector.training.examples import distort
from detector.training.initial import initialize_backbone
from detector.training.loop import Task
from detector.training.rcnn_heads import collect_features, fit_boxes, fit_svms
from detector.training.recipes import CropRecipe
from detector.training.targets import match_regions

log = logging.getLogger(__name__)

_VAL_CROPS = 512
"""Crops of held-back images on which loss and accuracy are followed during the training."""


@dataclass(frozen=True)
class CropBatch:
    """Crops (N, 3, size, size), normalized, and their classes (N,) int64, 0 = background."""

    crops: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


class CropTask(Task[CropBatch]):
    """Trains the network of an R-CNN on a data set in VOC's layout.

    Args:
        recipe: what to do.
        root: the folder that holds `JPEGImages`.
        cache: folder of cached proposals.

    Raises:
        InputError: the data cannot be used.
    """

    network: RCNN
    head = ("classifier",)

    def __init__(self, recipe: CropRecipe, root: Path, cache: Path) -> None:
        self.recipe: CropRecipe = recipe
        self.data, self.val = proposed_splits(recipe.data, recipe.model.proposals, root, cache)
        torch.manual_seed(recipe.seed)
        self.network = RCNN(len(self.data.dataset.class_names), recipe.model.network)
        self.network.backbone.freeze_stem()

    def initialize(self, init: Path | None) -> None:
        initialize_backbone(self.network, self.network.backbone, init)

    def prepare(self) -> None:
        self.data.fill()

    def example(self, step: int) -> CropBatch:
        images = self.recipe.batch.images
        parts = []
        for slot in range(step * images, (step + 1) * images):
            index = sample_index(self.recipe.seed, slot, len(self.data))
            parts.append(self._crops(self.data, index, np.random.default_rng((self.recipe.seed, slot, 2))))
        return CropBatch(torch.cat([p.crops for p in parts]), torch.cat([p.labels for p in parts]))

    def _crops(self, images: ProposedImages, index: int, rng: np.random.Generator) -> CropBatch:
        """This image's part of a batch; none if it has no region, or only such as belong to difficult objects."""
        config = self.recipe.batch
        image, proposals, annotations = images[index]
        pixels = distort(image.pixels, config.color_jitter, rng) if config.color_jitter > 0 else image.pixels
        boxes = torch.from_numpy(np.concatenate((annotations.boxes, proposals.boxes)))
        objects = torch.from_numpy(np.array(annotations.boxes))
        labels, difficult = torch.tensor(annotations.labels), torch.tensor(annotations.difficult)
        targets = match_regions(boxes, objects, labels, difficult).labels
        count, foreground = config.crops // config.images, config.foreground // config.images
        kinds = [(targets > 0).nonzero()[:, 0].numpy(), (targets == 0).nonzero()[:, 0].numpy()]
        wanted = [foreground, count - foreground]
        if not len(kinds[0]):
            wanted = [0, count]
        elif not len(kinds[1]):
            wanted = [count, 0]
        usable = [(kind, n) for kind, n in zip(kinds, wanted, strict=True) if n and len(kind)]
        chosen = [rng.choice(kind, n, replace=n > len(kind)) for kind, n in usable]
        selection = torch.from_numpy(np.concatenate(chosen)) if chosen else torch.zeros(0).long()
        crops = self.recipe.model.crops
        plain = dataclasses.replace(crops, context=0)
        drop = torch.from_numpy(rng.random(len(selection)) < config.without_context)
        windows = torch.where(
            drop[:, None], crop_windows(boxes[selection], plain), crop_windows(boxes[selection], crops)
        )
        normalized = self.network.normalize(torch.tensor(pixels, device=self._device).permute(2, 0, 1))
        cut = warp_windows(normalized, windows, crops.size)
        flipped = torch.from_numpy(rng.random(len(selection)) < 0.5)
        cut[flipped] = cut[flipped].flip(3)
        return CropBatch(cut, targets[selection])

    def backward(
        self, model: nn.Module, example: CropBatch, autocast: AbstractContextManager[None]
    ) -> dict[str, float]:
        labels = example.labels.to(self._device)
        size = self.recipe.batch.micro_batch
        total = self.recipe.batch.crops
        loss, right = 0.0, 0
        for start in range(0, len(example), size):
            part = slice(start, start + size)
            with autocast:
                logits = model(example.crops[part].to(self._device)).float()
            one = F.cross_entropy(logits, labels[part], reduction="sum") / total
            one.backward()
            loss += one.item()
            right += int((logits.argmax(1) == labels[part]).sum())
        return {"loss": loss, "accuracy": right / max(1, len(example))}

    def evaluate(self, network: nn.Module, metadata: dict[str, Any], out: Path, last: bool) -> dict[str, float]:
        """Loss and accuracy on crops of held-back images; after the last step the other heads and mAP."""
        assert isinstance(network, RCNN)
        numbers = self._judge_crops(network)
        config = self.recipe.model
        if last:
            cache = out / f"features_{config_hash(self.recipe)}_{weights_hash(network)}"
            found, config = self._fit_heads(network, cache)
            numbers |= found
            images = min(len(self.val), self.recipe.data.eval_limit)
            metadata |= {"metric": "voc07", "split": self.recipe.data.eval_split, "images": images}
        metadata |= {name: round(value, 4) for name, value in numbers.items()}
        save_model(Model(network, config, self.data.dataset.class_names, metadata), out / "model.safetensors")
        return numbers

    @torch.inference_mode()
    def _judge_crops(self, network: RCNN) -> dict[str, float]:
        batch = self.recipe.batch
        count = min(len(self.val), _VAL_CROPS // (batch.crops // batch.images))
        losses, right, dtype = [], [], fast_dtype(self._device.type)
        for index in range(count):
            some = self._crops(self.val, index, np.random.default_rng((index, 5)))
            with torch.autocast(self._device.type, dtype, enabled=dtype != torch.float32):
                logits = network(some.crops).float()
            labels = some.labels.to(self._device)
            losses.append(F.cross_entropy(logits, labels, reduction="none"))
            right.append((logits.argmax(1) == labels).float())
        if not sum(map(len, right)):
            return {}
        return {"held-back loss": torch.cat(losses).mean().item(), "held-back accuracy": torch.cat(right).mean().item()}

    def _fit_heads(self, network: RCNN, cache: Path) -> tuple[dict[str, float], RCNNConfig]:
        """Fits SVMs and box regression into the network; mAP of every combination, and the calibrated config."""
        names = self.data.dataset.class_names
        scorer = RCNNScorer(copy.deepcopy(network).eval(), self.recipe.model, fast_dtype(self._device.type))
        features = collect_features(scorer, self.data, self.recipe.heads, self.recipe.seed, cache)
        fitted = (*fit_svms(features, self.recipe.heads, names), *fit_boxes(features, self.recipe.heads, names))
        for module in (network, scorer.network):
            for buffer, values in zip(("svm_weight", "svm_bias", "box_weight", "box_bias"), fitted, strict=True):
                getattr(module, buffer).copy_(torch.from_numpy(values))
        count = min(len(self.val), self.recipe.data.eval_limit)
        images = (self.val[index] for index in tqdm(range(count), desc="mAP", unit="image", disable=None))
        results = ablate(scorer, images, names, self.recipe.model.postprocess)
        moved = " + box regression" if self.recipe.model.box_regression else ""
        calibration = Calibration(*(fit_calibration(results[f"{head}{moved}"]) for head in ("softmax", "svm")))
        config = dataclasses.replace(self.recipe.model, calibration=calibration)
        return {f"mAP {name}": result.mean_ap for name, result in results.items()}, config

    @property
    def _device(self) -> torch.device:
        return self.network.mean.device
