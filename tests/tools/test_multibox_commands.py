"""The commands with MultiBox, on networks of random weights."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from detector.config import InputConfig, ModelConfig, MultiBoxModelConfig, NetworkConfig
from detector.data.voc import VOC_CLASSES
from detector.models.weights import Model, make_network, save_model
from proposals.multibox.config import MultiBoxConfig
from tests.detector.run_tools import files

HEAD = MultiBoxConfig(grids=(4, 2), shapes=3, channels=8)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A region classifier with a head, and a network of its own."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models")
    shared = ModelConfig(input=InputConfig(short_side=64), network=NetworkConfig(multibox=HEAD))
    paths = {}
    for name, config in (("shared", shared), ("own", MultiBoxModelConfig(size=64, head=HEAD))):
        network = make_network(config, len(VOC_CLASSES))
        corners = torch.rand(HEAD.boxes, 2) * 0.5
        priors = torch.cat((corners, corners + 0.1 + 0.4 * torch.rand(HEAD.boxes, 2)), dim=1)
        (network.multibox if name == "shared" else network.head).set_priors(priors)  # type: ignore[union-attr, operator]
        paths[name] = folder / f"{name}.safetensors"
        save_model(Model(network, config, () if name == "own" else VOC_CLASSES, {}), paths[name])
    return paths


@pytest.fixture
def photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drawn) -> Path:
    monkeypatch.chdir(tmp_path)
    drawn((200, 150)).save("photo.png")
    return Path("photo.png")


@pytest.fixture
def root(make_voc: Callable[..., Path]) -> Path:
    return make_voc({"1": [("cat", (6, 7, 35, 36), 0)]})


@pytest.mark.parametrize("model", ["shared", "own"])
@pytest.mark.parametrize("method", ["multibox", "both"])
def test_propose(models: dict[str, Path], photo: Path, propose, model: str, method: str):
    options = ("--method", method, "--model", models[model], "--multibox", 7, "--json", "boxes.json", "--out", "out")
    assert propose(photo, *options).code == 0
    (content,) = json.loads(Path("boxes.json").read_text())
    found = Counter(content["source_names"][source] for source in content["sources"])
    assert 0 < found["multibox"] <= 7
    assert (len(found) > 1) == (method == "both")
    assert files(Path("out")) == ["photo.png"]


def test_report(models: dict[str, Path], root: Path, propose, tmp_path: Path):
    data = ("--dataset", "voc", "--root", root, "--split", "val", "--report", "--json", tmp_path / "report.json")
    assert propose("--method", "multibox", "--model", models["own"], "--out", tmp_path, *data).code == 0
    content = json.loads((tmp_path / "report.json").read_text())
    assert (content["method"], content["objects"]) == ("multibox", 1)


@pytest.mark.parametrize("source", ["multibox", "both", "selective_search"])
def test_detect_and_evaluate(models: dict[str, Path], root: Path, photo: Path, command, source: str):
    options = ("--proposals", source, "--model", models["shared"])
    assert command("detect", photo, *options, "--json", "found.json").code == 0
    assert Path("found.json").exists()
    assert command("evaluate", "--root", root, "--split", "val", "--json", "result.json", *options).code == 0
    assert json.loads(Path("result.json").read_text())["proposals"] == source
