"""Average precision of a part of the objects: by size and by shape."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from detector.data.detection_table import DetectionTable
from detector.data.ground_truth import GroundTruth
from detector.evaluation.errors.shared import (
    BoolArray,
    FloatArray,
    IntArray,
    Judged,
    class_average_precision,
    counted_objects,
)
from detector.evaluation.metrics.formatting import mean_of_known
from detector.evaluation.metrics.sizes import sizes_of
from detector.evaluation.metrics.voc import VOCMetric
from detector.evaluation.metrics.voc_matching import Matches

#: Shapes by width / height: tall below 3/4, wide above 4/3 (TIDE's limits).
ASPECTS = ("tall", "square", "wide")
ASPECT_LIMITS = (3 / 4, 4 / 3)


@dataclass(frozen=True, eq=False, kw_only=True)
class Slice:
    """The result on a part of the objects.

    Attributes:
        name: of the part.
        class_ap: (C,) average precision by class, NaN where the part has no object of it.
        objects: (C,) number of its objects that count.
        found: how many of them a detection of at least the diagnosis' score found.
    """

    name: str
    class_ap: FloatArray
    objects: IntArray
    found: int

    @property
    def mean_ap(self) -> float:
        """Mean over the classes with objects in the part; NaN without any."""
        return mean_of_known(self.class_ap)


def aspect_groups(sides: npt.NDArray[np.floating]) -> IntArray:
    """(N,) index into `ASPECTS` of boxes by their (N, 2) width and height; both limits are square."""
    with np.errstate(divide="ignore", invalid="ignore"):  # a detection may have no height, or be a point
        ratio = sides[:, 0] / sides[:, 1]
    return ((ratio >= ASPECT_LIMITS[0]).astype(np.int64) + (ratio > ASPECT_LIMITS[1])).astype(np.int64)


def by_size(
    truth: GroundTruth, detections: DetectionTable, matches: Matches, metric: VOCMetric, score: float
) -> tuple[Slice, ...]:
    """The slices by COCO's sizes: objects by `truth.areas`, detections by the areas of their boxes."""
    boxes = sizes_of(detections.sides.prod(axis=1))
    parts = {name: (objects, boxes[name]) for name, objects in sizes_of(truth.areas).items()}
    return _slices(parts, truth, detections, matches, metric, score)


def by_aspect(
    truth: GroundTruth, detections: DetectionTable, matches: Matches, metric: VOCMetric, score: float
) -> tuple[Slice, ...]:
    """The slices of `ASPECTS`, by the boxes of objects and detections."""
    objects, boxes = aspect_groups(truth.sides), aspect_groups(detections.sides)
    parts = {name: (objects == group, boxes == group) for group, name in enumerate(ASPECTS)}
    return _slices(parts, truth, detections, matches, metric, score)


def _slices(
    parts: Mapping[str, tuple[BoolArray, BoolArray]],
    truth: GroundTruth,
    detections: DetectionTable,
    matches: Matches,
    metric: VOCMetric,
    score: float,
) -> tuple[Slice, ...]:
    """The result on each part, which objects and which detections' own boxes are in it, by the rule of the metric by
    size (`Matches.within`): no part pays for the hits of another.
    """
    labels = detections.labels[matches.order]
    found = Judged.of(truth, matches).found(detections, score)
    slices = []
    for name, (objects, boxes) in parts.items():
        part = matches.within(objects, boxes)
        counted = objects & counted_objects(truth)
        number = np.bincount(truth.labels[counted], minlength=len(truth.class_names))
        hits = part.true_positive[part.counts]
        slices.append(
            Slice(
                name=name,
                class_ap=class_average_precision(labels[part.counts], hits, number, metric),
                objects=number,
                found=int(np.count_nonzero(found & objects)),
            )
        )
    return tuple(slices)
