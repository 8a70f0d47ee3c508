"""Short form of `python -m tests.reliability.fuzz`, and whether it would see what it looks for.

The forks need a process without threads, so all of it runs in one of its own.
"""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.reliability.nursery import ROOT

pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="memory is measured as on Linux")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment, check=False)


def test_every_reader_refuses_damaged_files_in_the_documented_way():
    done = run("-m", "tests.reliability.fuzz", "--inputs", "1500", "--seed", "7")
    assert done.returncode == 0, done.stdout
    assert "unfinished runs" in done.stdout


@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not installed")
def test_a_reader_by_coverage():
    done = run("-m", "tests.reliability.fuzz", "--engine", "atheris", "--seconds", "5", "--target", "COCO")
    assert done.returncode == 0, done.stdout
    assert "inputs that reach something new" in done.stdout


def test_the_files_that_are_changed_are_good_ones(tmp_path: Path):
    from tests.reliability.fuzz_targets import all_targets

    for number, target in enumerate(all_targets()):
        folder = tmp_path / str(number)
        for name, content in target.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        for name in target.files:
            if name not in ("read.me", *target.unchanged):
                target.read(folder, folder / name)


def test_a_crash_a_hang_a_lack_of_memory_and_a_strange_error_are_seen():
    done = run("-m", "tests.reliability.test_fuzz")
    lines = done.stdout.splitlines()
    assert lines[0] == "5 tried, 3 crashed, 1 wrong", done.stdout + done.stderr
    assert "input 1: the process died" in lines
    assert "input 2: more than 3 s" in lines
    assert any(line.startswith("input 3 and 0 more: MemoryError") for line in lines)
    assert any(line.startswith("input 4 and 0 more: KeyError") and "test_fuzz.py" in line for line in lines)


def _misbehave(folder: Path, changed: Path) -> None:
    number = len(list(folder.parent.glob("seen-*")))
    (folder.parent / f"seen-{number}").touch()
    if number == 1:
        os.kill(os.getpid(), signal.SIGSEGV)
    elif number == 2:
        time.sleep(60)
    elif number == 3:
        np.ones(2**32, np.uint8)
    elif number == 4:
        raise KeyError("x")


if __name__ == "__main__":
    import tempfile

    from tests.reliability.fuzz import fuzz
    from tests.reliability.fuzz_targets import Target

    with tempfile.TemporaryDirectory() as made:
        row = fuzz(Target("x", {"a.txt": b"a"}, _misbehave), 0, 5, 0, Path(made), limit=0.5)
    print(f"{row.tried} tried, {row.crashed} crashed, {row.wrong} wrong", *row.findings, sep="\n")
