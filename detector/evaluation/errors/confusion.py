"""Which class is taken for which: a confusion matrix with background.

The usual matrices (Ultralytics, hotcoco) match without a look at the class first, so that a surer detection of a wrong
class takes an object from the right one, and their diagonal disagrees with the true positives of average precision.
Difficult objects are unknown to them too.
"""

from dataclasses import dataclass

import numpy as np

from detector.data.detection_table import DetectionTable
from detector.data.ground_truth import GroundTruth
from detector.evaluation.errors.shared import IntArray, Judged, at_least, counted_objects
from detector.evaluation.metrics.voc_matching import Pairs, best_of_pairs, pairs_of_an_image


@dataclass(frozen=True, eq=False, kw_only=True)
class Confusion:
    """Objects against detections of at least `score`.

    Attributes:
        class_names: (C,) names of the rows and columns; the last row and column are background.
        matrix: (C + 1, C + 1) int64. Row: class of an object. Column: class of the detection that it got. The last
            column holds objects that no detection lies on, the last row detections that lie on no object left. A row's
            sum is the number of objects of a class, a column's that of its detections, those that count.
        score: lowest score of the detections.
    """

    class_names: tuple[str, ...]
    matrix: IntArray
    score: float

    def most_frequent(self, count: int) -> list[tuple[str, str, int]]:
        """The pairs of class and other class, taken for it, with their number; most frequent first."""
        inner = self.matrix[:-1, :-1].copy()
        np.fill_diagonal(inner, 0)
        # Stable: equal numbers in the order of the classes.
        order = np.argsort(-inner, axis=None, kind="stable")[:count]
        rows, columns = np.unravel_index(order, inner.shape)
        names = self.class_names
        return [(names[r], names[c], int(inner[r, c])) for r, c in zip(rows, columns, strict=True) if inner[r, c]]


def confusion_matrix(
    truth: GroundTruth, detections: DetectionTable, judged: Judged, score: float, iou_threshold: float = 0.5
) -> Confusion:
    """Class-aware: an object that was found in its own class is right, whatever else lies on it.

    So the diagonal holds the true positives that average precision counts. A false positive then belongs to the object
    of another class that it overlaps most, among those that were not found, from `iou_threshold` on; each object takes
    the surest. All others are background.

    Args:
        judged: the matches at `iou_threshold`.
        score: lowest score of the detections that are looked at.
    """
    background = len(truth.class_names)
    shown = at_least(detections.scores, score)
    found = judged.found(detections, score)
    unfound = counted_objects(truth) & ~found
    predicted = np.full(len(truth), background)  # by object
    predicted[found] = truth.labels[found]

    wrong = np.flatnonzero(shown & judged.false_positive)
    wrong = wrong[np.lexsort((detections.images[wrong], -detections.scores[wrong]))]
    table = detections[wrong]

    def confused(pairs: Pairs) -> Pairs:
        other_class = truth.labels[pairs.objects] != table.labels[pairs.detections]
        return pairs[unfound[pairs.objects] & other_class & (pairs.overlaps >= iou_threshold)]

    best, _ = best_of_pairs(map(confused, pairs_of_an_image(truth, table)), len(wrong))
    taken, first = np.unique(best, return_index=True)
    takers = first[taken >= 0]
    taken = taken[taken >= 0]
    predicted[taken] = detections.labels[wrong[takers]]

    matrix = np.zeros((background + 1, background + 1), np.int64)
    counted = counted_objects(truth)
    np.add.at(matrix, (truth.labels[counted], predicted[counted]), 1)
    nothing = np.delete(wrong, takers)
    matrix[background, :-1] = np.bincount(detections.labels[nothing], minlength=background)
    return Confusion(class_names=truth.class_names, matrix=matrix, score=score)
