"""How well proposals cover annotated objects: recall, average recall, mean average best overlap.

After section 5 of the Selective Search paper (MABO) and Hosang et al., 'What makes for effective detection
proposals?' (PAMI 2016; average recall).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from proposals.types import Proposals

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""Over which average recall is the mean."""

_CURVE = (
    *(1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700),
    *(1000, 1500, 2000, 3000, 5000, 7000, 10_000),
)
_TABLE = (100, 300, 1000)
SIZES = {"small (under 32x32 pixels)": 0.0, "medium (under 96x96)": 32.0**2, "large": 96.0**2}
"""COCO's classes of size and the least area of a box in each."""


@dataclass(frozen=True)
class Coverage:
    """How well objects are covered by a number of boxes an image.

    Attributes:
        boxes: mean number of boxes an image.
        objects: number of objects.
        recall50, recall70: part of the objects with a box of IoU at least 0.5, 0.7.
        class_recall50: mean over the classes of a class's recall50, what the paper's tables call recall.
        average_recall: mean recall over the IoU thresholds 0.5, 0.55, ... 0.95.
        mabo: mean over the classes of the mean best IoU of a class's objects.
    """

    boxes: float
    objects: int
    recall50: float
    recall70: float
    class_recall50: float
    average_recall: float
    mabo: float


class ProposalEvaluation:
    """Collects the best overlaps of a data set's objects, image by image.

    Args:
        class_names: the classes that labels index.

    >>> evaluation = ProposalEvaluation(["cat"])
    >>> box = np.array([[10, 10, 50, 50]], np.float32)
    >>> evaluation.add(Proposals(box, np.ones(1, np.float32), np.zeros(1, np.int16), ("test",), (64, 64)), box, [0])
    >>> evaluation.coverage().mabo
    1.0
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        self.class_names = tuple(class_names)
        self._budgets = np.array([*_CURVE, np.iinfo(np.int64).max])
        self._overlaps: list[np.ndarray] = []  # (G, budgets) an image
        self._labels: list[np.ndarray] = []
        self._areas: list[np.ndarray] = []
        self._counts: list[int] = []

    def add(self, proposals: Proposals, boxes: np.ndarray, labels: Iterable[int]) -> None:
        """Adds an image: its proposals, its objects' boxes (G, 4) xyxy in the same pixels, and their classes.

        Objects that should not count, VOC's difficult ones above all, are left out by the caller.
        """
        labels = np.asarray(list(labels), np.int64)
        boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
        if len(labels) != len(boxes):
            raise ValueError(f"{len(boxes)} boxes but {len(labels)} labels")
        best = np.maximum.accumulate(overlaps(proposals.boxes, boxes), axis=0)
        best = np.concatenate((np.zeros((1, len(boxes))), best))  # row n: the best of the first n boxes
        self._overlaps.append(best[np.minimum(self._budgets, len(proposals))].T)
        self._labels.append(labels)
        self._areas.append(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1))
        self._counts.append(len(proposals))

    def coverage(self, boxes: int | None = None) -> Coverage:
        """Coverage of all objects by the first `boxes` proposals of an image, a number of the curve; None: all."""
        return self._coverage(boxes, np.ones(sum(map(len, self._labels)), bool))

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain numbers: the coverage by all boxes, by budget, class and size, and the curve."""
        everything = _plain(self.coverage())
        labels, areas = np.concatenate(self._labels), np.concatenate(self._areas)
        size = np.searchsorted(list(SIZES.values()), areas, side="right") - 1
        return {
            "images": len(self._counts),
            **everything,
            "by_budget": {str(n or "all"): _plain(self.coverage(n)) for n in (*_TABLE, None)},
            "by_class": {
                name: _plain(self._coverage(None, labels == label))
                for label, name in enumerate(self.class_names)
                if (labels == label).any()
            },
            "by_size": {
                name: _plain(self._coverage(None, size == i)) for i, name in enumerate(SIZES) if (size == i).any()
            },
            "curve": [_plain(self.coverage(n)) for n in (*_CURVE, None)],
        }

    def _coverage(self, boxes: int | None, chosen: np.ndarray) -> Coverage:
        budget = self._budgets[-1] if boxes is None else boxes
        if budget not in self._budgets:
            raise ValueError(f"boxes: {boxes} is none of {', '.join(map(str, _CURVE))}")
        if not chosen.any():
            raise ValueError("there are no objects to cover")
        best = np.concatenate(self._overlaps)[chosen, np.flatnonzero(self._budgets == budget)[0]]
        labels = np.concatenate(self._labels)[chosen]
        return Coverage(
            boxes=float(np.mean(np.minimum(self._counts, budget))),
            objects=len(best),
            recall50=float(np.mean(best >= 0.5)),
            recall70=float(np.mean(best >= 0.7)),
            average_recall=float(np.mean(best[:, None] >= IOU_THRESHOLDS)),
            class_recall50=_class_mean(best >= 0.5, labels),
            mabo=_class_mean(best, labels),
        )


def _class_mean(values: np.ndarray, labels: np.ndarray) -> float:
    return float(np.mean([values[labels == label].mean() for label in np.unique(labels)]))


def overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """IoU (N, M) of boxes (N, 4) and (M, 4), xyxy, right and bottom exclusive."""
    boxes, others = boxes[:, None].astype(np.float64), others[None].astype(np.float64)
    sides = np.minimum(boxes[..., 2:], others[..., 2:]) - np.maximum(boxes[..., :2], others[..., :2])
    intersection = np.clip(sides, 0, None).prod(axis=-1)
    areas = [(b[..., 2:] - b[..., :2]).prod(axis=-1) for b in (boxes, others)]
    return intersection / (areas[0] + areas[1] - intersection)


def _plain(coverage: Coverage) -> dict[str, Any]:
    return {k: v if k == "objects" else round(v, 2 if k == "boxes" else 5) for k, v in vars(coverage).items()}
