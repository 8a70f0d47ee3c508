"""The command `detect` in a process of its own, as a user would start it; mostly its detector answers by rule."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tools.detect_tools import ROOT, files, write_photo


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
from detector.config import PostprocessConfig
main()
"""


def program(*arguments: str, interrupt_at: str = "") -> list[str]:
    code = PROGRAM.format(interrupt_at=interrupt_at)
    return [sys.executable, "-c", code, "detect", *arguments]


def test_standard_input(folder):
    with open("a/x.jpg", "rb") as photo:
        done = subprocess.run(program("-", "--json", "found.json"), stdin=photo, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "-: 2 objects in 150x60 pixels" in done.stdout
    assert json.loads(Path("found.json").read_text())[0]["image"] == "-"
    assert files(folder / "runs") == ["detect/stdin.jpg"]


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


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_names_that_are_no_valid_text(folder):
    name = os.fsdecode(b"caf\xe9.jpg")
    write_photo(Path(name))
    done = subprocess.run(program(".", "--json", "found.json"), capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(Path("found.json").read_text())[0]["image"] == name
    assert files(folder / "runs") == [f"detect/{name}"]


@pytest.fixture(params=["installed command", "tools/detect.py"])
def command(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    if request.param == "tools/detect.py":
        yield [sys.executable, str(ROOT / "tools" / "detect.py")]
    else:
        yield [sys.executable, "-c", "from detector.cli import main; main()", "detect"]


def test_help_names_defaults_and_an_example_and_does_not_load_torch(command, tmp_path):
    """Both ways to call it give the same text; the modules are those of Python's own list of imports."""
    command = [command[0], "-X", "importtime", *command[1:], "--help"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0
    for words in ("SOURCE", "--score", "0.5", "runs/detect", "--classes", "--device", "auto", "Example"):
        assert words in done.stdout
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
    assert "detector.cli.options" in imported  # by detector.cli.detect
    assert not imported & {"torch", "torchvision", "detector.evaluation"}  # nor what other commands need


def test_the_tool_is_the_command(command, folder):
    done = subprocess.run([*command, "missing.jpg"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "error: missing.jpg: no such file or folder; check the path\n"
