"""The command `classify`, from its arguments to its lines, files and exit code."""

import io
import json
import sys
import types
from pathlib import Path

import pytest
from PIL import Image as PillowImage

from detector.inference.classification import Classification, Classifier
from detector.models.files import DEFAULT_CLASSIFIER
from detector.structures.image import Image
from tests.tools.detect_tools import ROOT, save_classifier

CLASSES = ("dog", "wild cat, Felis silvestris", "bird")
LINES = ["  0.6652  wild cat, Felis silvestris", "  0.2447  dog", "  0.0900  bird"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    biases = {"m": (1, 2, 0), "n": (1, 0, 2)}
    return {name: save_classifier(folder / f"{name}.safetensors", values, CLASSES) for name, values in biases.items()}


@pytest.fixture
def classify(tmp_path: Path, models: dict[str, Path], command, monkeypatch: pytest.MonkeyPatch):
    """Runs the command with a model, in a folder with two photos and one that is broken."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    PillowImage.new("RGB", (60, 40)).save("photos/1.jpg")
    PillowImage.new("RGB", (40, 90)).save("photos/3.png")
    (tmp_path / "photos/2.jpg").write_bytes(b"broken")
    return lambda *arguments: command("classify", *arguments, "--model", models["m"])


def without_seconds(out: str) -> list[str]:
    lines = out.splitlines()
    assert all(line.endswith(" s") for line in lines if not line.startswith(" "))
    return [line if line.startswith(" ") else line.rsplit(":", 1)[0] for line in lines]


@pytest.mark.parametrize("crops", [1, 10, 144])
def test_lines(classify, crops: int):
    ended = classify("photos/1.jpg", "photos/3.png", "--test-crops", crops)
    assert (ended.code, ended.err) == (0, "")
    assert without_seconds(ended.out) == ["photos/1.jpg", *LINES, "photos/3.png", *LINES]


def test_top_and_several_models_whose_outputs_are_averaged(classify, models: dict[str, Path]):
    assert without_seconds(classify("photos/1.jpg", "--top", 2).out) == ["photos/1.jpg", *LINES[:2]]
    averaged = ["  0.3776  wild cat, Felis silvestris", "  0.3776  bird", "  0.2447  dog"]
    assert without_seconds(classify("photos/1.jpg", "--model", models["n"]).out)[1:] == averaged


def test_json_and_a_photo_that_is_broken(classify):
    """The others are done, the exit code says that one failed."""
    code, out, err = classify("photos", "none.jpg", "--json", "new/found.json", "--top", 1)
    assert code == 2
    assert without_seconds(out) == ["photos/1.jpg", LINES[0], "photos/3.png", LINES[0]]
    errors = err.splitlines()
    assert errors[0].startswith("error: photos/2.jpg: not a photo")
    assert errors[1].startswith("error: none.jpg: no such file")
    assert errors[2:] == ["2 of 4 photos failed"]
    found = json.loads(Path("new/found.json").read_text())
    assert all(entry.pop("seconds") >= 0 for entry in found)
    classes = [{"label": "wild cat, Felis silvestris", "probability": 0.665241}]
    assert found == [{"image": f"photos/{name}", "classes": classes} for name in ("1.jpg", "3.png")]


@pytest.mark.parametrize(
    ("failure", "code", "line"),
    [
        (RuntimeError("no\nmemory"), 2, "error: photos/3.png: classification failed (no memory)"),
        (MemoryError(), 2, "error: photos/3.png: classification failed (not enough memory)"),
        (KeyboardInterrupt(), 130, "interrupted: 1 of 2 photos are done"),
    ],
)
def test_the_photos_before_a_failure_are_kept(classify, monkeypatch, failure: BaseException, code: int, line: str):
    answer = Classifier.__call__

    def failing(self: Classifier, image: Image) -> Classification:
        if image.name == "photos/3.png":
            raise failure
        return answer(self, image)

    monkeypatch.setattr(Classifier, "__call__", failing)
    ended = classify("photos/1.jpg", "photos/3.png", "--json", "found.json")
    assert (ended.code, ended.err.splitlines()[0]) == (code, line)
    assert [entry["image"] for entry in json.loads(Path("found.json").read_text())] == ["photos/1.jpg"]


def test_standard_input(classify, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(Path("photos/1.jpg").read_bytes())))
    assert without_seconds(classify("-").out) == ["-", *LINES]


@pytest.mark.skipif(not DEFAULT_CLASSIFIER.exists(), reason="comes with a checkout, not with the wheel")
def test_without_a_model_it_is_bvlcs_googlenet(command):
    ended = command("classify", ROOT / "tests/photos/cat.jpg", "--top", 3)
    assert ended.code == 0
    assert "n02123045 tabby, tabby cat" in ended.out


def test_a_wheel_has_no_classifier(command, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("detector.cli.classify.DEFAULT_CLASSIFIER", Path("none/bvlc_googlenet.safetensors"))
    ended = command("classify", ROOT / "tests/photos/cat.jpg")
    assert (ended.code, ended.out) == (2, "")
    assert "--model" in ended.err
