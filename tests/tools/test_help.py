"""The help of every command, what the shell completes, and what starts without torch."""

import json
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from detector.cli import _COMMANDS
from tests.tools.detect_tools import ROOT, write_photo


def test_the_version_and_help_without_arguments(command):
    assert command("--version") == (0, version("inception-rcnn") + "\n", "")
    assert "Usage: detector [OPTIONS] COMMAND" in command().out
    assert {path.stem for path in (ROOT / "tools").glob("*.py")} == set(_COMMANDS)


@pytest.mark.parametrize("name", _COMMANDS)
def test_options_are_in_groups_with_their_defaults_and_there_is_an_example(name: str, command):
    text = command(name, "--help").out
    assert f"Usage: detector {name}" in text
    assert re.search(rf"Examples?:\s+detector {name} ", text)
    groups = re.findall(r"─ ([A-Z][\w ]+) ─", text)
    own = [group for group in groups if group not in ("Arguments", "Options")]
    assert len(own) >= 2 or name in ("convert", "docs"), "these have one option"
    (rest,) = re.findall(r"─ Options ─.*?╰", text, re.DOTALL)
    assert own == [] or re.findall(r"│ (?:\* )?\s*(--[\w-]+)", rest) == ["--help"], "every option is in a group"
    assert "[default: " in text


@pytest.mark.parametrize("name", _COMMANDS)
def test_the_tool_is_the_command_and_its_help_loads_no_torch(name: str, command, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    start = [sys.executable, "-X", "importtime", ROOT / f"tools/{name}.py", "--help"]
    done = subprocess.run(start, capture_output=True, text=True, check=True)
    assert done.stdout == command(name, "--help").out
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
    assert "detector.errors" in imported
    assert not imported & {"torch", "torchvision", "numba"}


_PROGRAM = """
import json, sys
from detector.cli import main
for words in json.loads(sys.argv[1]):
    try:
        main(words)
    except SystemExit as ended:
        assert not ended.code
    assert "torch" not in sys.modules, words
"""


def test_what_needs_no_network_needs_no_torch(make_voc, found: Path, tmp_path: Path, monkeypatch):
    root = make_voc({"a": [("cat", (1, 1, 50, 40), 0)], "b": [], "c": []})
    write_photo(tmp_path / "photos/a.jpg")
    data = ["--root", str(root), "--split", "val"]
    commands = [
        ["propose", "photos", "--preset", "single", "--levels", "--json", "f.json", "--export", "boxes.npz"],
        ["propose", "--preset", "single", "--report", "--dataset", "voc", *data],
        ["evaluate", *data, "--detections", str(found)],
    ]
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    program = [sys.executable, "-c", _PROGRAM, json.dumps(commands)]
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(words in done.stdout for words in ("a.jpg: ", "recall50", "mAP"))


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("detector de", ["detect"]),
        ("detector detect --max", ["--max-detections"]),
        ("detector propose --pr", ["--preset"]),
    ],
)
def test_the_shell_completes_commands_and_options(words: str, completed: list[str], command, monkeypatch):
    values = {"DETECTOR_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    for name, value in values.items():
        monkeypatch.setenv(name.replace("DETECTOR", "_DETECTOR"), value)
    assert command().out.split() == completed
