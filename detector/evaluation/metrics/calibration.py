"""Scores that state how often a detection is right (Platt scaling), and of which 0.5 is a good one to show."""

import numpy as np
from sklearn.linear_model import LogisticRegression

from detector.evaluation.metrics.voc import APResult, FloatArray

_EPSILON = 1e-6
_F1_LOSS = 0.01
"""F1 at score 0.5 is at most this much below the best."""


def fit_calibration(result: APResult, before: tuple[float, float] = (1.0, 0.0)) -> tuple[float, float]:
    """Slope and offset for the log-odds of the scores, fitted to true and false positives.

    After `sigmoid(slope * logit(score) + offset)` detections of one score are right about as often as the score says.
    All classes share the two numbers, and detections keep their order. The targets are Platt's (1999), slightly inside
    0 and 1, so that a few well separated detections do not give an infinite slope. If the fit is impossible (only true
    or only false positives) or would reverse the order, the result is `before`.

    A detector that finds few of the objects has its best F1 at half of that F1 (Lipton et al., 2014), far below 0.5.
    The offset is then raised, as little as brings F1 at score 0.5 within 0.01 of the best F1, and scores are higher
    than how often they are right.

    Args:
        before: slope and offset already applied to the scores of the result; the returned ones replace them.
    """
    scores = np.concatenate([c.scores for c in result.classes.values()])
    right = np.concatenate([c.true_positive for c in result.classes.values()])
    if len(np.unique(right)) < 2:
        return before
    log_odds = _log_odds(scores)
    hits = np.count_nonzero(right)
    target = np.where(right, (hits + 1) / (hits + 2), 1 / (len(right) - hits + 2))
    fit = LogisticRegression(C=np.inf).fit(
        np.tile(log_odds, 2)[:, None], np.repeat([True, False], len(right)), np.concatenate([target, 1 - target])
    )
    slope, offset = float(fit.coef_[0, 0]), float(fit.intercept_[0])
    if slope <= 0:
        return before
    offset += _raise(slope, offset, result)
    return slope * before[0], slope * before[1] + offset


def _raise(slope: float, offset: float, result: APResult) -> float:
    """How much the log-odds must rise until F1 at score 0.5 is good enough; negative if they must fall."""
    scores, f1 = result.f1_by_score()
    calibrated = slope * _log_odds(scores) + offset
    shown = np.append(0.0, f1)[np.count_nonzero(calibrated >= 0)]
    good = f1 >= f1.max() - _F1_LOSS
    return 0.0 if shown >= f1.max() - _F1_LOSS else -float(calibrated[good][np.argmin(np.abs(calibrated[good]))])


def _log_odds(scores: FloatArray) -> FloatArray:
    scores = scores.astype(np.float64).clip(_EPSILON, 1 - _EPSILON)
    return np.log(scores / (1 - scores))
