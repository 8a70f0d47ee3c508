"""Progress without a terminal, as in a log file."""

import sys

import pytest
from tqdm import tqdm

from detector.io import progress
from detector.io.progress import Progress


def test_a_line_every_half_minute(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    clock = [1000.0]
    monkeypatch.setattr("tqdm.std.time", lambda: clock[0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    for _ in Progress(range(10), unit="image", desc="evaluate"):
        clock[0] += 12
        tqdm.write("found", file=sys.stdout)
    assert capsys.readouterr().err.splitlines() == [
        "evaluate: 3 of 10 images, 1 min left",
        "evaluate: 6 of 10 images, 1 min left",
        "evaluate: 9 of 10 images, 0 min left",
    ]


def test_short_or_hidden_work_says_nothing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    assert list(Progress("abc", unit="frame")) == ["a", "b", "c"]
    monkeypatch.setattr(progress, "PAUSE", 0.0)
    assert list(Progress("abc", unit="frame", hidden=True)) == ["a", "b", "c"]
    assert capsys.readouterr().err == ""


def test_resumed_work_without_a_known_end(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(progress, "PAUSE", 0.0)
    with Progress(unit="step", initial=5) as bar:
        bar.update()
    assert capsys.readouterr().err == "done: 6 steps\n"
