"""The commands with MultiBox, on networks of random weights."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from detector.cli import main
from detector.config import InputConfig, ModelConfig, MultiBoxModelConfig, NetworkConfig
from detector.data.voc import VOC_CLASSES
from detector.models.weights import Model, make_network, save_model
from proposals.multibox.config import MultiBoxConfig

BEST = "best"
HEAD = MultiBoxConfig(grids=(4, 2), shapes=3, channels=8)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A region classifier with a head, one without, and a network of its own."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models")
    shared = ModelConfig(input=InputConfig(short_side=64), network=NetworkConfig(multibox=HEAD))
    plain = ModelConfig(input=InputConfig(short_side=64))
    paths = {}
    for name, config in (("shared", shared), ("plain", plain), ("own", MultiBoxModelConfig(size=64, head=HEAD))):
        network = make_network(config, len(VOC_CLASSES))
        head = getattr(network, "multibox", None) or getattr(network, "head", None)
        if head is not None:
            corners = torch.rand(HEAD.boxes, 2) * 0.5
            head.set_priors(torch.cat((corners, corners + 0.1 + 0.4 * torch.rand(HEAD.boxes, 2)), dim=1))
        paths[name] = folder / f"{name}.safetensors"
        save_model(Model(network, config, () if name == "own" else VOC_CLASSES, {}), paths[name])
    return paths


@pytest.fixture
def photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drawn) -> Path:
    monkeypatch.chdir(tmp_path)
    drawn((200, 150)).save("photo.png")
    return Path("photo.png")


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main([*map(str, arguments)])
    return int(caught.value.code or 0)


def sources(path: str) -> Counter[str]:
    (content,) = json.loads(Path(path).read_text())
    return Counter(content["source_names"][source] for source in content["sources"])


@pytest.mark.parametrize("model", ["shared", "own"])
@pytest.mark.parametrize("method", ["multibox", "both"])
def test_propose(models: dict[str, Path], photo: Path, propose: Callable[..., int], files, model: str, method: str):
    options = ("--method", method, "--model", models[model], "--multibox", 7, "--json", "boxes.json", "--out", "out")
    assert propose(photo, *options) == 0
    found = sources("boxes.json")
    assert 0 < found["multibox"] <= 7
    assert (len(found) > 1) == (method == "both")
    assert files(Path("out")) == ["photo.png"]


def test_report(models: dict[str, Path], make_voc: Callable[..., Path], propose: Callable[..., int], tmp_path: Path):
    root = make_voc({"1": [("cat", (6, 7, 35, 36), 0)]})
    data = ("--dataset", "voc", "--root", root, "--split", "val", "--report", "--json", tmp_path / "report.json")
    assert propose("--method", "multibox", "--model", models["own"], "--out", tmp_path, *data) == 0
    content = json.loads((tmp_path / "report.json").read_text())
    assert content["method"] == "multibox"
    assert content["objects"] == 1


@pytest.mark.parametrize("source", ["multibox", "both", "selective_search"])
def test_detect_and_evaluate(models: dict[str, Path], make_voc: Callable[..., Path], photo: Path, source: str):
    assert run("detect", photo, "--proposals", source, "--model", models["shared"], "--json", "found.json") == 0
    assert Path("found.json").exists()
    root = make_voc({"1": [("cat", (6, 7, 35, 36), 0)]})
    data = ("--root", root, "--split", "val", "--json", "result.json")
    assert run("evaluate", "--proposals", source, "--model", models["shared"], *data) == 0
    assert json.loads(Path("result.json").read_text())["proposals"] == source


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("detect", "photo.png", "--proposals", "both", "--model", "plain"), "no model here has a MultiBox head"),
        (("propose", "photo.png", "--method", "multibox", "--model", "plain"), "plain.safetensors: the model has no"),
        (("propose", "photo.png", "--model", "own"), "--model and --multibox are for MultiBox"),
        (("propose", "photo.png", "--multibox", "5"), "--model and --multibox are for MultiBox"),
        (("detect", "photo.png", "--proposals", "both", "--config", BEST), "give proposals or a configuration"),
        (("detect", "photo.png", "--model", "own"), "a model for multibox; one for regions or crops is needed"),
    ],
)
def test_errors(models: dict[str, Path], photo: Path, capsys, arguments: tuple[str, ...], message: str):
    assert run(*(models.get(argument, argument) for argument in arguments)) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
