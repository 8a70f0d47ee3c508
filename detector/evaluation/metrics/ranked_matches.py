"""All that average precision is computed from, whatever the rule that matched detections with objects."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from detector.data.detection_table import DetectionTable
from detector.data.ground_truth import GroundTruth
from detector.evaluation.metrics.sizes import AreaRange, outside
from detector.evaluation.metrics.voc_matching import Matches


@dataclass(frozen=True, eq=False, kw_only=True)
class RankedMatches:
    """The detections and the objects that count.

    Attributes:
        class_names: (C,)
        image_count: number of images, those without anything included.
        images, labels: (D,) int64, image and class of each detection, from the highest score to the lowest.
        scores: (D,) float64.
        true_positive: (D,) bool; the others are false positives.
        object_images, object_labels: (N,) int64, image and class of each object.
    """

    class_names: tuple[str, ...]
    image_count: int
    images: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]
    true_positive: npt.NDArray[np.bool_]
    object_images: npt.NDArray[np.int64]
    object_labels: npt.NDArray[np.int64]


def rank_matches(
    truth: GroundTruth,
    detections: DetectionTable,
    matches: Matches,
    area_range: AreaRange | None = None,
    without: npt.NDArray[np.bool_] | None = None,
) -> RankedMatches:
    """What counts of `detections`, matched with the objects of `truth`.

    Args:
        area_range: the one that `matches` was made with.
        without: (N,) bool, objects that do not count, beside difficult ones, crowds and those of another area.
    """
    objects = ~(truth.difficult | truth.crowd | outside(truth.areas, area_range))
    if without is not None:
        objects &= ~without
    counted = matches.order[matches.counts]
    return RankedMatches(
        class_names=truth.class_names,
        image_count=len(truth.image_ids),
        images=detections.images[counted],
        labels=detections.labels[counted],
        scores=detections.scores[counted],
        true_positive=matches.true_positive[matches.counts],
        object_images=truth.images[objects],
        object_labels=truth.labels[objects],
    )
