"""The union of several sources of boxes (GoogLeNet, section 8: Selective Search and MultiBox)."""

import hashlib
from collections.abc import Sequence

import numpy as np

from proposals.suppression import first_kept
from proposals.types import Proposals, Proposer

OVERLAP = 0.9
"""Boxes that overlap by more than this say the same twice."""


def merge_proposals(found: Sequence[Proposals], limit: int | None = None, overlap: float = OVERLAP) -> Proposals:
    """One list from the lists of several sources of one image, by one rule.

    The best box of each source, then the second of each, and so on, in the order in which the sources are given; when
    one has no more, the others go on. Of two boxes that overlap by more than `overlap` (IoU) the later is dropped. A
    box keeps its source; its score becomes 1 / position. A single list stays as it is.

    Args:
        limit: number of boxes; None: all.

    Raises:
        ValueError: there is no source, or they are of images of different sizes.
    """
    if not found:
        raise ValueError("a union needs at least one source of boxes")
    size = found[0].image_size
    if any(one.image_size != size for one in found):
        sizes = ", ".join("{}x{}".format(*one.image_size) for one in found)
        raise ValueError(f"a union needs boxes of one image, not of images of {sizes} pixels")
    if len(found) == 1:
        return found[0] if limit is None else found[0].top(limit)
    place = np.concatenate([np.arange(len(one)) for one in found])
    order = np.argsort(place, kind="stable")
    boxes = np.concatenate([one.boxes for one in found])[order]
    starts = np.cumsum([0, *(len(one.source_names) for one in found)])
    sources = np.concatenate([one.sources + start for one, start in zip(found, starts, strict=False)])[order]
    keep = first_kept(boxes, overlap, limit)
    scores = (1 / np.arange(1, len(keep) + 1)).astype(np.float32)
    names = tuple(name for one in found for name in one.source_names)
    return Proposals(boxes[keep], scores, sources[keep].astype(np.int16), names, size)


class UnionProposer:
    """A proposer that merges the boxes of others (`merge_proposals`).

    Args:
        proposers: at least one.
        limit: number of boxes; None: all.
    """

    def __init__(self, proposers: Sequence[Proposer], limit: int | None = None, overlap: float = OVERLAP) -> None:
        if not proposers:
            raise ValueError("a union needs at least one source of boxes")
        self.proposers, self.limit, self.overlap = tuple(proposers), limit, overlap

    @property
    def fingerprint(self) -> str:
        content = (*(one.fingerprint for one in self.proposers), self.limit, self.overlap)
        return hashlib.blake2b(f"union {content}".encode(), digest_size=16).hexdigest()

    def __call__(self, image: np.ndarray) -> Proposals:
        return merge_proposals([propose(image) for propose in self.proposers], self.limit, self.overlap)
