"""The installed command on shipped photos with the shipped model: nothing is replaced here."""

import json
import os
import platform
import subprocess
import sysconfig
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage
from torchvision.ops import box_iou

from detector import Detections, load_detector
from detector.models.weights import load_model
from detector.runner.video import Video, VideoWriter
from detector.structures.image import read_image

COMMAND = Path(sysconfig.get_path("scripts")) / "detector"
# extents in the photos, measured by hand
CAT = (0, 5, 451, 300)
ASTRONAUT = (25, 12, 370, 512)


def iou(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    return float(box_iou(torch.tensor([a]), torch.tensor([b])))


@pytest.fixture(scope="module")
def detector():
    return load_detector(device="cpu")


def test_installed_command_finds_the_cat_and_the_astronaut(photos: Path, tmp_path: Path):
    found = tmp_path / "found.json"
    run = subprocess.run(
        [COMMAND, "detect", photos / "cat.jpg", photos / "astronaut.jpg", "--json", found, "--out", tmp_path / "out"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    cat, astronaut = json.loads(found.read_text())
    assert (cat["width"], cat["height"]) == (451, 300)
    best = cat["detections"][0]
    assert best["label"] == "cat"
    assert best["score"] > 0.7
    assert iou(best["box"], CAT) > 0.8
    assert {d["label"] for d in cat["detections"]} == {"cat"}
    best = astronaut["detections"][0]
    assert best["label"] == "person"
    assert iou(best["box"], ASTRONAUT) > 0.8
    assert "cat.jpg: cat 0." in run.stdout
    drawn = np.asarray(PillowImage.open(tmp_path / "out/cat.jpg"), dtype=int)
    difference = np.abs(drawn - np.asarray(PillowImage.open(photos / "cat.jpg"), dtype=int)).max(axis=2)
    assert 0.003 < (difference > 60).mean() < 0.3  # a box and its label, not another picture


def test_installed_command_on_a_video(photos: Path, tmp_path: Path):
    """The cat runs out of the picture to the right; the video of it can be played."""
    cat = np.asarray(PillowImage.open(photos / "cat.jpg").convert("RGB"))[:, :450]
    with VideoWriter(tmp_path / "clip.mp4", 10) as writer:
        for shift in (0, 0, 40, 40, 80, 80):
            writer.write(np.roll(cat, shift, axis=1))
    lines = tmp_path / "found.jsonl"
    options = ["--frame-step", "2", "--classes", "cat", "--jsonl", lines, "--out", tmp_path / "out", "--device", "cpu"]
    run = subprocess.run(
        [COMMAND, "detect", tmp_path / "clip.mp4", *options], capture_output=True, text=True, timeout=300, check=False
    )
    assert (run.returncode, run.stderr) == (0, "")
    entries = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [(entry["frame"], entry["time"]) for entry in entries] == [(0, 0), (2, 0.2), (4, 0.4)]
    for shift, entry in zip((0, 40, 80), entries, strict=True):
        x1, y1, x2, y2 = entry["detections"][0]["box"]
        assert iou((x1, y1, x2, y2), (CAT[0] + shift, CAT[1], 450, CAT[3])) > 0.7
    with Video(tmp_path / "out/clip.mp4").open() as reader:
        assert (reader.frame_count, reader.frame_rate) == (3, 5)


def test_mirrored_photo_has_mirrored_detections(detector, photos: Path):
    pixels = read_image(photos / "cat.jpg").pixels
    plain, mirrored = detector(pixels, channels="RGB"), detector(pixels[:, ::-1], channels="RGB")
    x1, y1, x2, y2 = mirrored.boxes[0].tolist()
    assert mirrored.labels[0] == plain.labels[0]
    assert iou((451 - x2, y1, 451 - x1, y2), tuple(plain.boxes[0].tolist())) > 0.8


def test_every_kind_of_input_gives_the_same(detector, photos: Path):
    pixels = read_image(photos / "cat.jpg").pixels
    kinds = [
        detector(photos / "cat.jpg"),
        detector(PillowImage.open(photos / "cat.jpg")),
        detector(pixels, channels="RGB"),
        detector(pixels[:, :, ::-1], channels="BGR"),
        detector(torch.from_numpy(pixels.copy()).permute(2, 0, 1)),
        *detector([str(photos / "cat.jpg")]),
    ]
    for other in kinds[1:]:
        assert isinstance(other, Detections)
        np.testing.assert_array_equal(other.boxes, kinds[0].boxes)
        np.testing.assert_array_equal(other.scores, kinds[0].scores)


def test_repeated_detection_is_the_same(detector, photos: Path):
    first, second = (detector(photos / "astronaut.jpg", score=0.05) for _ in range(2))
    np.testing.assert_array_equal(first.boxes, second.boxes)
    np.testing.assert_array_equal(first.scores, second.scores)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 4000), (3000, 2), (31, 33)])
def test_odd_sizes_are_detected_on(detector, width: int, height: int):
    found = detector(np.full((height, width, 3), 90, dtype=np.uint8), channels="RGB", score=0.0)
    assert found.image_size == (width, height)


def test_shipped_model_says_what_it_is():
    model = load_model()
    assert len(model.class_names) == 20
    assert model.metadata["mAP"] > 0.5
    assert {"recipe", "steps", "split", "images", "metric"} <= model.metadata.keys()


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="these instructions are of x86 processors")
def test_an_older_processor_gives_the_same_detections(photos: Path, tmp_path: Path, detector):
    """Without AVX512, AMX and fast bfloat16: as PyTorch, oneDNN and Numba run on a processor of 2013."""
    limits = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "NUMBA_CPU_NAME": "haswell"}
    run = subprocess.run(
        [COMMAND, "detect", photos / "cat.jpg", "--json", tmp_path / "found.json", "--no-draw", "--device", "cpu"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, **limits, "NUMBA_CACHE_DIR": str(tmp_path / "numba")},
    )
    assert run.returncode == 0, run.stderr
    (entry,) = json.loads((tmp_path / "found.json").read_text())
    expected = detector(photos / "cat.jpg")
    assert [one["label"] for one in entry["detections"]] == [one.label for one in expected]
    for found, before in zip(entry["detections"], expected, strict=True):
        assert found["score"] == pytest.approx(before.score, abs=0.03)
        assert iou(found["box"], before.box) > 0.95
