import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from proposals import files
from proposals.files import atomic_write, temporary_folder


@pytest.mark.parametrize("existing", [None, "an older and longer text"])
@pytest.mark.parametrize("text", ["new", ""])
def test_file_appears_when_the_block_ends(tmp_path: Path, existing: str | None, text: str) -> None:
    target = tmp_path / "model.npz"
    if existing is not None:
        target.write_text(existing)
    with atomic_write(str(target)) as temporary:
        temporary.write_text(text)
        assert (target.read_text() if target.exists() else None) == existing
        assert (temporary.parent, temporary.suffix) == (tmp_path, ".npz")
    assert target.read_text() == text
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("existing", [False, True])
def test_errors_keep_the_old_file(tmp_path: Path, existing: bool) -> None:
    target = tmp_path / "a.txt"
    if existing:
        target.write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_write(target) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert [path.read_text() for path in tmp_path.iterdir()] == (["old"] if existing else [])


def test_missing_folder_is_named(tmp_path: Path) -> None:
    for write in (atomic_write, temporary_folder):
        with pytest.raises(FileNotFoundError, match="missing"), write(tmp_path / "missing" / "a.txt"):
            pass


def test_two_writers_of_one_file(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    with atomic_write(target) as first:
        first.write_text("first")
        with atomic_write(target) as second:
            second.write_text("second")
        assert target.read_text() == "second"
    assert target.read_text() == "first"


KILLED = """
import os, signal, sys
from pathlib import Path
from proposals.files import atomic_write, temporary_folder
with {context}(sys.argv[1]) as path:
    ({file}).write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def kill_while_writing(target: Path, folder: bool) -> None:
    context, file = ("temporary_folder", "path / 'a.txt'") if folder else ("atomic_write", "path")
    command = [sys.executable, "-c", KILLED.format(context=context, file=file), target]
    root = Path(__file__).parents[2]
    assert subprocess.run(command, check=False, cwd=root).returncode == -signal.SIGKILL
    files._swept.discard(target.parent)  # sweep again, as another process would


@pytest.mark.skipif(os.name != "posix", reason="needs file locks")
@pytest.mark.parametrize("folder", [False, True])
def test_leftovers_of_killed_processes_are_removed_but_not_files_in_use(tmp_path: Path, folder: bool) -> None:
    target = tmp_path / "a.txt"
    with atomic_write(target) as temporary:
        temporary.write_text("mine")
        kill_while_writing(target, folder)
        assert len(list(tmp_path.iterdir())) == 2
        with atomic_write(tmp_path / "b.txt") as other:
            other.write_text("other")
        assert sorted(path.name for path in tmp_path.iterdir()) == [temporary.name, "b.txt"]
    assert target.read_text() == "mine"


@pytest.mark.skipif(os.name != "posix", reason="needs file locks")
def test_folders_in_use_are_kept(tmp_path: Path) -> None:
    with temporary_folder(tmp_path / "mine") as temporary:
        (temporary / "b.txt").write_text("mine")
        kill_while_writing(tmp_path / "a", folder=True)
        with temporary_folder(tmp_path / "other") as other:
            assert {path.name for path in tmp_path.iterdir()} == {temporary.name, other.name}
        temporary.rename(tmp_path / "mine")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert (tmp_path / "mine" / "b.txt").read_text() == "mine"
