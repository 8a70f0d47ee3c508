"""Top-1 and top-5 hits, counted on photos whose classes are known."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detector.data.image_folder import LabeledPhoto
from detector.evaluation.prediction.classification import evaluate_classifier
from detector.inference.classification import Classification
from detector.structures.image import read_image

CLASSES = tuple("abcdefgh")


def ranked(path: Path) -> Classification:
    """Takes the classes in the order that the photo's gray value says: the best is `gray`, then one after another."""
    best = int(read_image(path).pixels[0, 0, 0])
    order = (np.arange(len(CLASSES)) - best) % len(CLASSES)
    return Classification(((len(CLASSES) - order) / 36).astype(np.float32), CLASSES)


@pytest.fixture
def photo(tmp_path: Path):
    def make(name: str, gray: int, label: int) -> LabeledPhoto:
        Image.new("RGB", (4, 4), (gray,) * 3).save(tmp_path / name)
        return LabeledPhoto(tmp_path / name, label)

    return make


def test_hits(photo, capsys: pytest.CaptureFixture):
    """Of six photos two have their class first, another two among the best five."""
    labels = {"0.png": (3, 3), "1.png": (0, 4), "2.png": (0, 5), "3.png": (7, 0), "4.png": (2, 1), "5.png": (7, 7)}
    result = evaluate_classifier(ranked, [photo(name, *pair) for name, pair in labels.items()])
    content = result.to_dict()
    assert content.pop("seconds_per_image") == pytest.approx(result.seconds / 6)
    assert content == {
        "images": 6,
        "top1": pytest.approx(1 / 3),
        "top5": pytest.approx(2 / 3),
        "top1_hits": 2,
        "top5_hits": 4,
        "failed": {},
    }
    seconds = f"{result.seconds / 6:.3f} s per image"
    assert result.table() == f"top-1 2/6 (33.3%), top-5 4/6 (66.7%), {seconds}"
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("probabilities", "hits"), [([0.125] * 8, (1, 5)), ([0.2, 0.8], (1, 2))])
def test_equal_probabilities_and_fewer_classes_than_five(photo, probabilities: list[float], hits: tuple[int, int]):
    """Of equal ones the earlier class counts."""
    classes = CLASSES[: len(probabilities)]
    photos = [photo(f"{label}.png", 0, label) for label in range(len(classes))]
    result = evaluate_classifier(lambda _: Classification(np.float32(probabilities), classes), photos)
    assert (result.top1, result.top5) == hits


def test_a_photo_that_cannot_be_read_is_a_miss_and_is_reported(photo, tmp_path: Path, capsys: pytest.CaptureFixture):
    photos = [photo("0.png", 1, 1), LabeledPhoto(tmp_path / "broken.jpg", 1), photo("2.png", 2, 2)]
    (tmp_path / "broken.jpg").write_bytes(b"no photo")
    result = evaluate_classifier(ranked, photos, progress=True)
    assert (result.images, result.top1, result.top5) == (3, 2, 2)
    assert "broken.jpg: not a photo" in result.failed[str(tmp_path / "broken.jpg")]
    assert result.to_dict()["top1"] == pytest.approx(2 / 3)
    assert result.to_dict()["seconds_per_image"] == pytest.approx(result.seconds / 2)
    assert "broken.jpg: not a photo" in capsys.readouterr().err
