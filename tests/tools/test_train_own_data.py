"""`train --data`: what it prints, and what is wrong in one line."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from detector.cli import main
from detector.config import InputConfig, ModelConfig
from detector.models.rfcn import RFCN
from detector.models.weights import Model, save_model
from detector.storage.run_lock import run_lock


@pytest.fixture(autouse=True)
def leave_this_process_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detector.cli.keep_freed_memory", lambda: None)
    monkeypatch.setattr("detector.training.convolutions.keep_prepared_convolutions", lambda: None)


@pytest.fixture
def init(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    config = ModelConfig(input=InputConfig(short_side=64))
    save_model(Model(RFCN(1, config.network), config, ("cat",), {}), tmp_path / "start.safetensors")
    return tmp_path / "start.safetensors"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Five photos of a cat in YOLO's layout."""
    root = tmp_path / "my photos"
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
    (root / "data.yaml").write_text("train: images\nval: images\nnames: [cat]\n")
    for number in range(5):
        pixels = np.random.default_rng(number).integers(90, 150, (64, 96, 3), dtype=np.uint8)
        pixels[16:48, 24:72] = (220, 30, 30)
        Image.fromarray(pixels).save(root / f"images/{number}.png")
        (root / f"labels/{number}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    return root


@pytest.fixture
def train(capfd: pytest.CaptureFixture[str], init: Path, tmp_path: Path) -> Callable[..., tuple[int, str, str]]:
    """Runs `detector train` on the CPU from small weights; gives exit code, output and errors."""

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stopped:
            main(["train", *map(str, arguments), "--init", str(init), "--device", "cpu"])
        captured = capfd.readouterr()
        return int(stopped.value.code or 0), captured.out, captured.err

    return run


def test_one_command_ends_with_the_line_that_uses_the_model(
    photos: Path, train: Callable[..., tuple[int, str, str]], tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    code, output, _ = train("--data", photos, "--epochs", 1, "--out", tmp_path / "my run")
    assert code == 0
    for start in ("data ", "photos ", "boxes ", "validation ", "pretrained   cat", "mAP ", "hits, misses ", "model "):
        assert re.search(f"^{start}", output, re.MULTILINE), start
    command = shlex.split(output.splitlines()[-1].removeprefix("try it "))
    assert command[:2] == ["detector", "detect"]
    with pytest.raises(SystemExit) as stopped:
        main([*command[1:], "--out", str(tmp_path / "found"), "--device", "cpu"])
    assert not stopped.value.code
    assert "-> " in capfd.readouterr().out
    assert (tmp_path / "my run/sheet.jpg").exists()
    # The same photos, so the same figure.
    with pytest.raises(SystemExit) as stopped:
        main(["evaluate", "--data", str(photos), "--model", str(tmp_path / "my run"), "--device", "cpu"])
    assert not stopped.value.code
    (trained,) = re.findall(r"^mAP +([\d.]+) on", output, re.MULTILINE)
    (evaluated,) = re.findall(r"^mAP .* ([\d.]+)$", capfd.readouterr().out, re.MULTILINE)
    assert evaluated == trained
    assert (tmp_path / "my run/train.log").exists()


def test_photos_left_out_are_told_at_the_end(photos: Path, train: Callable[..., tuple[int, str, str]], tmp_path: Path):
    broken = photos / "images/3.png"
    broken.write_bytes(broken.read_bytes()[:9000])
    code, output, error = train("--data", photos, "--epochs", 1, "--out", tmp_path / "run")
    assert code == 2
    last = error.splitlines()[-1]
    assert last.startswith(f"error: 1 photo was left out: {broken}: ")
    assert "truncated" in last
    assert "try it " in output


def test_bad_labels(photos: Path, train: Callable[..., tuple[int, str, str]], tmp_path: Path):
    (photos / "labels/3.txt").write_text("0 0.5 0.5 0 0.5\n0 0.5 0.5 0.5 0.5\n")
    arguments = ("--data", photos, "--epochs", 1, "--out", tmp_path / "run")
    code, _, error = train(*arguments)
    assert code == 2
    assert "labels/3.txt: line 1: fields w h are 0 0.5" in error
    assert "--skip-bad-labels" in error
    code, output, _ = train(*arguments, "--skip-bad-labels")
    assert code == 0
    assert "1 label is wrong and left out" in output


def test_wrong_uses(photos: Path, train: Callable[..., tuple[int, str, str]], tmp_path: Path):
    out = tmp_path / "run"
    data = ("--data", photos, "--out", out)
    with run_lock(out):
        code, output, error = train(*data)
        assert (code, output) == (2, "")
        assert error.startswith(f"error: {out}: another run is writing there")
    for arguments, message in (
        ((), "give a recipe with --root, or --data"),
        (("r.yaml", *data), "give a recipe with --root, or --data"),
        ((*data, "--root", photos), "--root "),
        (("r.yaml", "--root", photos, "--classes", "cat"), "--classes "),
        (("r.yaml", "--root", photos, "--skip-bad-labels"), "--skip-bad-labels "),
        (("r.yaml",), "a recipe needs --root"),
        ((*data, "--epochs", "many"), "--epochs"),
        ((*data, "--epochs", "0"), "--epochs"),
        ((*data, "--lr", "0"), "lr: "),
        (("r.yaml", "--root", photos, "--size", "64"), "--size "),
        ((*data, "--classes", "dog"), "class 'dog' is unknown; known are cat"),
        ((*data, "--layout", "coco"), "holds no labels of COCO"),
        (("--data", tmp_path / "none"), "none: no such file or folder"),
    ):
        code, _, error = train(*arguments)
        assert (code, error.count("\n")) == (2, 1), error
        assert error.startswith("error: ")
        assert message in error
