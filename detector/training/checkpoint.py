"""Checkpoints of a training: all the state that a resumed run needs to reach the same numbers."""

import io
import logging
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import torch

from detector.errors import InputError
from proposals.files import atomic_write

log = logging.getLogger(__name__)

CHECKPOINT = "checkpoint.pt"


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Writes the state atomically, and keeps the checkpoint before it (`previous_checkpoint`), because some disks lose
    what was written last.

    Raises:
        InputError: the file cannot be written; the existing checkpoint is kept.
    """
    previous = previous_checkpoint(path)
    try:
        # After a kill between the two writes both names may belong to one file, and renaming would do nothing.
        if path.exists() and not (previous.exists() and path.samefile(previous)):
            with atomic_write(previous) as temporary:
                _link_or_copy(path, temporary)
        buffer = io.BytesIO()  # torch.save to a file may end the process when the disk is full
        torch.save(state, buffer)
        with atomic_write(path) as temporary:
            temporary.write_bytes(buffer.getbuffer())
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{path}: cannot be written ({reason}); free space and continue with --resume") from None


def previous_checkpoint(path: Path) -> Path:
    """The checkpoint before the one at `path`: checkpoint-before.pt."""
    return path.with_name(f"{path.stem}-before{path.suffix}")


def remove_checkpoints(path: Path) -> None:
    """Removes the checkpoint at `path` and the one before it, once a training has ended for good."""
    for checkpoint in (path, previous_checkpoint(path)):
        checkpoint.unlink(missing_ok=True)


def refuse_unfinished(out: Path, file: str = CHECKPOINT) -> None:
    """Raises `InputError` if a folder holds a training, which `file` in it tells."""
    if (out / file).exists():
        raise InputError(f"{out}: holds a training; continue it with --resume, or choose another --out")


def load_checkpoint(path: Path, recipe_hash: str) -> dict[str, Any]:
    """Reads a checkpoint without executing code, or the one before it if it is damaged.

    Raises:
        InputError: neither can be read, or the recipe is another one.
    """
    try:
        state = _read(path)
    except InputError as error:
        if not previous_checkpoint(path).exists():
            raise
        state = _read(previous_checkpoint(path))
        log.warning("%s; resuming from the checkpoint before it", error)
    if state.get("recipe") != recipe_hash:
        raise InputError(f"{path}: a checkpoint of another recipe; choose another --out, or remove it to start over")
    return state


def _read(path: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(path) as records:  # torch writes checksums but does not verify them
            if damaged := records.testzip():
                raise ValueError(f"{damaged} is damaged")
        state = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(state, dict):
            raise ValueError("it holds no training state")
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path}: not a readable checkpoint ({reason}); remove it to start over") from None
    return state


def _link_or_copy(path: Path, new: Path) -> None:
    new.unlink(missing_ok=True)
    try:
        os.link(path, new)
    except OSError:  # the file system has no hard links
        shutil.copyfile(path, new)
