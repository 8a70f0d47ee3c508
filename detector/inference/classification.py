"""Image classification: class probabilities averaged over crops and models."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from detector.config import ClassifierConfig
from detector.errors import InputError
from detector.inference.multi_crop import CROPS, multi_crop
from detector.inference.rcnn_scorer import batch_size
from detector.io.text import open_text
from detector.models.backbones import TorchvisionBackbone, torchvision_network
from detector.models.caffe import load_caffe_weights
from detector.models.classifier import ImageClassifier
from detector.models.files import find_model
from detector.models.weights import Model, load_model
from detector.ops.devices import resolve_device
from detector.ops.precision import fast_dtype
from detector.structures.image import as_image


@dataclass(frozen=True, eq=False)
class Classification:
    """The class probabilities of an image.

    Attributes:
        probabilities: (num_classes,) float32, softmax averaged over crops and models.
        class_names: the names of the classes.
    """

    probabilities: np.ndarray
    class_names: tuple[str, ...]

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """The `count` most probable classes with their probabilities, best first; ties keep the order of classes."""
        order = np.argsort(-self.probabilities, kind="stable")[:count]
        return [(self.class_names[index], float(self.probabilities[index])) for index in order.tolist()]


class Classifier:
    """Classifies images.

    Args:
        models: a classification model, or several with the same classes, whose softmax is averaged.
        crops: crops per image, 1, 10 or 144 (`detector.inference.multi_crop`).
        device: "auto" (a GPU if there is one), "cpu", "cuda", ...

    Raises:
        InputError: the models have different classes or are no classifiers, the number of crops is not supported, or
            the device cannot be used.
    """

    def __init__(self, models: Model | Sequence[Model], crops: int = 1, device: str | torch.device = "auto") -> None:
        models = [models] if isinstance(models, Model) else list(models)
        if not models:
            raise InputError("a classifier needs at least one model")
        if crops not in CROPS:
            raise InputError(f"crops is {crops}; give {', '.join(map(str, CROPS))}")
        self.class_names = models[0].class_names
        self.crops = crops
        self.device = resolve_device(device)
        self.dtype = fast_dtype(str(self.device))
        self._networks: list[tuple[torch.nn.Module, int]] = []  # with their input sizes
        for model in models:
            if model.class_names != self.class_names:
                raise InputError("the models must have the same classes in the same order")
            if not isinstance(model.config, ClassifierConfig):
                raise InputError(f"a model for {model.kind} cannot classify whole images; give one for classification")
            network = copy.deepcopy(model.network).eval().requires_grad_(False).to(self.device)
            network.get_submodule("backbone").to(self.dtype).to(memory_format=torch.channels_last)
            self._networks.append((network, model.config.size))

    @torch.inference_mode()
    def __call__(self, image: Any, channels: str | None = None) -> Classification:
        """Classifies a path, PIL image, array or tensor.

        Args:
            image, channels: as in `detector.Detector`.

        Raises:
            InputError: the image cannot be read.
        """
        pixels = as_image(image, channels).pixels
        total = np.zeros(len(self.class_names))
        for network, size in self._networks:
            crops = torch.from_numpy(np.stack([*multi_crop(pixels, self.crops, size)])).permute(0, 3, 1, 2)
            for batch in crops.split(batch_size(size, self.device)):
                logits = network(batch.to(self.device).float())
                total += logits.float().softmax(dim=1).double().sum(dim=0).cpu().numpy() / len(crops)
        return Classification((total / len(self._networks)).astype(np.float32), self.class_names)


def load_classifier(
    models: Sequence[str | Path], crops: int = 1, device: str | torch.device = "auto", labels: str | Path | None = None
) -> Classifier:
    """Loads a classifier.

    Args:
        models: classification models: the name of an installed one (`bvlc_googlenet`), files of this project
            (.safetensors), BVLC's GoogLeNet (.caffemodel, or .npz by Caffe layer name), or `torchvision/googlenet`,
            which downloads torchvision's weights.
        crops, device: as in `Classifier`.
        labels: file of class names, one per line, for weights that come without names; by default `synset_words.txt`
            in the folder of the weights if it exists, else torchvision's names of the 1,000 ImageNet classes.

    Raises:
        InputError: a file cannot be used, or as in `Classifier`.
    """
    return Classifier([load_classification_model(model, labels) for model in models], crops, device)


def load_classification_model(source: str | Path, labels: str | Path | None = None) -> Model:
    """Loads one classification model; `source` and `labels` are as in `load_classifier`."""
    if str(source).startswith("torchvision/"):
        return _torchvision_model(str(source), labels)
    path = find_model(source)
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
    pretrained = torchvision_network(name, pretrained=True)
    head = getattr(pretrained, "fc", None)
    network = ImageClassifier(1000, TorchvisionBackbone(name, pretrained))
    if not isinstance(head, torch.nn.Linear) or head.weight.shape != network.classifier.weight.shape:
        raise InputError(f"model '{source}': its classifier is not a single layer; give torchvision/googlenet")
    network.classifier.load_state_dict(head.state_dict())
    return Model(network.eval(), ClassifierConfig(source), imagenet_classes(labels), {"weights": source})


def imagenet_classes(labels: str | Path | None = None, beside: Path | None = None) -> tuple[str, ...]:
    """The names of the 1,000 ImageNet classes, ordered by WordNet id.

    Args:
        labels: file of names, one per line.
        beside: file whose folder may hold `synset_words.txt`, the default of `labels`; without it torchvision's names.

    Raises:
        InputError: the file cannot be read or does not have 1,000 lines.
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
