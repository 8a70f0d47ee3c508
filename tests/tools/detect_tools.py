"""What the tests of the command `detect` share: a detector that answers by rule, photos, and runs of the command."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as PillowImage

from detector.cli import main
from detector.structures.detections import Detections
from detector.structures.image import Image

CLASSES = ("bird", "cat", "dog")
ROOT = Path(__file__).parents[2]


class RuleDetector:
    """Sees a cat in the left third of each photo and, if that is wider than 100 pixels, a dog in the rest."""

    class_names = CLASSES
    class_ids = (16, 17, 18)
    fingerprint, precision = "rule", "float32"

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


def clip(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 5, (64, 48))
    for _ in range(4):
        writer.write(np.full((48, 64, 3), 90, np.uint8))
    writer.release()


def run(*arguments: str) -> int:
    return command("detect", *arguments)


def command(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    assert isinstance(caught.value.code, int)
    return caught.value.code


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
