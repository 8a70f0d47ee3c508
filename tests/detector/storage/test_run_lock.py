"""One writer a place: a second process is refused, and a killed one leaves no lock."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from detector.errors import InputError
from detector.storage.run_lock import RunLock, run_lock

HOLD = """
import sys
from pathlib import Path
from detector.storage.run_lock import run_lock
with run_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""
TAKE_TURNS = """
import sys, time
from pathlib import Path
from detector.errors import InputError
from detector.storage.run_lock import RunLock
folder = Path(sys.argv[1])
turns = 0
while turns < 40:
    try:
        lock = RunLock(folder / "lock", "busy")
    except InputError:
        continue
    (folder / "inside").touch(exist_ok=False)
    time.sleep(0.001)
    (folder / "inside").unlink()
    lock.close()
    turns += 1
"""


def test_a_second_run_is_refused_until_the_first_ends(tmp_path: Path):
    out = tmp_path / "run"
    with subprocess.Popen([sys.executable, "-c", HOLD, out], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"held\n"
        with pytest.raises(InputError, match=f"{out}: another run"), run_lock(out):
            pass
        with run_lock(tmp_path / "other"):
            pass
        first.kill()
        first.wait()
        with run_lock(out):
            pass
    with run_lock(out):
        pass
    assert list(out.iterdir()) == []


def test_two_in_one_process(tmp_path: Path):
    lock = RunLock(tmp_path / "lock", "wait for it")
    with pytest.raises(InputError, match=f"^{tmp_path}: wait for it$"):
        RunLock(tmp_path / "lock", "wait for it")
    assert (tmp_path / "lock").exists()
    lock.close()
    with RunLock(tmp_path / "lock", "wait for it"):
        lock.close()  # once more, which must not let a third one in
        with pytest.raises(InputError):
            RunLock(tmp_path / "lock", "wait for it")


def test_processes_take_turns(tmp_path: Path):
    """Each takes the file away when it is done, while others have it open: still never two at once."""
    processes = [subprocess.Popen([sys.executable, "-c", TAKE_TURNS, tmp_path]) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="other locks there")
@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int):
    def flock(*_: object) -> None:
        raise OSError(number, "no locks")

    monkeypatch.setattr("fcntl.flock", flock)
    with run_lock(tmp_path), run_lock(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=rf"^{tmp_path / 'file'}: cannot be written \("):
        run_lock(tmp_path / "file")
