"""Errors by image, to find the worst images."""

from dataclasses import dataclass

import numpy as np

from detector.data.detection_table import DetectionTable
from detector.data.ground_truth import GroundTruth
from detector.evaluation.metrics.matching import BoolArray, IntArray, MatchesByRow, at_least, counted_objects


@dataclass(frozen=True, eq=False, kw_only=True)
class ImageErrors:
    """Errors of the detections of at least `score`.

    Attributes:
        found, missed: (N,) bool, objects that count and are found or not.
        false_positive: (D,) bool, by row of the table.
        found_by_image, missed_by_image, false_positives_by_image: (I,) their numbers.
        score: lowest score of the detections.
    """

    found: BoolArray
    missed: BoolArray
    false_positive: BoolArray
    found_by_image: IntArray
    missed_by_image: IntArray
    false_positives_by_image: IntArray
    score: float

    @property
    def errors(self) -> IntArray:
        """(I,) number of missed objects and false positives of each image."""
        return self.missed_by_image + self.false_positives_by_image

    def worst(self, count: int) -> IntArray:
        """Up to `count` images with errors, most errors first; equal ones in the order of the data set."""
        order = np.argsort(-self.errors, kind="stable")[:count]
        return order[self.errors[order] > 0]


def image_errors(truth: GroundTruth, detections: DetectionTable, matches: MatchesByRow, score: float) -> ImageErrors:
    """Count the errors of every image at a score threshold."""
    images = len(truth.image_ids)
    found = matches.found(detections, score)
    missed = counted_objects(truth) & ~found
    wrong = matches.false_positive & at_least(detections.scores, score)
    return ImageErrors(
        found=found,
        missed=missed,
        false_positive=wrong,
        found_by_image=np.bincount(truth.images[found], minlength=images),
        missed_by_image=np.bincount(truth.images[missed], minlength=images),
        false_positives_by_image=np.bincount(detections.images[wrong], minlength=images),
        score=score,
    )
