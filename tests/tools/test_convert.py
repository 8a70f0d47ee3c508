"""The command `convert`: classification weights from one format to another and back."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from detector.config import ClassifierConfig
from detector.models.caffe import save_caffe_arrays
from detector.models.classifier import ImageClassifier
from detector.models.weights import Model, load_model, save_model

NAMES = [f"n{i:08} class {i}" for i in range(1000)]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """BVLC's layout with random weights, auxiliary heads included."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("source") / "w.npz"
    save_caffe_arrays(ImageClassifier(auxiliary=True), path)
    return path


@pytest.fixture
def convert(tmp_path: Path, command, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: command("convert", *arguments)


def test_there_and_back(convert, source: Path):
    """From .npz to .safetensors and back to the same numbers; the auxiliary heads, which only train, are left out."""
    assert convert(source, "m.safetensors") == (0, "m.safetensors: 1000 classes, 14.0 MB\n", "")
    model = load_model("m.safetensors", ("classification",))
    assert model.class_names[:2] == ("tench", "goldfish")
    assert model.config == ClassifierConfig()
    assert model.metadata == {"weights": "w.npz"}

    assert convert("m.safetensors", "back/w.npz") == (0, "back/w.npz: 1000 classes, 14.0 MB\n", "")
    before, after = np.load(source), np.load("back/w.npz")
    assert set(after.files) == {name for name in before.files if not name.startswith(("loss1/", "loss2/"))}
    for name in after.files:
        np.testing.assert_array_equal(after[name], before[name], err_msg=name, strict=True)
    assert sorted(p.name for p in Path("back").iterdir()) == ["w.npz"]


def test_class_names(convert, source: Path):
    Path("names.txt").write_text("\n".join(NAMES))
    assert convert(source, "m.safetensors", "--labels", "names.txt").code == 0
    assert load_model("m.safetensors", ("classification",)).class_names == tuple(NAMES)
    Path("names.txt").write_text("\n".join(NAMES[1:]))
    code, _, err = convert(source, "m.safetensors", "--labels", "names.txt")
    assert (code, err) == (2, "error: names.txt: holds 999 class names, not 1000, one a line\n")
    assert load_model("m.safetensors", ("classification",)).class_names == tuple(NAMES), "the file before stays"


def test_safetensors_to_safetensors_changes_nothing(convert):
    save_model(Model(ImageClassifier(2), ClassifierConfig(size=64), ("a", "b"), {"top1": 0.5}), "a.safetensors")
    assert convert("a.safetensors", "b.safetensors")[:2] == (0, "b.safetensors: 2 classes, 12.0 MB\n")
    ours, theirs = load_file("a.safetensors"), load_file("b.safetensors")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert load_model("b.safetensors", ("classification",)).metadata == {"top1": 0.5}


@pytest.mark.parametrize("backbone", ["googlenet_bn", "torchvision/resnet18"])
def test_other_networks_have_no_place_in_caffes_layout(convert, backbone: str):
    save_model(Model(ImageClassifier(2, backbone), ClassifierConfig(backbone), ("a", "b"), {}), "a.safetensors")
    assert convert("a.safetensors", "b.safetensors").code == 0
    code, _, err = convert("a.safetensors", "w.npz")
    assert (code, err.startswith("error: a.safetensors: "), err.count("\n")) == (2, True, 1)
    assert not Path("w.npz").exists()
