"""Evaluation of proposals against annotated objects: recall, average recall and mean average best overlap.

MABO is defined in section 5 of the Selective Search paper, average recall in Hosang et al., 'What makes for effective
detection proposals?' (PAMI 2016).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from proposals.types import Proposals

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""The IoU thresholds that average recall is the mean over."""

_CURVE = (
    *(1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700),
    *(1000, 1500, 2000, 3000, 5000, 7000, 10_000),
)
_TABLE = (100, 500, 1000)
SIZES = {"small (under 32x32 pixels)": 0.0, "medium (under 96x96)": 32.0**2, "large": 96.0**2}
"""COCO's size classes and the minimum area of a box in each, in square pixels."""


@dataclass(frozen=True)
class Coverage:
    """How well a number of boxes per image covers the objects.

    Attributes:
        boxes: mean number of boxes per image.
        objects: number of objects.
        recall50, recall70: fraction of the objects that a box overlaps with an IoU of at least 0.5 or 0.7.
        class_recall50: mean of recall50 over the classes, which the paper's tables call recall.
        average_recall: mean recall over the IoU thresholds 0.5, 0.55, ... 0.95.
        mabo: mean average best overlap: the mean best IoU of a class's objects, averaged over the classes.
    """

    boxes: float
    objects: int
    recall50: float
    recall70: float
    class_recall50: float
    average_recall: float
    mabo: float


class ProposalEvaluation:
    """Accumulates the best overlaps of a data set's objects, image by image.

    Args:
        class_names: the class names, indexed by the labels.

    >>> evaluation = ProposalEvaluation(["cat"])
    >>> box = np.array([[10, 10, 50, 50]], np.float32)
    >>> evaluation.add(Proposals(box, np.ones(1, np.float32), np.zeros(1, np.int16), ("test",), (64, 64)), box, [0])
    >>> evaluation.coverage().mabo
    1.0
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        self.class_names = tuple(class_names)
        self._budgets = np.array([*_CURVE, np.iinfo(np.int64).max])
        self._overlaps: list[np.ndarray] = []  # (G, budgets) per image
        self._labels: list[np.ndarray] = []
        self._areas: list[np.ndarray] = []
        self._counts: list[int] = []

    def add(self, proposals: Proposals, boxes: np.ndarray, labels: Iterable[int]) -> None:
        """Adds an image.

        Args:
            proposals: the proposals for the image.
            boxes: (G, 4) xyxy, the boxes of its objects in the same pixels. Leave out objects that should not count,
                such as VOC's difficult ones.
            labels: G class indices.

        Raises:
            ValueError: there are more or fewer labels than boxes.
        """
        labels = np.asarray(list(labels), np.int64)
        boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
        if len(labels) != len(boxes):
            raise ValueError(f"{len(boxes)} boxes but {len(labels)} labels")
        best = np.maximum.accumulate(iou_matrix(proposals.boxes, boxes), axis=0)
        best = np.concatenate((np.zeros((1, len(boxes))), best))  # row n: the best overlap of the first n boxes
        self._overlaps.append(best[np.minimum(self._budgets, len(proposals))].T)
        self._labels.append(labels)
        self._areas.append(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1))
        self._counts.append(len(proposals))

    def coverage(self, boxes: int | None = None) -> Coverage:
        """Returns the coverage of all objects by the first `boxes` proposals of each image; None takes all proposals.

        Raises:
            ValueError: `boxes` is not a point of the curve, or there are no objects.
        """
        return self._coverage(boxes, np.ones(sum(map(len, self._labels)), bool))

    def to_dict(self) -> dict[str, Any]:
        """Returns plain numbers: the coverage by all boxes, by budget, class and size, and the curve.

        Raises:
            ValueError: there are no objects.
        """
        overall = _plain(self.coverage())
        labels, areas = np.concatenate(self._labels), np.concatenate(self._areas)
        size = np.searchsorted(list(SIZES.values()), areas, side="right") - 1
        return {
            "images": len(self._counts),
            **overall,
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

    def _coverage(self, boxes: int | None, selected: np.ndarray) -> Coverage:
        budget = self._budgets[-1] if boxes is None else boxes
        if budget not in self._budgets:
            raise ValueError(f"boxes must be one of {', '.join(map(str, _CURVE))}, not {boxes}")
        if not selected.any():
            raise ValueError("there are no objects to cover")
        best = np.concatenate(self._overlaps)[selected, np.flatnonzero(self._budgets == budget)[0]]
        labels = np.concatenate(self._labels)[selected]
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


def iou_matrix(boxes1: np.ndarray, boxes2: np.ndarray) -> np.ndarray:
    """Returns the IoU (N, M) of boxes (N, 4) and (M, 4), xyxy, right and bottom exclusive."""
    boxes1, boxes2 = boxes1[:, None].astype(np.float64), boxes2[None].astype(np.float64)
    sides = np.minimum(boxes1[..., 2:], boxes2[..., 2:]) - np.maximum(boxes1[..., :2], boxes2[..., :2])
    intersection = np.clip(sides, 0, None).prod(axis=-1)
    areas1, areas2 = ((boxes[..., 2:] - boxes[..., :2]).prod(axis=-1) for boxes in (boxes1, boxes2))
    return intersection / (areas1 + areas2 - intersection)


def _plain(coverage: Coverage) -> dict[str, Any]:
    return {k: v if k == "objects" else round(v, 2 if k == "boxes" else 5) for k, v in vars(coverage).items()}
