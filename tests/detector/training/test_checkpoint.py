"""Checkpoints: checked when they are read, and the one before is kept."""

import errno
from pathlib import Path

import pytest
import torch

from detector.errors import InputError
from detector.training.checkpoint import previous_checkpoint, load_checkpoint, save_checkpoint


def state(step: int) -> dict:
    return {"recipe": "r", "step": step, "network": {"weight": torch.full((1000,), float(step))}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoint.pt"
    for step in (1, 2, 3):
        save_checkpoint(path, state(step))
    return path


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.unlink()  # the one before may be the same file
    path.write_bytes(content)


def test_the_last_two_are_kept(path: Path):
    assert load_checkpoint(path, "r")["step"] == 3
    assert load_checkpoint(previous_checkpoint(path), "r")["step"] == 2
    assert sorted(one.name for one in path.parent.iterdir()) == ["checkpoint-before.pt", "checkpoint.pt"]


def test_one_wrong_bit_is_noticed_and_the_one_before_is_taken(path: Path, caplog: pytest.LogCaptureFixture):
    place = path.read_bytes().index(b"\x00\x00\x40\x40" * 8) + 2001  # inside the numbers, 3.0 each
    flip(path, place)
    assert load_checkpoint(path, "r")["step"] == 2
    assert "is damaged" in caplog.text
    previous_checkpoint(path).unlink()
    with pytest.raises(InputError, match=r"checkpoint\.pt: not a readable checkpoint \(.*is damaged\); remove it"):
        load_checkpoint(path, "r")


@pytest.mark.parametrize("keep", [0, 1, 100, -1])
def test_one_that_was_cut_off(path: Path, keep: int):
    content = path.read_bytes()[:keep]
    path.unlink()
    path.write_bytes(content)
    assert load_checkpoint(path, "r")["step"] == 2


def test_where_files_have_one_name_only_it_is_copied(path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr("os.link", refuse)
    save_checkpoint(path, state(4))
    assert [load_checkpoint(one, "r")["step"] for one in (path, previous_checkpoint(path))] == [4, 3]


def test_a_full_disk_is_told_in_one_line_and_the_checkpoint_stays(path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match=r"checkpoint\.pt: cannot be written \(No space left on device\); make room"):
        save_checkpoint(path, state(4))
    assert load_checkpoint(path, "r")["step"] == 3


def test_a_kill_between_the_two_writes_leaves_nothing_behind(path: Path):
    previous_checkpoint(path).unlink()
    previous_checkpoint(path).hardlink_to(path)
    save_checkpoint(path, state(4))
    assert [load_checkpoint(one, "r")["step"] for one in (path, previous_checkpoint(path))] == [4, 3]
    assert len(list(path.parent.iterdir())) == 2
