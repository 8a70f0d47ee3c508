"""Runs resume after Ctrl-C, a kill or a full disk."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from detector.errors import InputError
from detector.runner.results import ResultFiles
from detector.runner.run import STORE
from detector.storage import run_store
from detector.structures.selection import Selection
from tests.detector.run_tools import ALL, RuleDetector, Stop, files, frames_of, stop_at


@pytest.mark.parametrize("error", [KeyboardInterrupt, Stop])
def test_an_interrupted_run_resumes(runs, error):
    """The results are those of a run in one go; nothing that was done is done again, but the video that was not."""
    arguments = ("a/x.jpg", "clip.avi", "b")
    assert runs(*arguments, files=ALL) == 0
    whole = {path: Path("r", path).read_bytes() for path in files("r") if "json" not in path}
    entries = json.loads(Path("r/f.json").read_text())
    pictures = files("out")
    shutil.rmtree("r")
    shutil.rmtree("out")
    runs.detector.before = stop_at("clip.avi#4", error)
    with pytest.raises(error):
        runs(*arguments, files=ALL)
    assert len(frames_of("out/clip.mp4")) == 4, "what was done can be played"
    assert [entry["image"] for entry in json.loads(Path("r/f.json").read_text())][-1] == "clip.avi#3"
    assert files("out") == ["clip.mp4", STORE, "x.jpg"]

    runs.detector = RuleDetector()
    assert runs(*arguments, files=ALL, resume=True) == 0
    assert runs.told.results[0] == "1 of 4 are done already"
    assert runs.detector.seen == [f"clip.avi#{index}" for index in range(10)] + ["b/x.jpg", "b/y.png"]
    assert files("out") == pictures
    assert len(frames_of("out/clip.mp4")) == 10
    assert {path: Path("r", path).read_bytes() for path in files("r") if "json" not in path} == whole
    again = json.loads(Path("r/f.json").read_text())
    assert again[0].pop("classes") == entries[0].pop("classes")
    assert [json.loads(line) for line in Path("r/f.jsonl").read_text().splitlines()] == again
    for entry in (*entries, *again):
        del entry["seconds"]
    assert again == entries


def test_an_interrupted_run_is_not_overwritten_nor_mixed_with_another(runs):
    runs.detector.before = stop_at("b/y.png")
    with pytest.raises(KeyboardInterrupt):
        runs("b")
    runs.detector.before = lambda name: None
    with pytest.raises(InputError, match=r"^--out out: .*--resume .*--overwrite"):
        runs("a")
    with pytest.raises(InputError, match=r"\(score was 0.5, is 0.6\)"):
        runs("b", selection=Selection(score=0.6), resume=True)
    with pytest.raises(InputError, match="give one of them"):
        runs("b", resume=True, overwrite=True)
    assert runs("b", selection=Selection(score=0.6), overwrite=True) == 0
    assert files("out") == ["x.jpg", "y.png"]


def test_resume_finds_the_folder_of_the_interrupted_run(runs, monkeypatch):
    assert runs("b/y.png", out=None) == 0
    runs.detector.before = stop_at("b/y.png")
    with pytest.raises(KeyboardInterrupt):
        runs("b", out=None)
    assert files("runs") == ["detect-2/unfinished.jsonl", "detect-2/x.jpg", "detect/y.png"]
    runs.detector.before = lambda name: None
    assert runs("b", out=None, resume=True) == 0
    assert runs.detector.seen == ["b/y.png", "b/x.jpg", "b/y.png"]
    assert files("runs") == ["detect-2/x.jpg", "detect-2/y.png", "detect/y.png"]
    assert runs("a", out=None, resume=True) == 0, "without an interrupted run, it starts a new one"
    assert files("runs/detect-3") == ["x.jpg"]


def test_what_is_no_longer_asked_for_is_left_out(runs):
    runs.detector.before = stop_at("b/y.png")
    with pytest.raises(KeyboardInterrupt):
        runs("a/x.jpg", "b", files=ResultFiles(csv=Path("f.csv")))
    runs.detector.before = lambda name: None
    assert runs("b", files=ResultFiles(csv=Path("f.csv")), resume=True) == 0
    assert {row.split(",")[0] for row in Path("f.csv").read_text().splitlines()[1:]} == {"b/x.jpg", "b/y.png"}


def test_a_full_disk_ends_the_run_which_can_resume(runs, monkeypatch):
    """The run stops with one line, because results that cannot be stored would be lost."""
    original = run_store._line
    left = 4  # the header, two lines of the first photo, one of the second

    def full(record: dict[str, Any]) -> bytes:
        nonlocal left
        if left == 0:
            raise OSError(28, "No space left on device")
        left -= 1
        return original(record)

    with monkeypatch.context() as patch:
        patch.setattr(run_store, "_line", full)
        assert runs("b", "a/x.jpg", files=ResultFiles(json=Path("f.json"))) == 1
    (line,) = runs.told.errors
    for fact in (f"error: out/{STORE}: ", "No space left on device", "1 of 3", "--resume"):
        assert fact in line
    assert [entry["image"] for entry in json.loads(Path("f.json").read_text())] == ["b/x.jpg", "b/y.png"]
    assert runs("b", "a/x.jpg", files=ResultFiles(json=Path("f.json")), resume=True) == 0
    assert runs.detector.seen[2:] == ["b/y.png", "a/x.jpg"]


def test_a_result_that_cannot_be_written_at_the_end(runs, monkeypatch):
    """The others are written, and what was found stays for --resume."""

    def full(path: Path, entries: object) -> None:
        raise InputError(f"{path}: cannot be written (No space left on device)")

    with monkeypatch.context() as patch:
        patch.setattr("detector.data.predictions.write_json_lines", full)
        assert runs("a", files=ALL) == 1
    assert runs.told.errors == ["error: r/f.json: cannot be written (No space left on device)"]
    assert files("r/yolo") == ["data.yaml", "x.txt"]
    assert runs("a", files=ALL, resume=True) == 0
    assert runs.detector.seen == ["a/x.jpg"]
    assert len(json.loads(Path("r/f.json").read_text())) == 1
    assert files("out") == ["x.jpg"]
