"""`train --data`: what it prints, and photos and labels that are left out. Recipes are in tests/detector/training."""

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from detector.config import InputConfig, ModelConfig
from detector.models.rfcn import RFCN
from detector.models.weights import Model, save_model
from detector.storage.run_lock import run_lock


@pytest.fixture
def data(tmp_path: Path) -> Path:
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
def train(data: Path, tmp_path: Path, command):
    """Runs `detector train --data` into the folder `my run`, on the CPU from small weights."""
    torch.manual_seed(0)
    config = ModelConfig(input=InputConfig(short_side=64))
    save_model(Model(RFCN(1, config.network), config, ("cat",), {}), tmp_path / "start.safetensors")
    start = ("--init", tmp_path / "start.safetensors", "--device", "cpu")
    return lambda *options: command(
        "train", "--data", data, "--epochs", 1, "--out", tmp_path / "my run", *start, *options
    )


def test_one_command_ends_with_the_line_that_uses_the_model(train, data: Path, tmp_path: Path, command):
    code, output, _ = train()
    assert code == 0
    for start in ("data ", "photos ", "boxes ", "validation ", "pretrained   cat", "mAP ", "hits, misses ", "model "):
        assert re.search(f"^{start}", output, re.MULTILINE), start
    line = shlex.split(output.splitlines()[-1].removeprefix("try it "))
    assert line[:2] == ["detector", "detect"]
    ended = command(*line[1:], "--out", tmp_path / "found", "--device", "cpu")
    assert (ended.code, "-> " in ended.out) == (0, True)
    # The same photos, so the same figure.
    ended = command("evaluate", "--data", data, "--model", tmp_path / "my run", "--device", "cpu")
    assert ended.code == 0
    figures = [*re.findall(r"^mAP +([\d.]+) on", output, re.M), *re.findall(r"^mAP .* ([\d.]+)$", ended.out, re.M)]
    assert figures[0] == figures[1]
    assert (tmp_path / "my run/sheet.jpg").exists()
    assert (tmp_path / "my run/train.log").exists()


def test_photos_without_labels(train, data: Path, tmp_path: Path):
    """Two of four: one is among the labeled photos, another damaged."""
    more = tmp_path / "more"
    more.mkdir()
    for number in range(5, 8):
        pixels = np.random.default_rng(number).integers(90, 150, (64, 96, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(more / f"{number}.png")
    shutil.copy(data / "images/0.png", more / "same.png")
    broken = more / "5.png"
    broken.write_bytes(broken.read_bytes()[:9000])
    code, output, error = train("--unlabeled", more)
    assert code == 2
    assert re.search("^unlabeled +2 photos", output, re.MULTILINE)
    assert f"1 of the 4 photos in {more} are left out" in output
    assert f"left out     {broken}: " in output
    assert error.splitlines()[-1].startswith(f"error: 1 photo was left out: {broken}: ")
    (more / "6.png").unlink()
    for options in (("--unlabeled", more), ()):
        code, _, error = train(*options, "--resume")
        assert code == 2
        assert "holds a training on other data" in error


def test_broken_photos_and_bad_labels(train, data: Path):
    """Labels stop the training unless they are to be skipped; photos are told at the end."""
    broken = data / "images/3.png"
    broken.write_bytes(broken.read_bytes()[:9000])
    (data / "labels/2.txt").write_text("0 0.5 0.5 0 0.5\n0 0.5 0.5 0.5 0.5\n")
    code, _, error = train()
    assert code == 2
    assert "labels/2.txt: line 1: fields w h are 0 0.5" in error
    assert "--skip-bad-labels" in error
    code, output, error = train("--skip-bad-labels")
    assert code == 2
    assert "1 label is wrong and left out" in output
    assert "try it " in output
    last = error.splitlines()[-1]
    assert last.startswith(f"error: 1 photo was left out: {broken}: ")
    assert "truncated" in last


def test_a_folder_in_which_a_run_is_writing(train, tmp_path: Path):
    with run_lock(tmp_path / "my run"):
        code, output, error = train()
    assert (code, output) == (2, "")
    assert error.startswith(f"error: {tmp_path / 'my run'}: another run is writing there")
