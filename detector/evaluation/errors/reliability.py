"""Do scores mean what they say: the calibration curve (reliability diagram) and its error."""

from dataclasses import dataclass

import numpy as np

from detector.data.detection_table import DetectionTable
from detector.evaluation.errors.shared import FloatArray, IntArray, Judged

BINS = 10


@dataclass(frozen=True, eq=False, kw_only=True)
class Reliability:
    """Scores against the share of right detections, in B bins of equal width over 0..1.

    Attributes:
        counts: (B,) detections with a score in the bin; they are those that count.
        mean_scores, precision: (B,) their mean score and the share that found an object; NaN for an empty bin.
        expected_error: expected calibration error, the mean distance of the two, weighted with the counts
            (Guo et al., ICML 2017, equation 3); NaN without detections.
    """

    counts: IntArray
    mean_scores: FloatArray
    precision: FloatArray
    expected_error: float


def reliability(detections: DetectionTable, judged: Judged, bins: int = BINS) -> Reliability | None:
    """The calibration of the scores; None if they are not probabilities: one lies outside 0..1.

    The detections that count least for average precision, those of low scores, are by far the most, so that the
    expected error is mostly theirs; the bins tell the rest.
    """
    counts = judged.true_positive | judged.false_positive
    scores, right = detections.scores[counts], judged.true_positive[counts]
    if ((scores < 0) | (scores > 1)).any():
        return None
    # A score of exactly 1 belongs to the last bin.
    index = np.minimum((scores * bins).astype(np.int64), bins - 1)
    number = np.bincount(index, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean_scores = np.bincount(index, scores, minlength=bins) / number
        precision = np.bincount(index, right, minlength=bins) / number
    gaps = np.nan_to_num(np.abs(mean_scores - precision))
    error = float((gaps * number).sum() / number.sum()) if len(scores) else float("nan")
    return Reliability(counts=number, mean_scores=mean_scores, precision=precision, expected_error=error)
