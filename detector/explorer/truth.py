"""The annotated objects of an explained photo, and how well the stages cover them."""

from dataclasses import dataclass

import numpy as np
import torch

from detector.data import VOCDataset
from detector.data.traces import ObjectTraces
from detector.evaluation.prediction.tracing import trace_objects
from detector.explorer.stages import Explanation
from detector.structures.detections import Detections
from detector.structures.region_scores import RegionScores
from proposals.boxes import box_iou


@dataclass(frozen=True, eq=False)
class Objects:
    """The annotated objects of a photo.

    Attributes:
        boxes: (N, 4) float32 xyxy pixels of the photo.
        labels: (N,) int64, indices into the detector's classes; -1 for a class that it does not detect.
        names: (N,) class names.
        difficult: (N,) bool, objects that recall ignores.
    """

    boxes: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...]
    difficult: np.ndarray

    def __len__(self) -> int:
        return len(self.boxes)

    @classmethod
    def of_dataset(cls, dataset: VOCDataset, index: int, class_names: tuple[str, ...], scale: np.ndarray) -> "Objects":
        """The objects of an image of a data set, with their boxes multiplied by `scale` (4,).

        Raises:
            InputError: the annotation is missing or wrong.
        """
        annotations = dataset.annotations(index)
        names = tuple(dataset.class_names[label] for label in annotations.labels)
        labels = np.array([class_names.index(name) if name in class_names else -1 for name in names], np.int64)
        boxes = (annotations.boxes * scale).astype(np.float32).reshape(-1, 4)
        return cls(boxes, labels, names, annotations.difficult.astype(bool))

    def recall(self, overlaps: np.ndarray, iou: float) -> float | None:
        """Share of the objects that are not difficult with an overlap (N,) of at least `iou`; None without any."""
        counted = overlaps[~self.difficult]
        return float((counted >= iou).mean()) if len(counted) else None

    def traces(self, explanation: Explanation, count: int) -> ObjectTraces:
        """Traces through the first `count` proposals and their scores."""
        scored = explanation.scored
        first = RegionScores(scored.scores[:count], None if scored.box_deltas is None else scored.box_deltas[:count])
        return trace_objects(explanation.proposals.top(count), first, self.boxes, self.labels)

    def overlaps(self, detections: Detections) -> np.ndarray:
        """(N,) the highest IoU of each object with a detection of its class; 0 without one."""
        overlaps = box_iou(torch.from_numpy(self.boxes), torch.tensor(detections.boxes)).numpy()
        return (overlaps * (self.labels[:, None] == detections.labels)).max(axis=1, initial=0)
