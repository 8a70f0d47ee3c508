"""Runs over photos and videos: pictures, what is told, and what goes wrong with one source."""

import json
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from detector.errors import InputError
from detector.runner.results import ResultFiles
from detector.runner.run import DetectionRun, RunOutput
from detector.runner.sources import Source
from detector.runner.video import Video
from detector.structures.selection import Selection
from tests.detector.run_tools import files, frames_of, make_clip, stop_at


def test_an_annotated_video(runs):
    """Every frame is drawn on, and plays at the pace of the original, also with a step."""
    assert runs("clip.avi") == 0
    (line,) = runs.told.results
    assert line.startswith("clip.avi: 20 objects (cat 10, traffic light 10) in 10 frames, ")
    assert line.endswith(" s -> out/clip.mp4")
    assert runs.told.totals == [None, 10]
    before, after = frames_of("clip.avi"), frames_of("out/clip.mp4")
    assert len(after) == 10
    for original, annotated in zip(before, after, strict=True):
        different = np.abs(original.astype(int) - annotated).max(axis=2) > 60
        assert 0.05 < different.mean() < 0.6, "boxes and labels"
    assert runs("clip.avi", step=3, out="slow") == 0
    with Video(Path("slow/clip.mp4")).open() as reader:
        assert reader.frame_rate == pytest.approx(5 / 3, rel=0.01)
        assert reader.frame_count == 4


def test_without_pictures(runs):
    assert runs("a/x.jpg", "clip.avi", files=ResultFiles(json=Path("f.json")), draw=False) == 0
    assert files("out") == []
    assert len(json.loads(Path("f.json").read_text())) == 11
    assert not any("->" in line for line in runs.told.results)


def test_a_damaged_video_keeps_its_results_and_the_run_continues(runs):
    make_clip("cut.avi", 60)
    content = Path("cut.avi").read_bytes()
    Path("cut.avi").write_bytes(content[: len(content) * 2 // 3])
    Path("text.mp4").write_text("no video")
    assert runs("cut.avi", "text.mp4", "a/x.jpg", "97", files=ResultFiles(json=Path("f.json"))) == 3
    cut, text, camera = runs.told.errors
    assert cut.startswith("error: cut.avi: damaged or cut short: ")
    assert text.startswith("error: text.mp4: damaged, or not a video in a known format")
    assert camera.startswith("error: camera 97: cannot be opened")
    names = [entry["image"] for entry in json.loads(Path("f.json").read_text())]
    assert 20 <= len(names) - 1 <= 50
    assert names[-1] == "a/x.jpg"
    assert len(frames_of("out/cut.mp4")) == len(names) - 1
    assert files("out") == ["cut.mp4", "x.jpg"]


@pytest.mark.parametrize(
    ("existing", "changes", "output"),
    [
        ("f.csv", {"files": ResultFiles(csv=Path("f.csv"))}, "--csv f.csv"),
        ("y/x.txt", {"files": ResultFiles(yolo=Path("y"))}, "--yolo y"),
        ("c/cat/x.jpg", {"files": ResultFiles(crops=Path("c"))}, "--crops c"),
        ("out/x.jpg", {}, "out/x.jpg"),
    ],
)
def test_nothing_is_overwritten_without_being_asked(runs, existing, changes, output):
    Path(existing).parent.mkdir(parents=True, exist_ok=True)
    Path(existing).write_text("old")
    with pytest.raises(InputError, match=f"^{output}: .*--overwrite"):
        runs("a/x.jpg", **changes)
    assert (Path(existing).read_text(), runs.detector.seen) == ("old", [])
    assert runs("a/x.jpg", **changes, overwrite=True) == 0
    assert files("out") == ["x.jpg"]


def test_a_complete_run_cannot_resume(runs):
    assert runs("a/x.jpg", files=ResultFiles(json=Path("f.json"))) == 0
    for changes, taken in (({"files": ResultFiles(json=Path("f.json"))}, "--json f.json"), ({}, "out/x.jpg")):
        with pytest.raises(InputError, match=rf"^{taken}: .*\(--resume: out has no interrupted run\)$"):
            runs("a/x.jpg", **changes, resume=True)


def test_a_video_that_cannot_be_written_is_processed_to_its_end(runs, monkeypatch):
    count = 0

    def usage(path: Path) -> Any:
        nonlocal count
        count += 1
        return type("usage", (), {"free": 1e9 if count <= 3 else 0})

    monkeypatch.setattr("shutil.disk_usage", usage)
    assert runs("clip.avi", files=ResultFiles(json=Path("f.json"))) == 1
    assert runs.told.errors == ["error: out/clip.mp4: cannot be written (No space left on device)"]
    assert len(json.loads(Path("f.json").read_text())) == 10
    assert len(frames_of("out/clip.mp4")) == 3


def test_ctrl_c_is_how_a_camera_ends(runs, monkeypatch):
    opened = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", lambda name, *more: opened("clip.avi" if name == 0 else name))
    runs.detector.before = stop_at("camera0#6")
    assert runs("0", "a/x.jpg", files=ResultFiles(json=Path("f.json"))) == 0
    assert "camera0#5: cat 0.90 at (0.0, 0.0, 32.0, 48.0)" in runs.told.results
    assert len(json.loads(Path("f.json").read_text())) == 7
    assert files("out") == ["camera0.mp4", "x.jpg"]


def test_memory_stays_flat(runs):
    """Results are on disk only: the run holds no entry."""
    make_clip("long.avi", 150)
    held: list[int] = []
    output = RunOutput.choose(Path("out"), ResultFiles(jsonl=Path("f.jsonl")), [Video(Path("long.avi"))])
    run = DetectionRun(runs.detector, Selection(), output, runs.told)
    runs.detector.seen = []

    def measure(name: str) -> None:
        held.append(tracemalloc.get_traced_memory()[0])
        runs.detector.seen.clear()

    runs.detector.before = measure
    tracemalloc.start()
    try:
        assert run([Video(Path("long.avi"))]) == 0
    finally:
        tracemalloc.stop()
    assert len(held) == 150
    assert max(held[75:]) - max(held[25:75]) < 20_000, "a frame has 9,216 bytes, its entry 500"


def test_an_unknown_class_is_refused_before_anything_is_written(runs):
    with pytest.raises(InputError, match="class 'lion' is unknown"):
        runs("a/x.jpg", selection=Selection(classes=("lion",)))
    assert files("out") == []


def test_sources_of_a_zip(runs):

    with zipfile.ZipFile("photos.zip", "w") as archive:
        archive.write("a/x.jpg")
        archive.write("b/x.jpg")
        archive.writestr("b/z.jpg", b"broken")
    assert runs("photos.zip", files=ResultFiles(json=Path("f.json"))) == 1
    assert runs.told.errors[0].startswith("error: photos.zip/b/z.jpg: not a photo in a known format")
    assert [one["image"] for one in json.loads(Path("f.json").read_text())] == [
        "photos.zip/a/x.jpg",
        "photos.zip/b/x.jpg",
    ]
    assert files("out") == ["x-2.jpg", "x.jpg"]
    assert Source(Path("photos.zip"), "a/x.jpg").name == "photos.zip/a/x.jpg"
