"""Scores that state how often a detection is right (Platt scaling)."""

import numpy as np
from sklearn.linear_model import LogisticRegression

from detector.evaluation.metrics.voc import APResult

_EPSILON = 1e-6


def fit_calibration(result: APResult, before: tuple[float, float] = (1.0, 0.0)) -> tuple[float, float]:
    """Slope and offset for the log-odds of the scores, fitted to true and false positives.

    After `sigmoid(slope * logit(score) + offset)` detections of one score are right about as often as the score says.
    All classes share the two numbers, and detections keep their order. The targets are Platt's (1999), slightly inside
    0 and 1, so that a few well separated detections do not give an infinite slope. If the fit is impossible (only true
    or only false positives) or would reverse the order, the result is `before`.

    Args:
        before: slope and offset already applied to the scores of the result; the returned ones replace them.
    """
    scores = np.concatenate([c.scores for c in result.classes.values()]).astype(np.float64)
    right = np.concatenate([c.true_positive for c in result.classes.values()])
    if len(np.unique(right)) < 2:
        return before
    scores = scores.clip(_EPSILON, 1 - _EPSILON)
    log_odds = np.log(scores / (1 - scores))
    hits = np.count_nonzero(right)
    target = np.where(right, (hits + 1) / (hits + 2), 1 / (len(right) - hits + 2))
    fit = LogisticRegression(C=np.inf).fit(
        np.tile(log_odds, 2)[:, None], np.repeat([True, False], len(right)), np.concatenate([target, 1 - target])
    )
    slope, offset = float(fit.coef_[0, 0]), float(fit.intercept_[0])
    return (slope * before[0], slope * before[1] + offset) if slope > 0 else before
