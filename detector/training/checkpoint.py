"""Checkpoints of a training run: all state that a resumed run needs to go on to the same numbers."""

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
    """Writes the state beside `path`, then renames: an interrupted write leaves the checkpoint before.

    The one before is kept beside it (`before_of`), for a disk that loses what it was given.

    Raises:
        InputError: it cannot be written; the checkpoint before is there.
    """
    try:
        # After a kill between the two writes both names may be of one file, and renaming would do nothing.
        if path.exists() and not (before_of(path).exists() and path.samefile(before_of(path))):
            with atomic_write(before_of(path)) as kept:
                _copy(path, kept)
        packed = io.BytesIO()  # on a full disk torch's own file may end the process
        torch.save(state, packed)
        with atomic_write(path) as temporary:
            temporary.write_bytes(packed.getbuffer())
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{path}: cannot be written ({reason}); make room, and the same command goes on") from None


def before_of(path: Path) -> Path:
    """Where the checkpoint before the one at `path` is: checkpoint-before.pt."""
    return path.with_name(f"{path.stem}-before{path.suffix}")


def remove_checkpoints(path: Path) -> None:
    """Removes the checkpoint at `path` and the one before: of a training that has ended and will not go on."""
    for one in (path, before_of(path)):
        one.unlink(missing_ok=True)


def load_checkpoint(path: Path, recipe_hash: str) -> dict[str, Any]:
    """Reads a checkpoint without executing code; if it is damaged, the one before it.

    Raises:
        InputError: neither can be read, or it belongs to another recipe.
    """
    try:
        state = _read(path)
    except InputError as error:
        if not before_of(path).exists():
            raise
        state = _read(before_of(path))
        log.warning("%s; going on from the one before", error)
    if state.get("recipe") != recipe_hash:
        raise InputError(f"{path}: a checkpoint of another recipe; choose another --out or remove it to start anew")
    return state


def _read(path: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(path) as records:  # torch writes their checksums and does not look at them
            if damaged := records.testzip():
                raise ValueError(f"{damaged} is damaged")
        state = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(state, dict):
            raise ValueError("it holds no state of a training")
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path}: not a readable checkpoint ({reason}); remove it to start anew") from None
    return state


def _copy(path: Path, new: Path) -> None:
    """A second name for the same file, or a copy where files have one name only."""
    new.unlink(missing_ok=True)
    try:
        os.link(path, new)
    except OSError:
        shutil.copyfile(path, new)
