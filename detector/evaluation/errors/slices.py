"""Average precision of a subset of the objects: by size and by aspect ratio."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from detector.data.detection_table import DetectionTable
from detector.data.ground_truth import GroundTruth
from detector.evaluation.errors.matches_by_row import MatchesByRow
from detector.evaluation.metrics.formatting import mean_of_known
from detector.evaluation.metrics.matching import BoolArray, FloatArray, IntArray, Matches, counted_objects
from detector.evaluation.metrics.sizes import sizes_of
from detector.evaluation.metrics.voc import VOCMetric, class_average_precision

ASPECTS = ("tall", "square", "wide")
"""Aspect ratios by width / height: tall below 3/4, wide above 4/3 (TIDE's limits)."""

ASPECT_LIMITS = (3 / 4, 4 / 3)


@dataclass(frozen=True, eq=False, kw_only=True)
class Slice:
    """The result on a subset of the objects.

    Attributes:
        name: of the subset.
        class_ap: (C,) average precision by class, NaN where the subset has no object of it.
        objects: (C,) number of its objects that count.
        found: number of them that a detection of at least the diagnosis' score found.
    """

    name: str
    class_ap: FloatArray
    objects: IntArray
    found: int

    @property
    def mean_ap(self) -> float:
        """Mean over the classes with objects in the subset; NaN without any."""
        return mean_of_known(self.class_ap)


def aspect_groups(sides: FloatArray) -> IntArray:
    """(N,) index into `ASPECTS` of boxes by their (N, 2) width and height; both limits are square."""
    with np.errstate(divide="ignore", invalid="ignore"):  # a detection may have no height, or be a point
        ratio = sides[:, 0] / sides[:, 1]
    return ((ratio >= ASPECT_LIMITS[0]).astype(np.int64) + (ratio > ASPECT_LIMITS[1])).astype(np.int64)


def size_slices(
    truth: GroundTruth, detections: DetectionTable, matches: Matches, metric: VOCMetric, score: float
) -> tuple[Slice, ...]:
    """The slices by COCO's sizes: objects by `truth.areas`, detections by the areas of their boxes."""
    boxes = sizes_of(detections.sides.prod(axis=1))
    subsets = {name: (objects, boxes[name]) for name, objects in sizes_of(truth.areas).items()}
    return _slices(subsets, truth, detections, matches, metric, score)


def aspect_slices(
    truth: GroundTruth, detections: DetectionTable, matches: Matches, metric: VOCMetric, score: float
) -> tuple[Slice, ...]:
    """The slices of `ASPECTS`, by the boxes of objects and detections."""
    objects, boxes = aspect_groups(truth.sides), aspect_groups(detections.sides)
    subsets = {name: (objects == group, boxes == group) for group, name in enumerate(ASPECTS)}
    return _slices(subsets, truth, detections, matches, metric, score)


def _slices(
    subsets: Mapping[str, tuple[BoolArray, BoolArray]],
    truth: GroundTruth,
    detections: DetectionTable,
    matches: Matches,
    metric: VOCMetric,
    score: float,
) -> tuple[Slice, ...]:
    """The result on each subset, given as its objects and its detections.

    The rule is that of the metric by size (`Matches.within`): the hits of one subset do not lower another's precision.
    """
    labels = detections.labels[matches.order]
    found = MatchesByRow.of(truth, matches).found(detections, score)
    slices = []
    for name, (objects, boxes) in subsets.items():
        within = matches.within(objects, boxes)
        counted = objects & counted_objects(truth)
        number = np.bincount(truth.labels[counted], minlength=len(truth.class_names))
        hits = within.true_positive[within.counts]
        slices.append(
            Slice(
                name=name,
                class_ap=class_average_precision(labels[within.counts], hits, number, metric),
                objects=number,
                found=int(np.count_nonzero(found & objects)),
            )
        )
    return tuple(slices)
