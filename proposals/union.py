"""The union of several sources of boxes (GoogLeNet, section 8: Selective Search and MultiBox)."""

import hashlib
from collections.abc import Sequence

import numpy as np

from proposals.compilation import compiled
from proposals.types import Proposals, Proposer

OVERLAP = 0.9
"""Boxes that overlap by more than this IoU count as duplicates."""


def merge_proposals(sources: Sequence[Proposals], limit: int | None = None) -> Proposals:
    """Merges proposals of several sources for one image into one list.

    The lists are interleaved: the best box of each source, then the second of each, and so on. Of two boxes with an IoU
    above `OVERLAP` the later is dropped. Boxes keep their source names; scores become 1 / position. A single list is
    returned unchanged.

    Args:
        sources: at least one list of proposals.
        limit: maximum number of boxes; None returns all.

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
    keep = nms(boxes, OVERLAP, limit)
    scores = (1 / np.arange(1, len(keep) + 1)).astype(np.float32)
    names = tuple(name for source in sources for name in source.source_names)
    return Proposals(boxes[keep], scores, indices[keep].astype(np.int16), names, size)


class UnionProposer:
    """A proposer that merges the boxes of several proposers with `merge_proposals`.

    Args:
        proposers: at least one proposer.
        limit: maximum number of boxes; None returns all.
    """

    def __init__(self, proposers: Sequence[Proposer], limit: int | None = None) -> None:
        if not proposers:
            raise ValueError("a union needs at least one source of boxes")
        self.proposers, self.limit = tuple(proposers), limit

    @property
    def fingerprint(self) -> str:
        content = (*(proposer.fingerprint for proposer in self.proposers), self.limit, OVERLAP)
        return hashlib.blake2b(f"union {content}".encode(), digest_size=16).hexdigest()

    def __call__(self, image: np.ndarray) -> Proposals:
        return merge_proposals([proposer(image) for proposer in self.proposers], self.limit)


def nms(boxes: np.ndarray, iou: float, limit: int | None = None) -> np.ndarray:
    """Returns the indices (K,) int64 of the first `limit` boxes that survive non-maximum suppression.

    Args:
        boxes: (N, 4) float32 xyxy, best first.
        iou: boxes that overlap a better surviving box by more than this are suppressed.
        limit: maximum number of indices; None returns all.
    """
    return _nms(boxes, iou, len(boxes) if limit is None else min(limit, len(boxes)))


@compiled
def _nms(boxes: np.ndarray, iou: float, limit: int) -> np.ndarray:
    # All steps are in float32 and in this order, so that the result equals that of torchvision's nms exactly.
    keep = np.empty(limit, np.int64)
    kept = np.empty((5, limit), np.float32)  # corners and area of the surviving boxes
    count = 0
    for index in range(len(boxes)):
        if count == limit:
            break
        x1, y1, x2, y2 = boxes[index]
        area = (x2 - x1) * (y2 - y1)
        survives = True
        for i in range(count):
            width = min(x2, kept[2, i]) - max(x1, kept[0, i])
            height = min(y2, kept[3, i]) - max(y1, kept[1, i])
            if width > 0 and height > 0:
                intersection = width * height
                if intersection / (kept[4, i] + area - intersection) > iou:
                    survives = False
                    break
        if survives:
            kept[0, count], kept[1, count], kept[2, count], kept[3, count], kept[4, count] = x1, y1, x2, y2, area
            keep[count] = index
            count += 1
    return keep[:count]
