"""Image -> crops -> class probabilities, averaged over crops and models."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from detector.config import ClassifierConfig, CropConfig
from detector.errors import InputError
from detector.inference.rcnn_scorer import batch_size
from detector.inference.views import CROPS, views
from detector.io.text import open_text
from detector.models.backbones import TorchvisionBackbone, torchvision_network
from detector.models.caffe import load_caffe_weights
from detector.models.classifier import ImageClassifier
from detector.models.weights import Model, load_model
from detector.ops.devices import resolve_device
from detector.ops.precision import fast_dtype
from detector.structures.image import Image, as_image


@dataclass(frozen=True, eq=False)
class Classification:
    """What one image shows.

    Attributes:
        probabilities: (num_classes,) float32, softmax averaged over crops and models.
        class_names: their names.
    """

    probabilities: np.ndarray
    class_names: tuple[str, ...]

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """The most probable classes and their probabilities, best first; of equal ones the earlier class first."""
        order = np.argsort(-self.probabilities, kind="stable")[:count]
        return [(self.class_names[index], float(self.probabilities[index])) for index in order.tolist()]


class Classifier:
    """Classifies images.

    Args:
        models: a model for classification, or several of the same classes, whose softmax is averaged.
        crops: 1, 10 or 144 (`detector.inference.views`).
        device: "auto" (a GPU if there is one), "cpu", "cuda", ...

    Raises:
        InputError: the models have different classes, the number of crops is unknown, the device cannot be used.
    """

    def __init__(self, models: Model | Sequence[Model], crops: int = 1, device: str | torch.device = "auto") -> None:
        models = [models] if isinstance(models, Model) else list(models)
        if not models:
            raise InputError("a classifier needs at least one model")
        if crops not in CROPS:
            raise InputError(f"crops is {crops}; give {', '.join(map(str, CROPS))}")
        self.class_names = models[0].class_names
        for model in models:
            if model.class_names != self.class_names:
                raise InputError("the models must have the same classes in the same order")
        self.crops = crops
        self.device = resolve_device(device)
        self.dtype = fast_dtype(str(self.device))
        self._members: list[tuple[torch.nn.Module, int]] = []
        for model in models:
            if not isinstance(model.config, ClassifierConfig):
                raise InputError(f"a model for {model.kind} cannot classify whole images; give one for classification")
            network = copy.deepcopy(model.network).eval().requires_grad_(False).to(self.device)
            network.get_submodule("backbone").to(self.dtype).to(memory_format=torch.channels_last)
            self._members.append((network, model.config.size))

    @torch.inference_mode()
    def __call__(self, image: Any, channels: str | None = None) -> Classification:
        """Classifies a path, PIL image, array or tensor, as `detector.Detector` takes them."""
        photo: Image = as_image(image, channels)
        total = np.zeros(len(self.class_names))
        for network, size in self._members:
            crops = torch.from_numpy(np.stack([*views(photo.pixels, self.crops, size)])).permute(0, 3, 1, 2)
            for some in crops.split(batch_size(CropConfig(size=size, context=0), self.device)):
                logits = network(some.to(self.device).float())
                total += logits.float().softmax(dim=1).double().sum(dim=0).cpu().numpy() / len(crops)
        return Classification((total / len(self._members)).astype(np.float32), self.class_names)


def load_classifier(
    models: Sequence[str | Path],
    crops: int = 1,
    device: str | torch.device = "auto",
    labels: str | Path | None = None,
) -> Classifier:
    """A classifier from files.

    Args:
        models: files of models for classification: of this project (.safetensors), BVLC's GoogLeNet (.caffemodel, or
            .npz by Caffe layer name), or `torchvision/googlenet`, which downloads torchvision's.
        labels: file of class names, one a line, for weights that do not bring them; by default `synset_words.txt`
            beside the weights, or else torchvision's names of the 1,000 ImageNet classes.

    Raises:
        InputError: a file cannot be used; one line that says why.
    """
    return Classifier([load_classification_model(model, labels) for model in models], crops, device)


def load_classification_model(source: str | Path, labels: str | Path | None = None) -> Model:
    """One model for classification, from what `load_classifier` takes."""
    if str(source).startswith("torchvision/"):
        return _torchvision_model(str(source), labels)
    path = Path(source)
    if path.suffix == ".safetensors":
        if labels is not None:
            raise InputError(f"{path}: brings its class names; leave out the file of labels")
        return load_model(path, ("classification",))
    network = ImageClassifier()
    load_caffe_weights(network, path)
    names = imagenet_classes(labels, beside=path)
    return Model(network.eval(), ClassifierConfig(), names, {"weights": path.name})


def _torchvision_model(source: str, labels: str | Path | None) -> Model:
    name = source.removeprefix("torchvision/")
    whole = torchvision_network(name, pretrained=True)
    head = getattr(whole, "fc", None)
    network = ImageClassifier(1000, TorchvisionBackbone(name, whole))
    if not isinstance(head, torch.nn.Linear) or head.weight.shape != network.classifier.weight.shape:
        raise InputError(f"model '{source}': its classifier is not a single layer; give torchvision/googlenet")
    network.classifier.load_state_dict(head.state_dict())
    return Model(network.eval(), ClassifierConfig(source), imagenet_classes(labels), {"weights": source})


def imagenet_classes(labels: str | Path | None = None, beside: Path | None = None) -> tuple[str, ...]:
    """Names of the 1,000 classes of ImageNet, in the order of their synsets' numbers.

    Raises:
        InputError: the file of names is missing or does not hold 1,000 lines.
    """
    if labels is None and beside is not None and (beside.parent / "synset_words.txt").exists():
        labels = beside.parent / "synset_words.txt"
    if labels is None:
        from torchvision.models._meta import _IMAGENET_CATEGORIES

        return tuple(_IMAGENET_CATEGORIES)
    with open_text(Path(labels)) as file:
        names = tuple(filter(None, map(str.strip, file)))
    if len(names) != 1000:
        raise InputError(f"{labels}: holds {len(names)} class names, not 1000, one a line")
    return names
