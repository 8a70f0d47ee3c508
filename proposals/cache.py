"""Proposals cached on disk, one small file per image."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from proposals.files import atomic_write
from proposals.npz import read_npz
from proposals.types import Proposals, Proposer, Regions

_FORMAT = 1
_MAX_BYTES = 2**27  # an entry of a million boxes takes 22 MB


class ProposalCache:
    """A folder with the results of one proposer.

    Entries are keyed by the content of the image file and the fingerprint of the proposer: renamed and copied images
    share an entry; changed images or settings never do. Every entry holds the fingerprint; a proposer that returns
    regions computes entries without them again. An entry that cannot be read is computed again. Several
    threads and processes may use one folder at the same time.

    Args:
        directory: folder of the cache; created when the first entry is written.
        proposer: the proposer whose results are cached.
    """

    def __init__(self, directory: str | os.PathLike[str], proposer: Proposer) -> None:
        self.directory = Path(directory)
        self.proposer = proposer
        self._fingerprint = proposer.fingerprint  # read once: it may hash a whole network
        self._with_regions = bool(getattr(proposer, "regions", False))

    def get(self, content: bytes, propose: Callable[[], Proposals]) -> Proposals:
        """Returns the proposals of the image file with these bytes; calls `propose` and stores them if there are none.

        Raises:
            OSError: the cache folder cannot be written.
        """
        path = self.path(content)
        cached = _read(path)
        if cached is not None and (cached.regions is not None or not self._with_regions):
            return cached if self._with_regions else replace(cached, regions=None)
        proposals = propose()
        path.parent.mkdir(parents=True, exist_ok=True)
        regions: dict[str, Any] = {}
        if proposals.regions is not None:
            regions = {
                "levels": proposals.regions.levels,
                "masks": np.frombuffer(b"".join(proposals.regions.counts), np.uint8),
                "mask_sizes": np.array(list(map(len, proposals.regions.counts)), np.int64),
            }
        with atomic_write(path) as temporary, open(temporary, "wb") as file:
            integers = np.clip(proposals.boxes, 0, 65535).astype(np.uint16)
            np.savez_compressed(
                file,
                boxes=integers if np.array_equal(integers, proposals.boxes) else proposals.boxes,
                scores=proposals.scores,
                sources=proposals.sources,
                source_names=np.array(proposals.source_names, dtype=np.str_),
                image_size=np.array(proposals.image_size, dtype=np.int64),
                fingerprint=np.array(self._fingerprint, dtype=np.str_),
                **regions,
            )
        return proposals

    def path(self, content: bytes) -> Path:
        """Returns the path of the entry for an image file with these bytes; the entry need not exist."""
        digest = hashlib.blake2b(digest_size=20)
        digest.update(f"{_FORMAT} {self._fingerprint} ".encode())
        digest.update(content)
        key = digest.hexdigest()
        return self.directory / key[:2] / f"{key[2:]}.npz"


def _read(path: Path) -> Proposals | None:
    """Returns the entry at `path`, or None if it is missing or damaged."""
    try:
        entry = read_npz(path.read_bytes(), _MAX_BYTES)
        width, height = entry["image_size"].tolist()
        regions = None
        if "masks" in entry:
            characters, ends = entry["masks"].tobytes(), np.cumsum([0, *entry["mask_sizes"].tolist()]).tolist()
            counts = tuple(characters[a:b] for a, b in pairwise(ends))
            regions = Regions(entry["levels"], counts, (width, height))
        return Proposals(
            entry["boxes"].astype(np.float32),
            entry["scores"],
            entry["sources"],
            tuple(entry["source_names"].tolist()),
            (width, height),
            regions,
        )
    except Exception:  # a damaged entry can fail in any of these steps
        return None
