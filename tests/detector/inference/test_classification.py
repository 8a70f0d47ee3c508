"""Averages over crops and models, class names, and models that cannot be used."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image as PillowImage
from torch import Tensor, nn

from detector.config import ClassifierConfig
from detector.errors import InputError
from detector.inference.classification import (
    Classification,
    Classifier,
    imagenet_classes,
    load_classification_model,
    load_classifier,
)
from detector.inference.multi_crop import multi_crop
from detector.models.caffe import save_caffe_arrays
from detector.models.classifier import ImageClassifier
from detector.models.files import DEFAULT_MODEL
from detector.models.weights import Model

CLASSES = ("red", "green", "blue")


@pytest.fixture(autouse=True)
def float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detector.inference.classification.fast_dtype", lambda device: torch.float32)


class Colors(nn.Module):
    """Logits from the mean color and from the center pixel, so that crops differ."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.backbone = nn.Conv2d(3, 3, 1)
        nn.init.dirac_(self.backbone.weight)
        nn.init.zeros_(self.backbone.bias)
        self.factor = factor

    def forward(self, images: Tensor) -> Tensor:
        assert images.dtype == torch.float32
        x = self.backbone(images)
        return self.factor * (x.mean(dim=(2, 3)) + x[:, :, x.shape[2] // 2, x.shape[3] // 2]) / 100


def model(factor: float = 1.0, size: int = 32, classes: tuple[str, ...] = CLASSES) -> Model:
    return Model(Colors(factor), ClassifierConfig(size=size), classes, {})


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


def by_hand(pixels: np.ndarray, crops: int, factor: float, size: int) -> np.ndarray:
    found = []
    for crop in multi_crop(pixels, crops, size):
        crop = crop.astype(np.float64)
        found.append(softmax(factor * (crop.mean(axis=(0, 1)) + crop[size // 2, size // 2]) / 100))
    assert len(found) == crops
    return np.mean(found, axis=0)


@pytest.fixture
def pixels() -> np.ndarray:
    rng = np.random.default_rng(0)
    coarse = PillowImage.fromarray(rng.integers(256, size=(5, 7, 3), dtype=np.uint8))
    return np.array(coarse.resize((90, 60)))


@pytest.mark.parametrize("crops", [1, 10, 144])
def test_softmax_is_averaged_over_crops_and_models(pixels: np.ndarray, crops: int, monkeypatch: pytest.MonkeyPatch):
    """Probabilities are averaged, not logits; models may see crops of different sizes."""
    members = [(3.0, 32), (-1.0, 32), (5.0, 48)]
    classifier = Classifier([model(*member) for member in members], crops, "cpu")
    expected = np.mean([by_hand(pixels, crops, *member) for member in members], axis=0)
    whole = classifier(pixels, channels="RGB")
    assert whole.probabilities.dtype == np.float32
    np.testing.assert_allclose(whole.probabilities, expected, rtol=1e-5)
    assert whole.probabilities.sum() == pytest.approx(1)
    # batching does not change the weight of a crop
    monkeypatch.setattr("detector.inference.classification.batch_size", lambda crops, device: 5)
    np.testing.assert_allclose(classifier(pixels, channels="RGB").probabilities, expected, rtol=1e-5)


def test_top_is_the_best_first_and_of_equal_ones_the_earlier():
    found = Classification(np.float32([0.1, 0.3, 0.1, 0.3, 0.2]), tuple("abcde"))
    order = ["b", "d", "e", "a", "c"]
    assert [name for name, _ in found.top(9)] == order
    assert found.top(3) == [("b", pytest.approx(0.3)), ("d", pytest.approx(0.3)), ("e", pytest.approx(0.2))]


@pytest.mark.parametrize(
    ("models", "options", "message"),
    [
        ([], {}, "at least one model"),
        ([model()], {"crops": 7}, "crops is 7; give 1, 10, 144"),
        ([model(), model(classes=("green", "red", "blue"))], {}, "the same classes in the same order"),
        ([model()], {"device": "abacus"}, "device 'abacus' is unknown"),
    ],
)
def test_models_that_do_not_fit_together(models: list[Model], options: dict, message: str):
    with pytest.raises(InputError, match=message):
        Classifier(models, **{"device": "cpu", **options})


# from files


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "w.npz"
    save_caffe_arrays(ImageClassifier(), path)
    return path


def labels(path: Path, names: list[str], end: str = "\n") -> Path:
    path.write_bytes("".join(name + end for name in names).encode())
    return path


NAMES = [f"n{i:08} Klässe {i}, more" for i in range(1000)]


def test_names_without_a_file_are_torchvisions():
    names = imagenet_classes()
    assert names == tuple(torchvision.models.GoogLeNet_Weights.DEFAULT.meta["categories"])
    assert (names[0], names[281], names[999]) == ("tench", "tabby", "toilet tissue")


def test_names_of_a_file(tmp_path: Path):
    assert imagenet_classes(labels(tmp_path / "l.txt", NAMES, "  \r\n\n")) == tuple(NAMES)


def test_where_names_come_from(weights: Path, tmp_path: Path):
    """From --labels, or else `synset_words.txt` beside the weights, or else torchvision."""
    assert load_classification_model(weights).class_names[0] == "tench"
    beside = tmp_path / "synset_words.txt"
    (tmp_path / "w.npz").symlink_to(weights)
    labels(beside, NAMES)
    assert load_classification_model(tmp_path / "w.npz").class_names == tuple(NAMES)
    given = labels(tmp_path / "l.txt", NAMES[::-1])
    assert load_classification_model(tmp_path / "w.npz", given).class_names == tuple(NAMES[::-1])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"l\.txt: cannot be read: No such file"),
        ("\n".join(NAMES[1:]).encode(), r"l\.txt: holds 999 class names, not 1000"),
        ("\n".join(NAMES).encode("latin-1"), r"l\.txt: is not UTF-8 text"),
    ],
)
def test_labels_that_cannot_be_used(tmp_path: Path, weights: Path, content: bytes | None, message: str):
    if content is not None:
        (tmp_path / "l.txt").write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        load_classifier([weights], labels=tmp_path / "l.txt")
    assert "\n" not in str(caught.value)


def test_a_detection_model_is_refused():
    with pytest.raises(InputError, match="a model for regions; one for classification is needed here"):
        load_classifier([DEFAULT_MODEL])


@pytest.mark.filterwarnings("ignore:auxiliary heads:UserWarning", "ignore:NOTE. The nodes:UserWarning")
@pytest.mark.parametrize("name", ["googlenet", "resnet18"])
def test_a_torchvision_model_gives_the_same_as_in_torchvision(name: str, monkeypatch: pytest.MonkeyPatch):
    """With stand-in weights, given as a download would give them."""
    torch.manual_seed(0)
    special = {"aux_logits": True, "transform_input": True, "init_weights": True} if name == "googlenet" else {}
    reference = torchvision.models.get_model(name, **special).eval()
    nn.init.normal_(reference.fc.weight, std=0.2)
    monkeypatch.setattr(
        "torchvision.models._api.WeightsEnum.get_state_dict", lambda self, *args, **named: reference.state_dict()
    )
    photo = torch.randint(256, (3, 256, 256), dtype=torch.uint8)
    found = load_classifier([f"torchvision/{name}"], device="cpu")(photo)
    preset = torchvision.models.get_model_weights(name).DEFAULT.transforms(crop_size=224, resize_size=256)
    with torch.inference_mode():
        expected = reference(preset(photo)[None])[0].softmax(dim=0).numpy()
    np.testing.assert_allclose(found.probabilities, expected, rtol=1e-3, atol=1e-6)
    assert found.class_names == imagenet_classes()
