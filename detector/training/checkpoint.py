"""Checkpoints of a training run: all state that a resumed run needs to go on to the same numbers."""

from pathlib import Path
from typing import Any

import torch

from detector.errors import InputError
from proposals.files import atomic_write


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Writes the state beside `path`, then renames: an interrupted write leaves the checkpoint before."""
    with atomic_write(path) as temporary:
        torch.save(state, temporary)


def load_checkpoint(path: Path, recipe_hash: str) -> dict[str, Any]:
    """Reads a checkpoint without executing code.

    Raises:
        InputError: it cannot be read, or belongs to another recipe.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: not a readable checkpoint ({reason}); remove it to start anew") from None
    if state.get("recipe") != recipe_hash:
        raise InputError(f"{path}: a checkpoint of another recipe; choose another --out or remove it to start anew")
    return state
