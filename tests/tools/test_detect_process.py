"""The command `detect` in a process of its own, as a user would start it; mostly its detector answers by rule."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.detector.run_tools import files
from tests.tools.detect_tools import ROOT


@pytest.fixture(autouse=True)
def processes_use_this_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


PROGRAM = """
import signal, sys, types
signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent in the background may have it ignored
from tests.tools.detect_tools import RuleDetector
rule = RuleDetector()
def interrupt(image):
    if image.name == {interrupt_at!r}:
        signal.raise_signal(signal.SIGINT)
rule.before = interrupt
module = types.ModuleType("detector.inference.assembly")
module.load_pipeline = lambda *arguments, **options: rule
sys.modules["detector.inference.assembly"] = module
from detector.cli import main
main()
"""


def program(*arguments: str, interrupt_at: str = "") -> list[str]:
    code = PROGRAM.format(interrupt_at=interrupt_at)
    return [sys.executable, "-c", code, "detect", *arguments]


def test_an_interrupt_signal(folder, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # one photo at a time, so that the first one is done
    done = subprocess.run(
        program("a/x.jpg", "b", "--json", "found.json", interrupt_at="b/x.jpg"),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 130
    (line,) = done.stderr.splitlines()
    assert line.startswith("interrupted: 1 of 3 ")
    assert "--resume" in line
    assert len(json.loads(Path("found.json").read_text())) == 1


@pytest.mark.slow
@pytest.mark.parametrize("both", [False, True], ids=["stdout", "stdout and stderr"])
def test_a_broken_pipe_is_harmless(folder, both):
    """The reader of the lines has gone: all the files are made, and nobody complains."""
    reader, writer = os.pipe()
    os.close(reader)
    errors = writer if both else subprocess.PIPE
    done = subprocess.run(
        program("a/x.jpg", "b", "missing.jpg", "--json", "found.json"),
        stdout=writer,
        stderr=errors,
        text=True,
    )
    os.close(writer)
    assert done.returncode == 2
    if not both:
        assert done.stderr.splitlines()[1:] == ["1 of 4 sources failed"]
    assert len(json.loads(Path("found.json").read_text())) == 3
    assert len(files(folder / "runs")) == 3
