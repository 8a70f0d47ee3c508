"""The command `classify`, from its arguments to its lines, files and exit code."""

import io
import json
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image as PillowImage
from torch import nn

from detector.cli import main
from detector.config import ClassifierConfig
from detector.inference.classification import Classification, Classifier
from detector.models.classifier import ImageClassifier
from detector.models.files import DEFAULT_MODEL
from detector.models.weights import Model, save_model
from detector.structures.image import Image

CLASSES = ("dog", "wild cat, Felis silvestris", "bird")
ROOT = Path(__file__).parents[2]
Run = Callable[..., tuple[int, str, str]]


def save(path: Path, *biases: float, classes: tuple[str, ...] = CLASSES) -> Path:
    """A model that says of every photo the softmax of its biases."""
    network = ImageClassifier(len(classes)).eval()
    nn.init.zeros_(network.classifier.weight)
    for number, bias in enumerate(biases):
        nn.init.constant_(network.classifier.bias[number : number + 1], bias)
    save_model(Model(network, ClassifierConfig(size=32), classes, {}), path)
    return path


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    save(folder / "m.safetensors", 1, 2, 0)
    save(folder / "n.safetensors", 1, 0, 2)
    save(folder / "other.safetensors", 1, 0, classes=("dog", "bird"))
    (folder / "broken.safetensors").write_bytes((folder / "m.safetensors").read_bytes()[:1000])
    (folder / "broken.caffemodel").write_bytes(b"\x12\xff\xff\xff\x7f")
    (folder / "photo.npz").write_bytes((ROOT / "tests/photos/cat.jpg").read_bytes())
    return folder


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with the models, two photos and one that is broken."""
    monkeypatch.setattr("detector.cli.keep_freed_memory", lambda: None)
    monkeypatch.chdir(tmp_path)
    for path in models.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "photos").mkdir()
    PillowImage.new("RGB", (60, 40)).save("photos/1.jpg")
    PillowImage.new("RGB", (40, 90)).save("photos/3.png")
    (tmp_path / "photos/2.jpg").write_bytes(b"broken")
    return tmp_path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stopped:
            main(["classify", *map(str, arguments)])
        return int(stopped.value.code or 0), *capsys.readouterr()

    return run


def without_seconds(out: str) -> list[str]:
    lines = out.splitlines()
    assert all(line.endswith(" s") for line in lines if not line.startswith(" "))
    return [line if line.startswith(" ") else line.rsplit(":", 1)[0] for line in lines]


LINES = ["  0.6652  wild cat, Felis silvestris", "  0.2447  dog", "  0.0900  bird"]


@pytest.mark.parametrize("crops", [1, 10, 144])
def test_lines(run: Run, crops: int):
    code, out, err = run("photos/1.jpg", "photos/3.png", "--model", "m.safetensors", "--test-crops", crops)
    assert (code, err) == (0, "")
    assert without_seconds(out) == ["photos/1.jpg", *LINES, "photos/3.png", *LINES]


def test_top(run: Run):
    _, out, _ = run("photos/1.jpg", "--model", "m.safetensors", "--top", 2)
    assert without_seconds(out) == ["photos/1.jpg", *LINES[:2]]


def test_several_models_are_averaged(run: Run):
    _, out, _ = run("photos/1.jpg", "--model", "m.safetensors", "--model", "n.safetensors")
    assert without_seconds(out)[1:] == ["  0.3776  wild cat, Felis silvestris", "  0.3776  bird", "  0.2447  dog"]


def test_json_and_a_photo_that_is_broken(run: Run):
    """The others are done, the exit code says that one failed."""
    code, out, err = run("photos", "none.jpg", "--model", "m.safetensors", "--json", "new/found.json", "--top", 1)
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
    ("failure", "reason"), [(RuntimeError("no\nmemory"), "no memory"), (MemoryError(), "not enough memory")]
)
def test_a_photo_that_the_network_fails_on(run: Run, monkeypatch: pytest.MonkeyPatch, failure: Exception, reason: str):
    classify = Classifier.__call__

    def failing(self: Classifier, image: Image) -> Classification:
        if image.name == "photos/1.jpg":
            raise failure
        return classify(self, image)

    monkeypatch.setattr(Classifier, "__call__", failing)
    code, out, err = run("photos/1.jpg", "photos/3.png", "--model", "m.safetensors")
    assert code == 2
    assert without_seconds(out) == ["photos/3.png", *LINES]
    assert err.splitlines()[0] == f"error: photos/1.jpg: classification failed ({reason})"


def test_standard_input(run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(Path("photos/1.jpg").read_bytes())))
    assert without_seconds(run("-", "--model", "m.safetensors")[1]) == ["-", *LINES]


def test_interrupted(run: Run, monkeypatch: pytest.MonkeyPatch):
    from detector.inference.classification import Classifier

    answer = Classifier.__call__

    def stop_at_the_second(self: Classifier, image: object) -> object:
        if image.name == "photos/3.png":
            raise KeyboardInterrupt
        return answer(self, image)

    monkeypatch.setattr(Classifier, "__call__", stop_at_the_second)
    arguments = ("photos/1.jpg", "photos/3.png", "--model", "m.safetensors", "--json", "found.json")
    code, _, err = run(*arguments)
    assert (code, err) == (130, "interrupted: 1 of 2 photos are done\n")
    assert [entry["image"] for entry in json.loads(Path("found.json").read_text())] == ["photos/1.jpg"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "the package has no classification model; give --model "),
        (("--model", "m.safetensors", "--test-crops", 7), "crops is 7; give 1, 10, 144"),
        (("--model", "m.safetensors", "--device", "abacus"), "--device abacus: "),
        (("--model", "none.npz"), "none.npz: no such weights file"),
        (("--model", "none.safetensors"), "none.safetensors: no such model file"),
        (("--model", "broken.safetensors"), "broken.safetensors: not a readable model file"),
        (("--model", "broken.caffemodel"), "broken.caffemodel: not a readable .caffemodel"),
        (("--model", "photo.npz"), "photo.npz: not a readable .npz"),
        (("--model", "photos"), "photos: "),
        (("--model", DEFAULT_MODEL), f"{DEFAULT_MODEL}: a model for regions; one for classification is needed here"),
        (("--model", "torchvision/lenet"), "backbone 'torchvision/lenet': torchvision has no network of this name"),
        (("--model", "m.safetensors", "--model", "other.safetensors"), "the models must have the same classes"),
        (("--model", "m.safetensors", "--json", "x.jpg"), "--json x.jpg: "),
        (("--model", "m.safetensors", "--json", "photos"), "--json photos: is a folder"),
    ],
)
def test_wrong_options_are_one_line(run: Run, arguments: tuple[object, ...], message: str):
    code, out, err = run("photos/1.jpg", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {message}")
    assert err.count("\n") == 1


@pytest.mark.parametrize("name", ["classify", "convert"])
def test_help_does_not_load_torch_and_the_tool_is_the_command(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    texts = []
    for command in ([ROOT / f"tools/{name}.py"], ["-c", "from detector.cli import main; main()", name]):
        done = subprocess.run(
            [sys.executable, "-X", "importtime", *command, "--help"], capture_output=True, text=True, check=True
        )
        texts.append(done.stdout)
        imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
        assert "detector.cli.console" in imported  # by the module of the command
        assert not imported & {"torch", "torchvision"}
    assert texts[0] == texts[1]
    assert "--labels" in texts[0]
    assert "Example" in texts[0]
