"""Average precision of a subset of the objects: by size and by aspect ratio."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from detector.data.detection_table import DetectionTable
from detector.data.ground_truth import GroundTruth
from detector.evaluation.metrics.formatting import mean_of_known
from detector.evaluation.metrics.matching import BoolArray, FloatArray, IntArray, Matches, MatchesByRow, rank_matches
from detector.evaluation.metrics.sizes import sizes_of
from detector.evaluation.metrics.voc import VOCMetric, class_results

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


def slice_by_size_and_aspect(
    truth: GroundTruth, detections: DetectionTable, matches: Matches, metric: VOCMetric, score: float
) -> tuple[tuple[Slice, ...], tuple[Slice, ...]]:
    """The slices by COCO's sizes, and those of `ASPECTS`.

    Sizes are by `truth.areas` for objects and by the areas of the boxes for detections, aspects by the boxes. The rule
    is that of the metric by size (`Matches.within`): the hits of one subset do not lower another's precision.
    """
    found = MatchesByRow.of(truth, matches).found(detections, score)
    box_sizes = sizes_of(detections.sides.prod(axis=1))
    sizes = {name: (objects, box_sizes[name]) for name, objects in sizes_of(truth.areas).items()}
    objects, boxes = aspect_groups(truth.sides), aspect_groups(detections.sides)
    aspects = {name: (objects == group, boxes == group) for group, name in enumerate(ASPECTS)}

    def slices(subsets: Mapping[str, tuple[BoolArray, BoolArray]]) -> tuple[Slice, ...]:
        parts = []
        for name, (objects, boxes) in subsets.items():
            ranked = rank_matches(truth, detections, matches.within(objects, boxes), excluded=~objects)
            classes = class_results(ranked, metric).values()
            parts.append(
                Slice(
                    name=name,
                    class_ap=np.array([result.ap for result in classes]),
                    objects=np.array([result.objects for result in classes]),
                    found=int(np.count_nonzero(found & objects)),
                )
            )
        return tuple(parts)

    return slices(sizes), slices(aspects)
