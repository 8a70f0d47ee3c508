"""What the tests of the commands share: a detector that answers by rule, classifiers, photos, and runs of `detect`."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from PIL import Image as PillowImage

from detector.cli import main
from detector.config import ClassifierConfig, PostprocessConfig
from detector.structures.detections import Detections
from detector.structures.image import Image

CLASSES = ("bird", "cat", "dog")
ROOT = Path(__file__).parents[2]


class Ran(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


Command = Callable[..., Ran]


class RuleDetector:
    """Sees a cat in the left third of each photo and, if that is wider than 100 pixels, a dog in the rest."""

    class_names = CLASSES
    class_ids = (16, 17, 18)
    fingerprint, precision, postprocess = "rule", "float32", PostprocessConfig()

    def __init__(self) -> None:
        self.settings: dict[str, object] = {}
        self.seen: list[str] = []
        self.before: Callable[[Image], None] = lambda image: None

    def with_settings(self, **settings: object) -> "RuleDetector":
        self.settings = settings
        return self

    def detect(self, image: Image, score: float) -> Detections:
        self.before(image)
        self.seen.append(image.name)
        width, height = image.width, image.height
        boxes = [[0, 0, width / 3, height], [width / 3, 0, width, height]][: 1 + (width > 100)]
        scores, labels = [0.87654321, 0.5][: len(boxes)], [1, 2][: len(boxes)]
        return Detections(boxes, scores, labels, CLASSES, (width, height), self.class_ids).filter(score=score)


def write_photo(path: Path, size: tuple[int, int] = (60, 40)) -> None:
    path.parent.mkdir(exist_ok=True)
    PillowImage.new("RGB", size, (40, 90, 160)).save(path)


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["detect", *arguments])
    assert isinstance(caught.value.code, int)
    return caught.value.code


def save_classifier(path: Path, biases: Sequence[float], classes: Sequence[str]) -> Path:
    """A model that says of every photo the softmax of its biases."""
    from torch import nn  # what uses the rule alone need not wait for it

    from detector.models.classifier import ImageClassifier
    from detector.models.weights import Model, save_model

    network = ImageClassifier(len(classes)).eval()
    nn.init.zeros_(network.classifier.weight)
    network.classifier.bias.data = network.classifier.bias.data.new_tensor(biases)
    save_model(Model(network, ClassifierConfig(size=32), tuple(classes), {}), path)
    return path
