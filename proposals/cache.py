"""Proposals kept on disk, one small file an image."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from proposals.files import atomic_write
from proposals.npz import read_npz
from proposals.types import Proposals, Proposer

_FORMAT = 1
_MOST_BYTES = 2**27  # an entry of a million boxes has 22 MB


class ProposalCache:
    """The results of one proposer, kept in a folder.

    A result is found by the content of the image file and the fingerprint of the proposer: renamed or
    copied images share it, changed images or settings never meet an old one. An entry that cannot be read
    is computed again. Several threads and processes may use one folder at the same time.

    Args:
        directory: folder of the cache; made when the first entry is written.
        proposer: whose results these are.
    """

    def __init__(self, directory: str | os.PathLike[str], proposer: Proposer) -> None:
        self.directory = Path(directory)
        self.proposer = proposer
        self._fingerprint = proposer.fingerprint  # which may hash a whole network

    def get(self, content: bytes, propose: Callable[[], Proposals]) -> Proposals:
        """The proposals of an image.

        Args:
            content: the image file's bytes; only hashed.
            propose: called without arguments if the cache lacks the image; returns what the proposer says of it.

        Raises:
            ValueError: from `propose`, for an image that cannot be used.
            OSError: the cache folder cannot be written.
        """
        path = self.path(content)
        found = _read(path)
        if found is not None:
            return found
        proposals = propose()
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as temporary, open(temporary, "wb") as file:
            _write(file, proposals)
        return proposals

    def path(self, content: bytes) -> Path:
        """Where the entry of an image file with these bytes lies, whether it exists or not."""
        digest = hashlib.blake2b(digest_size=20)
        digest.update(f"{_FORMAT} {self._fingerprint} ".encode())
        digest.update(content)
        key = digest.hexdigest()
        return self.directory / key[:2] / f"{key[2:]}.npz"


def _write(file: BinaryIO, proposals: Proposals) -> None:
    whole = np.clip(proposals.boxes, 0, 65535).astype(np.uint16)
    exact = np.array_equal(whole, proposals.boxes)
    np.savez_compressed(
        file,
        boxes=whole if exact else proposals.boxes,
        scores=proposals.scores,
        sources=proposals.sources,
        source_names=np.array(proposals.source_names, dtype=np.str_),
        image_size=np.array(proposals.image_size, dtype=np.int64),
    )


def _read(path: Path) -> Proposals | None:
    """The entry at `path`; None if there is none or it is damaged."""
    try:
        entry = read_npz(path.read_bytes(), _MOST_BYTES)
        width, height = entry["image_size"].tolist()
        return Proposals(
            entry["boxes"].astype(np.float32),
            entry["scores"],
            entry["sources"],
            tuple(entry["source_names"].tolist()),
            (width, height),
        )
    except Exception:  # missing, or damaged, or of another shape than it was written with
        return None
