"""Whether scores are calibrated: the reliability diagram and the expected calibration error."""

from dataclasses import dataclass

import numpy as np

from detector.data.detection_table import DetectionTable
from detector.evaluation.metrics.matching import FloatArray, IntArray, MatchesByRow

BINS = 10
"""Number of bins of a reliability diagram."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Reliability:
    """Scores against the share of right detections, in B bins of equal width over 0..1.

    Attributes:
        counts: (B,) detections that count with a score in the bin.
        mean_scores, precision: (B,) their mean score and the share that found an object; NaN for an empty bin.
        expected_error: expected calibration error, the mean difference of the two, weighted by the counts
            (Guo et al., ICML 2017, equation 3); NaN without detections.
    """

    counts: IntArray
    mean_scores: FloatArray
    precision: FloatArray
    expected_error: float


def reliability(detections: DetectionTable, matches: MatchesByRow) -> Reliability | None:
    """The calibration of the scores; None if a score lies outside 0..1, so that scores are not probabilities.

    Detections of low scores matter least for average precision but are by far the most, so they dominate the expected
    error; the bins show the rest.
    """
    counts = matches.true_positive | matches.false_positive
    scores, right = detections.scores[counts], matches.true_positive[counts]
    if ((scores < 0) | (scores > 1)).any():
        return None
    # A score of exactly 1 belongs to the last bin.
    index = np.minimum((scores * BINS).astype(np.int64), BINS - 1)
    number = np.bincount(index, minlength=BINS)
    with np.errstate(invalid="ignore"):
        mean_scores = np.bincount(index, scores, minlength=BINS) / number
        precision = np.bincount(index, right, minlength=BINS) / number
    gaps = np.nan_to_num(np.abs(mean_scores - precision))
    error = float((gaps * number).sum() / number.sum()) if len(scores) else float("nan")
    return Reliability(counts=number, mean_scores=mean_scores, precision=precision, expected_error=error)
