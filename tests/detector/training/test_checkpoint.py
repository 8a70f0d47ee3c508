"""Checkpoints: verified when they are read; the previous one is kept."""

import errno
from pathlib import Path

import pytest
import torch

from detector.errors import InputError
from detector.training.checkpoint import load_checkpoint, previous_checkpoint, save_checkpoint


def state(step: int) -> dict:
    return {"recipe": "r", "step": step, "network": {"weight": torch.full((1000,), float(step))}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoint.pt"
    for step in (1, 2, 3):
        save_checkpoint(path, state(step))
    return path


def flip(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.unlink()  # the previous one may be the same file
    path.write_bytes(content)


def test_the_last_two_are_kept(path: Path):
    assert load_checkpoint(path, "r")["step"] == 3
    assert load_checkpoint(previous_checkpoint(path), "r")["step"] == 2
    assert sorted(file.name for file in path.parent.iterdir()) == ["checkpoint-before.pt", "checkpoint.pt"]


def test_one_wrong_bit_is_detected_and_the_previous_checkpoint_is_used(path: Path, caplog: pytest.LogCaptureFixture):
    offset = path.read_bytes().index(b"\x00\x00\x40\x40" * 8) + 2001  # inside the numbers, 3.0 each
    flip(path, offset)
    assert load_checkpoint(path, "r")["step"] == 2
    assert "is damaged" in caplog.text
    previous_checkpoint(path).unlink()
    with pytest.raises(InputError, match=r"checkpoint\.pt: .*damaged"):
        load_checkpoint(path, "r")


@pytest.mark.parametrize("keep", [0, 1, 100, -1])
def test_a_truncated_checkpoint(path: Path, keep: int):
    content = path.read_bytes()[:keep]
    path.unlink()
    path.write_bytes(content)
    assert load_checkpoint(path, "r")["step"] == 2


def test_without_hard_links_it_is_copied(path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr("os.link", refuse)
    save_checkpoint(path, state(4))
    assert [load_checkpoint(file, "r")["step"] for file in (path, previous_checkpoint(path))] == [4, 3]


def test_a_full_disk_is_an_error_and_the_checkpoint_is_kept(path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match=r"checkpoint\.pt: .*No space left on device"):
        save_checkpoint(path, state(4))
    assert load_checkpoint(path, "r")["step"] == 3


def test_a_kill_between_the_two_writes_leaves_nothing_behind(path: Path):
    previous_checkpoint(path).unlink()
    previous_checkpoint(path).hardlink_to(path)
    save_checkpoint(path, state(4))
    assert [load_checkpoint(file, "r")["step"] for file in (path, previous_checkpoint(path))] == [4, 3]
    assert len(list(path.parent.iterdir())) == 2
