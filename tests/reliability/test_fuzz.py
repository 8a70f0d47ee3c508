"""Short form of `python -m tests.reliability.fuzz`, and whether it detects what it looks for.

Forking needs a process without threads, so the fuzzer runs in a separate one. `RELIABILITY=N` multiplies the inputs.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from tests.reliability.fork_server import ROOT, SCALE
from tests.reliability.fuzz import fuzz
from tests.reliability.fuzz_targets import Target, all_targets

pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="memory is measured as on Linux")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, "-m", *arguments], capture_output=True, text=True, env=environment)


@pytest.mark.slow
def test_every_reader_refuses_damaged_files_in_the_documented_way():
    done = run("tests.reliability.fuzz", "--inputs", str(1500 * SCALE), "--seed", "7")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(" tried, 0 findings") == len(all_targets())


@pytest.mark.parametrize("target", all_targets(), ids=lambda target: target.name)
def test_the_files_that_are_changed_are_good_ones(target: Target, tmp_path: Path):
    target.write(tmp_path)
    for name in target.files:
        if name not in ("read.me", *target.unchanged):
            target.read(tmp_path, tmp_path / name)


@pytest.mark.slow
def test_a_crash_a_hang_a_lack_of_memory_and_an_undocumented_error_are_detected():
    done = run("tests.reliability.test_fuzz")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("x: 5 tried, 4 findings"), done.stdout + done.stderr
    assert lines[1:3] == ["input 1: the process died", "input 2: more than 3 s"]
    assert lines[3].startswith("input 3 and 0 more: MemoryError")
    assert lines[4].startswith("input 4 and 0 more: KeyError")
    assert "test_fuzz.py" in lines[4]


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
    with tempfile.TemporaryDirectory() as made:
        print(fuzz(Target("x", {"a.txt": b"a"}, _misbehave), 0, 5, 0, Path(made), limit=0.5))
