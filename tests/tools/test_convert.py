"""The command `convert`: classification weights from one format to another and back."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from detector.cli import main
from detector.config import ClassifierConfig
from detector.models.caffe import save_caffe_arrays
from detector.models.classifier import ImageClassifier
from detector.models.files import DEFAULT_MODEL
from detector.models.weights import Model, load_model, save_model

Run = Callable[..., tuple[int, str, str]]
NAMES = [f"n{i:08} class {i}" for i in range(1000)]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """BVLC's layout with random weights, auxiliary heads included."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("source") / "w.npz"
    save_caffe_arrays(ImageClassifier(auxiliary=True), path)
    return path


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("detector.cli.keep_freed_memory", lambda: None)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stopped:
            main(["convert", *map(str, arguments)])
        return int(stopped.value.code or 0), *capsys.readouterr()

    return run


def test_there_and_back(run: Run, source: Path):
    """From .npz to .safetensors and back to the same numbers; the auxiliary heads, which only train, are left out."""
    assert run(source, "m.safetensors") == (0, "m.safetensors: 1000 classes, 14.0 MB\n", "")
    model = load_model("m.safetensors", ("classification",))
    assert model.class_names[:2] == ("tench", "goldfish")
    assert model.config == ClassifierConfig()
    assert model.metadata == {"weights": "w.npz"}

    code, out, err = run("m.safetensors", "back/w.npz")
    assert (code, out, err) == (0, "back/w.npz: 1000 classes, 14.0 MB\n", "")
    before, after = np.load(source), np.load("back/w.npz")
    assert set(after.files) == {name for name in before.files if not name.startswith(("loss1/", "loss2/"))}
    for name in after.files:
        np.testing.assert_array_equal(after[name], before[name], err_msg=name, strict=True)
    assert sorted(p.name for p in Path("back").iterdir()) == ["w.npz"]


def test_class_names(run: Run, source: Path):
    Path("names.txt").write_text("\n".join(NAMES))
    assert run(source, "m.safetensors", "--labels", "names.txt")[0] == 0
    assert load_model("m.safetensors", ("classification",)).class_names == tuple(NAMES)
    Path("names.txt").write_text("\n".join(NAMES[1:]))
    code, _, err = run(source, "m.safetensors", "--labels", "names.txt")
    assert (code, err) == (2, "error: names.txt: holds 999 class names, not 1000, one a line\n")
    assert load_model("m.safetensors", ("classification",)).class_names == tuple(NAMES), "the file before stays"


def test_safetensors_to_safetensors_changes_nothing(run: Run):
    save_model(Model(ImageClassifier(2), ClassifierConfig(size=64), ("a", "b"), {"top1": 0.5}), "a.safetensors")
    assert run("a.safetensors", "b.safetensors")[:2] == (0, "b.safetensors: 2 classes, 12.0 MB\n")
    ours, theirs = load_file("a.safetensors"), load_file("b.safetensors")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert load_model("b.safetensors", ("classification",)).metadata == {"top1": 0.5}


@pytest.mark.parametrize("backbone", ["googlenet_bn", "torchvision/resnet18"])
def test_other_networks_have_no_place_in_caffes_layout(run: Run, backbone: str):
    save_model(Model(ImageClassifier(2, backbone), ClassifierConfig(backbone), ("a", "b"), {}), "a.safetensors")
    assert run("a.safetensors", "b.safetensors")[0] == 0
    code, out, err = run("a.safetensors", "w.npz")
    assert (code, out) == (2, "")
    assert err.startswith("error: a.safetensors: ")
    assert err.count("\n") == 1
    assert not Path("w.npz").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("none.npz", "m.safetensors"), "none.npz: no such weights file"),
        (("none.safetensors", "w.npz"), "none.safetensors: no such model file"),
        (("none.npz", "m.pt"), "m.pt: give a name that ends in .safetensors or .npz"),
        (("none.npz", "m.caffemodel"), "m.caffemodel: give a name that ends in .safetensors or .npz"),
        (("none.npz", "file/m.npz"), "TARGET file/m.npz: file is not a folder"),
        ((DEFAULT_MODEL, "w.npz"), f"{DEFAULT_MODEL}: a model for regions; one for classification is needed here"),
        (("file", "w.npz"), "file: not a readable .caffemodel"),
    ],
)
def test_wrong_arguments_are_one_line(run: Run, arguments: tuple[object, ...], message: str):
    Path("file").write_bytes(b"\x12\xff")
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {message}")
    assert err.count("\n") == 1
    assert sorted(p.name for p in Path().iterdir()) == ["file"]
