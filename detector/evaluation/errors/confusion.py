"""Which class is mistaken for which: a confusion matrix with background.

The usual matrices (Ultralytics, hotcoco) match regardless of class at first, so a detection of a wrong class with a
higher score takes an object from the right one, and their diagonal disagrees with the true positives of average
precision. They do not handle difficult objects either.
"""

from dataclasses import dataclass

import numpy as np

from detector.data.detection_table import DetectionTable
from detector.data.ground_truth import GroundTruth
from detector.evaluation.metrics.matching import (
    IntArray,
    MatchesByRow,
    Pairs,
    at_least,
    best_of_pairs,
    counted_objects,
    pairs_of_an_image,
)


@dataclass(frozen=True, eq=False, kw_only=True)
class Confusion:
    """Objects against detections of at least `score`.

    Attributes:
        class_names: (C,) names of the rows and columns; the last row and column are background.
        matrix: (C + 1, C + 1) int64. Row: class of an object. Column: class of its detection. The last column counts
            objects without a detection, the last row detections without an object. A row's sum is the number of
            objects of a class, a column's that of its detections, of those that count.
        score: lowest score of the detections.
    """

    class_names: tuple[str, ...]
    matrix: IntArray
    score: float

    def most_frequent(self, count: int) -> list[tuple[str, str, int]]:
        """The pairs of a class and the class that it is mistaken for, with their number; most frequent first."""
        mistakes = self.matrix[:-1, :-1].copy()
        np.fill_diagonal(mistakes, 0)
        # Stable: equal numbers in the order of the classes.
        order = np.argsort(-mistakes, axis=None, kind="stable")[:count]
        rows, columns = np.unravel_index(order, mistakes.shape)
        names = self.class_names
        return [(names[r], names[c], int(mistakes[r, c])) for r, c in zip(rows, columns, strict=True) if mistakes[r, c]]


def confusion_matrix(
    truth: GroundTruth, detections: DetectionTable, matches: MatchesByRow, score: float, iou_threshold: float = 0.5
) -> Confusion:
    """Class-aware: an object that is found in its own class is right, whatever else lies on it.

    So the diagonal holds the true positives that average precision counts. A false positive then belongs to the object
    of another class that it overlaps most, among those not found, if their IoU reaches `iou_threshold`; each object
    takes the false positive of highest score. The remaining false positives are background.

    Args:
        matches: the matches at `iou_threshold`.
        score: lowest score of the detections to include.
    """
    background = len(truth.class_names)
    counted = counted_objects(truth)
    found = matches.found(detections, score)
    unfound = counted & ~found
    predicted = np.full(len(truth), background)  # by object
    predicted[found] = truth.labels[found]

    wrong = np.flatnonzero(at_least(detections.scores, score) & matches.false_positive)
    wrong = wrong[np.lexsort((detections.images[wrong], -detections.scores[wrong]))]
    table = detections[wrong]

    def confused(pairs: Pairs) -> Pairs:
        other_class = truth.labels[pairs.objects] != table.labels[pairs.detections]
        return pairs[unfound[pairs.objects] & other_class & (pairs.overlaps >= iou_threshold)]

    best, _ = best_of_pairs(map(confused, pairs_of_an_image(truth, table)), len(wrong))
    taken, first = np.unique(best, return_index=True)
    takers = first[taken >= 0]
    predicted[taken[taken >= 0]] = detections.labels[wrong[takers]]

    matrix = np.zeros((background + 1, background + 1), np.int64)
    np.add.at(matrix, (truth.labels[counted], predicted[counted]), 1)
    matrix[background, :-1] = np.bincount(detections.labels[np.delete(wrong, takers)], minlength=background)
    return Confusion(class_names=truth.class_names, matrix=matrix, score=score)
