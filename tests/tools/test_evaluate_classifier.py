"""The command `evaluate` on labeled photos (`--dataset imagenet`)."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from detector.cli import main
from detector.config import ClassifierConfig
from detector.models.classifier import ImageClassifier
from detector.models.files import DEFAULT_MODEL
from detector.models.weights import Model, save_model

CLASSES = tuple("abcdefg")
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of every photo it says that a is most probable, then b, and so on."""
    network = ImageClassifier(len(CLASSES)).eval()
    nn.init.zeros_(network.classifier.weight)
    for number in range(len(CLASSES)):
        nn.init.constant_(network.classifier.bias[number : number + 1], -number)
    path = tmp_path_factory.mktemp("model") / "m.safetensors"
    save_model(Model(network, ClassifierConfig(size=32), CLASSES, {}), path)
    return path


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """On photos of a, b, e and f: the first is the model's best, the next two are among its best five."""
    monkeypatch.setattr("detector.cli.keep_freed_memory", lambda: None)
    (tmp_path / "photos/b").mkdir(parents=True)
    for name in ("a_1.jpg", "b/1.png", "e_1.jpg", "f_1.jpg"):
        Image.new("RGB", (40, 30)).save(tmp_path / "photos" / name)

    def run(*options: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stopped:
            main(["evaluate", "--dataset", "imagenet", "--root", str(tmp_path / "photos"), *map(str, options)])
        return int(stopped.value.code or 0), *capsys.readouterr()

    return run


def test_hits(run: Run, model: Path, tmp_path: Path):
    code, out, _ = run("--model", model, "--json", tmp_path / "new/result.json", "--test-crops", 10)
    assert code == 0
    assert out.startswith("top-1 1/4 (25.0%), top-5 3/4 (75.0%), 0.")
    assert out.endswith(" s per image\n")
    content = json.loads((tmp_path / "new/result.json").read_text())
    assert content.pop("seconds_per_image") > 0
    hits = {"images": 4, "top1": 0.25, "top5": 0.75, "top1_hits": 1, "top5_hits": 3, "failed": {}}
    assert content == {"dataset": "imagenet", "models": [str(model)], "crops": 10, **hits}


def test_several_models_are_averaged(run: Run, model: Path, tmp_path: Path):
    """One has a, b and e among its best five, the other e and f, together they have all."""
    network = ImageClassifier(len(CLASSES)).eval()
    nn.init.zeros_(network.classifier.weight)
    bias = {"a": -9.0, "b": -9.0, "e": 8.0, "f": 9.0}
    network.classifier.bias.data = torch.tensor([bias.get(name, 0.0) for name in CLASSES])
    save_model(Model(network, ClassifierConfig(size=32), CLASSES, {}), tmp_path / "f.safetensors")
    _, out, _ = run("--model", model, "--model", tmp_path / "f.safetensors", "--json", tmp_path / "result.json")
    assert out.startswith("top-1 1/4 (25.0%), top-5 4/4")
    assert run("--model", tmp_path / "f.safetensors")[1].startswith("top-1 1/4 (25.0%), top-5 2/4")
    content = json.loads((tmp_path / "result.json").read_text())
    assert content["models"] == [str(model), str(tmp_path / "f.safetensors")]


def test_limit(run: Run, model: Path):
    assert run("--model", model, "--limit", 2)[1].startswith("top-1 1/2 (50.0%), top-5 2/2 (100.0%)")


def test_a_broken_photo_is_a_miss(run: Run, model: Path, tmp_path: Path):
    (tmp_path / "photos/a_1.jpg").write_bytes(b"broken")
    code, out, err = run("--model", model, "--json", tmp_path / "result.json")
    assert code == 2
    assert out.startswith("top-1 0/4 (0.0%), top-5 2/4 (50.0%)")
    assert "a_1.jpg: not a photo" in err
    assert err.endswith("error: 1 of 4 photos failed\n")
    failed = json.loads((tmp_path / "result.json").read_text())["failed"]
    assert [Path(path).name for path in failed] == ["a_1.jpg"]


@pytest.mark.parametrize(
    ("options", "facts"),
    [
        ((), ["--dataset imagenet", "--model", "BVLC GoogLeNet"]),
        (("--model", "none.npz"), ["none.npz: no such"]),
        (("--model", DEFAULT_MODEL), [f"{DEFAULT_MODEL}: "]),
        (("--model", "MODEL", "--test-crops", 3), ["3; give 1, 10, 144"]),
        (("--model", "MODEL", "--root", "none"), ["none: no such folder"]),
        (("--model", "MODEL", "--split", "val"), ["--split ", "--dataset imagenet"]),
        (("--model", "MODEL", "--metric", "voc07"), ["--metric ", "--dataset imagenet"]),
        (("--model", "MODEL", "--labels", "names.txt"), ["m.safetensors: "]),
        (("--model", "MODEL", "--ablation"), ["--ablation ", "--dataset imagenet"]),
    ],
)
def test_wrong_options_are_one_line(run: Run, model: Path, options: tuple[object, ...], facts: list[str]):
    code, out, err = run(*(model if option == "MODEL" else option for option in options))
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert all(fact in err for fact in facts)
    assert err.count("\n") == 1


def test_an_unknown_class(run: Run, model: Path, tmp_path: Path):
    Image.new("RGB", (4, 4)).save(tmp_path / "photos/z_1.jpg")
    code, _, err = run("--model", model)
    assert (code, "z_1.jpg: 'z_1' is not one of the model's 7 classes, such as 'a'" in err) == (2, True)
