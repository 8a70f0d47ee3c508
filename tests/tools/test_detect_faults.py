"""The command `detect` with broken photos, models and disks, and interrupted; its detector answers by rule."""

import json
import sys
from pathlib import Path

import pytest

from detector.cli import main
from detector.errors import InputError
from detector.structures.image import Image
from tests.detector.run_tools import files, make_clip
from tests.tools.detect_tools import run


def test_failures_do_not_stop_the_others(detector, folder, capsys):
    Path("cut.jpg").write_bytes(Path("a/x.jpg").read_bytes()[:400])
    Path("notes.jpg").write_text("not a photo")
    Path("nothing").mkdir()
    arguments = ("a/x.jpg", "cut.jpg", "missing.jpg", "notes.jpg", "nothing", "b/x.jpg")
    assert run(*arguments, "--json", "found.json") == 2
    captured = capsys.readouterr()
    errors = captured.err.splitlines()
    assert len(errors) == 5
    assert errors[0].startswith("error: missing.jpg: no such file")
    assert errors[1].startswith("error: nothing: the folder has no photos")
    assert errors[2].startswith("error: cut.jpg: damaged or cut short")
    assert errors[3].startswith("error: notes.jpg: not a photo")
    assert errors[4] == "4 of 6 sources failed"
    assert detector.seen == ["a/x.jpg", "b/x.jpg"]
    assert [entry["image"] for entry in json.loads(Path("found.json").read_text())] == ["a/x.jpg", "b/x.jpg"]
    assert files(folder / "runs") == ["detect/x-2.jpg", "detect/x.jpg"]


def test_a_detector_that_fails_on_one_photo(detector, folder, capsys):
    def fail(image: Image) -> None:
        if image.name == "b/x.jpg":
            raise RuntimeError("CUDA out of memory.\nTried to allocate 20 GiB")
        if image.name == "b/y.png":
            raise MemoryError

    detector.before = fail
    assert run("b", "a/x.jpg") == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: b/x.jpg: detection failed (CUDA out of memory. Tried to allocate 20 GiB)",
        "error: b/y.png: detection failed (not enough memory)",
        "2 of 3 sources failed",
    ]
    assert detector.seen == ["a/x.jpg"]


def test_without_any_photo_no_model_is_loaded_and_no_folder_made(detector, folder, capsys):
    assert run("missing.jpg", "--json", "found.json") == 2
    assert capsys.readouterr().err == "error: missing.jpg: no such file or folder; check the path\n"
    assert not hasattr(detector, "loaded")
    assert not Path("runs").exists()
    assert json.loads(Path("found.json").read_text()) == []


def test_a_model_that_cannot_be_loaded(detector, folder, capsys, monkeypatch):
    """Its one line is shown, and results of an earlier run stay."""

    def load_detector(model: Path, device: str, config: Path | None, source: str | None, *_: object) -> None:
        raise InputError(f"{model}: no such file")

    monkeypatch.setattr(sys.modules["detector.inference.assembly"], "load_pipeline", load_detector)
    Path("found.json").write_text("earlier")
    Path("none.safetensors").write_bytes(b"")
    assert run("a/x.jpg", "--model", "none.safetensors", "--json", "found.json", "--overwrite") == 2
    assert capsys.readouterr().err == "error: none.safetensors: no such file\n"
    assert Path("found.json").read_text() == "earlier"


def test_a_picture_that_cannot_be_written(detector, folder, capsys):
    """The disk refuses one picture: what is found counts, that photo has not failed, and is tried again."""
    Path("runs/detect/x.jpg").mkdir(parents=True)
    arguments = ("a/x.jpg", "b/y.png", "--json", "found.json")
    assert run(*arguments, "--overwrite") == 2
    captured = capsys.readouterr()
    first, last = captured.err.splitlines()
    assert first == "error: runs/detect/x.jpg: cannot be written (Is a directory)"
    assert last.startswith("1 file could not be written")
    assert "a/x.jpg: 2 objects in 150x60 pixels" in captured.out
    assert len(json.loads(Path("found.json").read_text())) == 2
    assert files(folder / "runs") == ["detect/unfinished.jsonl", "detect/y.png"]
    Path("runs/detect/x.jpg").rmdir()
    detector.seen.clear()
    assert run(*arguments, "--resume") == 0
    assert detector.seen == ["a/x.jpg"]
    assert len(json.loads(Path("found.json").read_text())) == 2
    assert files(folder / "runs") == ["detect/x.jpg", "detect/y.png"]


def test_crops_that_cannot_be_written(detector, folder, capsys):
    """They cost neither the picture nor, of a video, the frames that follow."""
    make_clip("clip.avi", 4)
    Path("crops").mkdir()
    Path("crops/cat").write_text("in the way")
    assert run("b/y.png", "clip.avi", "--crops", "crops", "--json", "found.json", "--overwrite") == 2
    errors = capsys.readouterr().err.splitlines()
    assert [line.startswith("error: crops/cat") for line in errors] == [True, True, False]
    assert errors[2].startswith("2 files could not be written")
    assert len(json.loads(Path("found.json").read_text())) == 5
    assert files(folder / "runs") == ["detect/clip.mp4", "detect/unfinished.jsonl", "detect/y.png"]


def test_interrupted_while_a_picture_is_written(detector, folder, monkeypatch):
    """Neither a part of the picture nor its temporary file stays."""

    write = Path.write_bytes

    def interrupted_write(path: Path, content: memoryview) -> int:
        if bytes(content[6:10]) != b"JFIF":
            return write(path, content)
        write(path, content[:99])
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", interrupted_write)
    assert run("a/x.jpg", "--json", "found.json") == 130
    assert files(folder / "runs") == ["detect/unfinished.jsonl"]
    assert len(json.loads(Path("found.json").read_text())) == 1


def test_a_bug_is_not_hidden_but_the_results_are_kept(detector, folder):
    def crash(image: Image) -> None:
        if image.name == "b/x.jpg":
            raise TypeError("a bug")

    detector.before = crash
    with pytest.raises(TypeError, match="a bug"):
        main(["detect", "a/x.jpg", "b/x.jpg", "--json", "found.json"])
    assert len(json.loads(Path("found.json").read_text())) == 1
