"""The commands `detect` and `evaluate` and the benchmark on a GPU; skipped without one."""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from benchmarks.detection import benchmark_throughput
from benchmarks.measuring import default_photo
from PIL import Image as PillowImage

from detector.cli import main

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")]


def command(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main([*map(str, arguments)])
    return int(caught.value.code or 0)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("options", [(), ("--device", "cuda"), ("--device", "cuda", "--batch", 1), ("--batch", 2)])
def test_detect(options: tuple[object, ...], photos: Path, folder: Path, capsys: pytest.CaptureFixture[str]):
    (folder / "broken.jpg").write_bytes(b"no photo")
    files = [photos / "cat.jpg", "broken.jpg", photos / "astronaut.jpg"]
    assert command("detect", *files, "--json", "found.json", *options) == 2
    captured = capsys.readouterr()
    assert "broken.jpg" in captured.err
    assert "1 of 3 sources failed" in captured.err
    cat, astronaut = json.loads((folder / "found.json").read_text())
    assert cat["detections"][0]["label"] == "cat"
    assert cat["detections"][0]["score"] > 0.8
    assert "person" in {one["label"] for one in astronaut["detections"]}
    assert sorted(path.name for path in (folder / "runs/detect").iterdir()) == ["astronaut.jpg", "cat.jpg"]


@pytest.mark.parametrize("batch", [1, 4])
def test_a_video(batch: int, photos: Path, folder: Path):
    cat = np.array(PillowImage.open(photos / "cat.jpg").resize((300, 200)))
    writer = cv2.VideoWriter("cat.avi", cv2.VideoWriter.fourcc(*"MJPG"), 5, (300, 200))
    for _ in range(10):
        writer.write(np.ascontiguousarray(cat[:, :, ::-1]))
    writer.release()
    assert command("detect", "cat.avi", "--device", "cuda", "--batch", batch, "--json", "found.json") == 0
    frames = json.loads((folder / "found.json").read_text())
    assert [one["frame"] for one in frames] == list(range(10))
    assert all(one["detections"][0]["label"] == "cat" for one in frames)


@pytest.mark.parametrize("options", [(), ("--batch", 1), ("--batch", 2, "--report", "why.html")])
def test_evaluate(options: tuple[object, ...], photos: Path, make_voc: Callable[..., Path], folder: Path):
    root = make_voc({"1": [("cat", (13, 9, 428, 296), 0)], "2": [("cat", (13, 9, 428, 296), 0)], "3": []}, (451, 300))
    for name in "12":
        (root / f"JPEGImages/{name}.jpg").write_bytes((photos / "cat.jpg").read_bytes())
    assert command("evaluate", "--root", root, "--split", "val", "--json", "result.json", *options) == 0
    result = json.loads((folder / "result.json").read_text())
    assert result["mAP"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--engine", "onnx", "--device", "cuda"), "engine onnx runs on the CPU; give device cpu, or engine torch"),
        (("--device", "cuda:99"), "device 'cuda:99': PyTorch finds"),
    ],
)
def test_a_device_that_cannot_be_used(options: tuple[str, ...], message: str, photos: Path, folder: Path, capsys):
    assert command("detect", photos / "cat.jpg", *options) == 2
    assert f"error: {message}" in capsys.readouterr().err


def test_images_a_second():
    report = benchmark_throughput(default_photo(), "cuda", None, 1, 4, True, batches=(1, 2))
    assert len(report.tasks) == len(report.peak_memory) == 8
    assert min(report.peak_memory.values()) > 0
    assert torch.cuda.get_device_name() in str(report.subject["device"])
