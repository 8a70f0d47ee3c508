import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from proposals import files
from proposals.files import atomic_write, temporary_folder


def test_the_file_appears_only_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "model.npz"
    with atomic_write(target) as temporary:
        temporary.write_text("new")
        assert not target.exists()
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".npz"
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


def test_an_existing_file_is_replaced(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old, and longer than the new one")
    with atomic_write(str(target)) as temporary:
        temporary.write_text("new")
    assert target.read_text() == "new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("existing", [False, True])
def test_a_failure_leaves_nothing_and_keeps_the_old_file(
    tmp_path: Path, error: type[BaseException], existing: bool
) -> None:
    target = tmp_path / "a.txt"
    if existing:
        target.write_text("old")
    with pytest.raises(error), atomic_write(target) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise error
    assert [path.read_text() for path in tmp_path.iterdir()] == (["old"] if existing else [])


def test_a_block_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"a\.txt: nothing was written"), atomic_write(tmp_path / "a.txt"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    with atomic_write(target) as first:
        first.write_text("first")
        with atomic_write(target) as second:
            second.write_text("second")
        assert target.read_text() == "second"
    assert target.read_text() == "first"


KILLED = """
import os, signal, sys
from proposals import files
from proposals.files import atomic_write
with atomic_write(sys.argv[1]) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(os.name != "posix", reason="nothing is locked there")
def test_what_a_killed_process_left_is_removed_but_not_what_is_being_written(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    with atomic_write(target) as held:
        held.write_text("mine")
        assert subprocess.run([sys.executable, "-c", KILLED, target], check=False).returncode == -signal.SIGKILL
        assert len(list(tmp_path.iterdir())) == 2
        files._swept.discard(tmp_path)  # as in another process
        with atomic_write(tmp_path / "b.txt") as other:
            other.write_text("other")
        assert sorted(path.name for path in tmp_path.iterdir()) == [held.name, "b.txt"]
    assert target.read_text() == "mine"


KILLED_IN_A_FOLDER = """
import os, signal, sys
from pathlib import Path
from detector.data.formats.files import new_folder
with new_folder(Path(sys.argv[1])) as folder:
    (folder / "a.txt").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(os.name != "posix", reason="nothing is locked there")
def test_a_folder_that_a_killed_process_left_is_removed_but_not_one_that_is_being_filled(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED_IN_A_FOLDER, tmp_path / "found"]
    with temporary_folder(tmp_path / "mine") as held:
        (held / "b.txt").write_text("mine")
        root = Path(__file__).parents[2]
        assert subprocess.run(command, check=False, cwd=root).returncode == -signal.SIGKILL
        assert len(list(tmp_path.iterdir())) == 2
        files._swept.discard(tmp_path)  # as in another process
        with temporary_folder(tmp_path / "other") as other:
            assert {path.name for path in tmp_path.iterdir()} == {held.name, other.name}
        assert (held / "b.txt").read_text() == "mine"
        held.rename(tmp_path / "mine")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_an_empty_file_may_be_written(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "a.txt") as temporary:
        temporary.write_text("")
    assert (tmp_path / "a.txt").read_bytes() == b""
