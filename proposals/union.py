"""The union of several sources of boxes (GoogLeNet, section 8: Selective Search and MultiBox)."""

import hashlib
from collections.abc import Sequence

import numpy as np

from proposals.nms import nms
from proposals.types import Proposals, Proposer

OVERLAP = 0.9
"""Boxes that overlap by more than this IoU count as duplicates."""


def merge_proposals(sources: Sequence[Proposals], limit: int | None = None, overlap: float = OVERLAP) -> Proposals:
    """Merges proposals of several sources for one image into one list.

    The lists are interleaved: the best box of each source, then the second of each, and so on. Of two boxes with an IoU
    above `overlap` the later is dropped. Boxes keep their source names; scores become 1 / position. A single list is
    returned unchanged.

    Args:
        sources: at least one list of proposals.
        limit: maximum number of boxes; None returns all.
        overlap: IoU above which boxes count as duplicates.

    Raises:
        ValueError: there is no source, or the sources are for images of different sizes.
    """
    if not sources:
        raise ValueError("a union needs at least one source of boxes")
    size = sources[0].image_size
    if any(source.image_size != size for source in sources):
        sizes = ", ".join("{}x{}".format(*source.image_size) for source in sources)
        raise ValueError(f"a union needs boxes of one image, not of images of {sizes} pixels")
    if len(sources) == 1:
        return sources[0] if limit is None else sources[0].top(limit)
    order = np.argsort(np.concatenate([np.arange(len(source)) for source in sources]), kind="stable")
    boxes = np.concatenate([source.boxes for source in sources])[order]
    starts = np.cumsum([0, *(len(source.source_names) for source in sources)])
    indices = np.concatenate([source.sources + start for source, start in zip(sources, starts, strict=False)])[order]
    keep = nms(boxes, overlap, limit)
    scores = (1 / np.arange(1, len(keep) + 1)).astype(np.float32)
    names = tuple(name for source in sources for name in source.source_names)
    return Proposals(boxes[keep], scores, indices[keep].astype(np.int16), names, size)


class UnionProposer:
    """A proposer that merges the boxes of several proposers with `merge_proposals`.

    Args:
        proposers: at least one proposer.
        limit: maximum number of boxes; None returns all.
        overlap: IoU above which boxes count as duplicates.
    """

    def __init__(self, proposers: Sequence[Proposer], limit: int | None = None, overlap: float = OVERLAP) -> None:
        if not proposers:
            raise ValueError("a union needs at least one source of boxes")
        self.proposers, self.limit, self.overlap = tuple(proposers), limit, overlap

    @property
    def fingerprint(self) -> str:
        content = (*(proposer.fingerprint for proposer in self.proposers), self.limit, self.overlap)
        return hashlib.blake2b(f"union {content}".encode(), digest_size=16).hexdigest()

    def __call__(self, image: np.ndarray) -> Proposals:
        return merge_proposals([proposer(image) for proposer in self.proposers], self.limit, self.overlap)
