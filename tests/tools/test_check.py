"""`detector check`: what it prints and writes."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.tools.detect_tools import Command


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """The package's photo of a cat, labeled as a dog, and a photo of noise, in YOLO's layout."""
    folder = tmp_path / "photos"
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    (folder / "data.yaml").write_text("train: images\nval: images\nnames: [dog, cat, drone]\n")
    Image.open("tests/photos/cat.jpg").save(folder / "images/cat.png")
    (folder / "labels/cat.txt").write_text("0 0.473 0.503 0.921 0.986\n")
    noise = np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)
    Image.fromarray(noise).save(folder / "images/noise.png")
    (folder / "labels/noise.txt").write_text("2 0.5 0.5 0.5 0.5\n")
    return folder


def test_a_wrong_class_is_found_and_unknown_classes_are_named(photos: Path, tmp_path: Path, command: Command):
    out, sheet = tmp_path / "faults.jsonl", tmp_path / "faults.jpg"
    ran = command("check", "--data", photos, "--model", "voc07", "--out", out, "--sheet", sheet, "--device", "cpu")
    assert ran.code == 0
    first = json.loads(out.read_text().splitlines()[0])
    assert (first["file"], first["kind"], first["label"], first["detected"]) == (
        "images/cat.png", "wrong class", "dog", "cat",
    )  # fmt: skip
    assert first["suspicion"] > 0.5
    assert "drone" in ran.out  # not judged
    assert Image.open(sheet).width > 700


def test_a_photo_that_cannot_be_read(photos: Path, tmp_path: Path, command: Command):
    """The others are checked; the exit code tells."""
    whole = (photos / "images/noise.png").read_bytes()
    (photos / "images/noise.png").write_bytes(whole[:4000])
    ran = command("check", "--data", photos, "--model", "voc07", "--out", tmp_path / "faults.jsonl", "--device", "cpu")
    assert ran.code == 2
    assert "noise.png" in ran.err
    assert "cat.png" in (tmp_path / "faults.jsonl").read_text()
