"""The help of every command, and what the shell completes."""

import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from detector.cli import _COMMANDS, main

ROOT = Path(__file__).parents[2]


def help_of(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    return capsys.readouterr().out


def test_the_version(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert not caught.value.code
    assert capsys.readouterr().out.strip() == version("inception-rcnn")


@pytest.mark.parametrize("command", _COMMANDS)
def test_options_are_in_groups_with_their_defaults_and_there_is_an_example(command, capsys):
    text = help_of(command, capsys)
    assert f"Usage: detector {command}" in text
    assert re.search(rf"Examples?:\s+detector {command} ", text)
    groups = re.findall(r"─ ([A-Z][\w ]+) ─", text)
    own = [group for group in groups if group not in ("Arguments", "Options")]
    assert len(own) >= 2 or command in ("convert", "docs"), "these have one option"
    (rest,) = re.findall(r"─ Options ─.*?╰", text, re.DOTALL)
    assert own == [] or re.findall(r"│ (?:\* )?\s*(--[\w-]+)", rest) == ["--help"], "every option is in a group"
    assert "[default: " in text


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        ("detect", ["--from-file"]),
        ("detect --proposals foo a.jpg", ["--proposals 'foo'", "selective_search, multibox, both"]),
        ("detect --batch 0 a.jpg", ["'--batch'"]),
        ("detect --bacth 1 a.jpg", ["--bacth", "--batch"]),
        ("detect --device abacus a.jpg", ["--device abacus", "cuda"]),
        ("train --layout cco a", ["--layout 'cco'", "voc, coco, yolo"]),
        ("--foo", ["--foo", "detector --help"]),
        ("detct a.jpg", ["'detct'", "do you mean 'detect'?"]),
        ("see a.jpg", ["'see'", "detect, bulk, evaluate"]),
    ],
)
def test_wrong_usage_gets_one_line(arguments: str, facts: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as caught:
        main(arguments.split())
    assert caught.value.code == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert all(fact in captured.err for fact in facts)
    assert (captured.out, captured.err.count("\n")) == ("", 1)


def test_without_arguments_there_is_help(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as caught:
        main([])
    assert not caught.value.code
    assert "Usage: detector [OPTIONS] COMMAND" in capsys.readouterr().out


def test_every_tool_is_a_command():
    tools = {path.stem for path in (ROOT / "tools").glob("*.py")}
    assert tools == set(_COMMANDS)


def test_the_shell_completes_commands_and_options(tmp_path):
    def completed(words: str) -> list[str]:
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "_DETECTOR_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split(" ")) - 1),
        }
        program = [sys.executable, "-c", "from detector.cli import main; main()"]
        return subprocess.run(program, capture_output=True, text=True, env=environment, cwd=tmp_path).stdout.split()

    assert completed("detector de") == ["detect"]
    assert completed("detector detect --max") == ["--max-detections"]
    assert completed("detector propose --pr") == ["--preset"]
