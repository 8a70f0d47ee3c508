"""Training of an image classifier as GoogLeNet was trained ('Going deeper with convolutions', sections 5 and 6).

SGD with momentum, a learning rate that falls by 4 % every 8 epochs, auxiliary heads of weight 0.3, averaged weights,
random resized crops. Processes that share each batch (torchrun) replace DistBelief.
"""

import math
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detector.data.image_folder import class_folders, labeled_photos
from detector.errors import InputError
from detector.evaluation.prediction.classification import evaluate_classifier
from detector.inference.classification import Classifier
from detector.models.classifier import ImageClassifier
from detector.models.weights import Model, save_model
from detector.ops.distributed import check_batch, rank, world_size
from detector.structures.image import read_image
from detector.training.augmentation import random_resized_crop
from detector.training.data import sample_index
from detector.training.initial_weights import load_initial_weights
from detector.training.loop import Task
from detector.training.recipes import ClassificationRecipe


@dataclass(frozen=True)
class ClassificationBatch:
    """Images (B, 3, size, size) uint8 RGB and their classes (B,) int64."""

    images: Tensor
    labels: Tensor


class ClassificationTask(Task[ClassificationBatch]):
    """Trains a classifier on folders of photos, one for each class.

    Args:
        recipe: the recipe.
        root: the folder that holds the recipe's `train` and `val`.

    Raises:
        InputError: the data cannot be used, or the processes cannot share the batch.
    """

    network: ImageClassifier
    head = ("classifier",)
    several_processes = True
    workers = True

    def __init__(self, recipe: ClassificationRecipe, root: Path) -> None:
        check_batch(recipe.batch)
        self.class_names = class_folders(root / recipe.train)
        self.data = labeled_photos(root / recipe.train, self.class_names)
        self.val = labeled_photos(root / recipe.val, self.class_names)
        for label in sorted(set(range(len(self.class_names))) - {photo.label for photo in self.data}):
            raise InputError(f"{root / recipe.train / self.class_names[label]}: holds no photos; add some or remove it")
        epoch = math.ceil(len(self.data) / recipe.batch)  # in steps
        optimizer = replace(recipe.optimizer, steps=recipe.epochs * epoch, decay_every=recipe.decay_epochs * epoch)
        self.recipe: ClassificationRecipe = replace(recipe, optimizer=optimizer)
        torch.manual_seed(recipe.seed)
        auxiliary = recipe.auxiliary_weight > 0
        self.network = ImageClassifier(len(self.class_names), recipe.model.backbone, auxiliary)

    def initialize(self, init: Path | None) -> None:
        """Loads `init`, or draws Caffe's random weights, because the paper does not say how they are drawn."""
        if init is None:
            _initialize_like_caffe(self.network)
        else:
            load_initial_weights(self.network, init)

    def example(self, step: int) -> ClassificationBatch:
        batch, seed = self.recipe.batch, self.recipe.seed
        images, labels = [], []
        for slot in range(step * batch + rank(), (step + 1) * batch, world_size()):
            photo = self.data[sample_index(seed, slot, len(self.data))]
            pixels = read_image(photo.path).pixels
            rng = np.random.default_rng((seed, slot, 6))
            images.append(random_resized_crop(pixels, self.recipe.model.size, self.recipe.random_resized_crop, rng))
            labels.append(photo.label)
        return ClassificationBatch(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2), torch.tensor(labels))

    def backward(
        self, model: nn.Module, example: ClassificationBatch, autocast: AbstractContextManager[None]
    ) -> dict[str, Tensor]:
        device = self.network.mean.device
        labels = example.labels.to(device)
        with autocast:
            outputs = model(example.images.to(device).float())
        main, *auxiliary = outputs if isinstance(outputs, tuple) else (outputs,)
        loss = F.cross_entropy(main.float(), labels)
        accuracy = (main.argmax(1) == labels).float().mean()
        total = loss + self.recipe.auxiliary_weight * sum(F.cross_entropy(a.float(), labels) for a in auxiliary)
        total.backward()
        return {"loss": total.detach(), "main loss": loss.detach(), "accuracy": accuracy}

    def evaluate(self, network: nn.Module, metadata: dict[str, Any], out: Path, last: bool) -> dict[str, float]:
        """Top-1 and top-5 accuracy on one center crop of each validation photo; writes the model."""
        model = Model(network, self.recipe.model, self.class_names, metadata)
        result = evaluate_classifier(Classifier(model, 1, str(self.network.mean.device)), self.val)
        numbers = {"top1": result.top1 / result.images, "top5": result.top5 / result.images}
        metadata |= {**{name: round(value, 4) for name, value in numbers.items()}, "images": result.images}
        save_model(model, out / "model.safetensors")
        return numbers


def _initialize_like_caffe(network: ImageClassifier) -> None:
    """Xavier weights by the number of inputs; biases 0.2, in the classifiers 0, as in BVLC's GoogLeNet."""
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            bound = math.sqrt(3 / module.weight[0].numel())
            nn.init.uniform_(module.weight, -bound, bound)
            if module.bias is not None:
                nn.init.constant_(module.bias, 0.0 if name.split(".")[-1] == "classifier" else 0.2)
