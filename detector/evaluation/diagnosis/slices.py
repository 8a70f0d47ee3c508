"""Average precision of a part of the objects: by size and by shape."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from detector.data.ground_truth import GroundTruth
from detector.evaluation.diagnosis.shared import (
    BoolArray,
    FloatArray,
    IntArray,
    Judged,
    class_average_precision,
    counted_objects,
)
from detector.evaluation.formatting import mean_of_known
from detector.evaluation.matching import Matches
from detector.evaluation.table import DetectionTable
from detector.evaluation.voc import VOCMetric

#: Sizes by area in square pixels: small below 32^2, medium below 96^2. An object of exactly 32^2 or 96^2 is in one of
#: them here; in COCO's metric (`sizes.AREA_RANGES`) it is in both.
SIZES = ("small", "medium", "large")
SIZE_LIMITS = (32.0**2, 96.0**2)

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


def size_groups(areas: npt.NDArray[np.floating]) -> IntArray:
    """(N,) index into `SIZES` of objects of these areas in square pixels."""
    return np.digitize(areas, SIZE_LIMITS).astype(np.int64)


def aspect_groups(boxes: npt.NDArray[np.floating]) -> IntArray:
    """(N,) index into `ASPECTS` of boxes (N, 4) x1, y1, x2, y2; both limits are square."""
    with np.errstate(divide="ignore", invalid="ignore"):  # a detection may have no height, or be a point
        ratio = (boxes[:, 2] - boxes[:, 0]) / (boxes[:, 3] - boxes[:, 1])
    return ((ratio >= ASPECT_LIMITS[0]).astype(np.int64) + (ratio > ASPECT_LIMITS[1])).astype(np.int64)


def by_size(
    truth: GroundTruth, detections: DetectionTable, matches: Matches, metric: VOCMetric, score: float
) -> tuple[Slice, ...]:
    """The slices of `SIZES`: objects by `truth.areas`, detections by the areas of their boxes."""
    sides = detections.boxes[:, 2:] - detections.boxes[:, :2]
    groups = size_groups(truth.areas), size_groups(sides.prod(axis=1))
    return _slices(SIZES, *groups, truth, detections, matches, metric, score)


def by_aspect(
    truth: GroundTruth, detections: DetectionTable, matches: Matches, metric: VOCMetric, score: float
) -> tuple[Slice, ...]:
    """The slices of `ASPECTS`, by the boxes of objects and detections."""
    groups = aspect_groups(truth.boxes), aspect_groups(detections.boxes)
    return _slices(ASPECTS, *groups, truth, detections, matches, metric, score)


def _slices(
    names: tuple[str, ...],
    object_groups: IntArray,
    detection_groups: IntArray,
    truth: GroundTruth,
    detections: DetectionTable,
    matches: Matches,
    metric: VOCMetric,
    score: float,
) -> tuple[Slice, ...]:
    """COCO's rule on the matches at hand: what takes an object goes with the object, what takes none with its own box.

    A detection that takes an object of another slice counts neither way, so no slice pays for the hits of another.
    """
    ranked = detections[matches.order]
    groups = detection_groups[matches.order]
    takes = matches.objects >= 0
    groups[takes] = object_groups[matches.objects[takes]]
    found = Judged.of(truth, matches).found(detections, score)
    return tuple(
        _slice(name, object_groups == group, groups == group, found, truth, ranked, matches, metric)
        for group, name in enumerate(names)
    )


def _slice(
    name: str,
    objects: BoolArray,
    rows: BoolArray,
    found: BoolArray,
    truth: GroundTruth,
    ranked: DetectionTable,
    matches: Matches,
    metric: VOCMetric,
) -> Slice:
    rows = rows & matches.counts
    counted = objects & counted_objects(truth)
    number = np.bincount(truth.labels[counted], minlength=len(truth.class_names))
    return Slice(
        name=name,
        class_ap=class_average_precision(ranked.labels[rows], matches.true_positive[rows], number, metric),
        objects=number,
        found=int(np.count_nonzero(found & objects)),
    )
