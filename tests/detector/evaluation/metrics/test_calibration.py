import numpy as np
import pytest

from detector.evaluation.metrics.calibration import fit_calibration
from detector.evaluation.metrics.voc import APResult, ClassResult


def result(scores: np.ndarray, right: np.ndarray) -> APResult:
    order = np.argsort(-scores)
    return APResult("voc07", 0.5, {"cat": ClassResult(0.5, len(scores), scores[order], right[order])})


def test_planted_slope_and_offset_are_found():
    """Detections that are right with the probability sigmoid(2 * logit(score) - 1)."""
    rng = np.random.default_rng(0)
    scores = rng.uniform(0.02, 0.98, 20_000)
    log_odds = np.log(scores / (1 - scores))
    right = rng.random(20_000) < 1 / (1 + np.exp(-(2 * log_odds - 1)))
    assert fit_calibration(result(scores, right)) == pytest.approx((2.0, -1.0), abs=0.1)


@pytest.mark.parametrize("right", [[True] * 4, [False] * 4, [False, False, True, True], []])
def test_nothing_to_learn_or_a_reversed_order_changes_nothing(right: list[bool]):
    scores = np.array([0.9, 0.8, 0.2, 0.1])[: len(right)]
    assert fit_calibration(result(scores, np.array(right, bool))) == (1.0, 0.0)


def test_a_fit_replaces_the_calibration_that_the_scores_have_been_through():
    """Raw log-odds x are right with the probability sigmoid(2x - 1); the scores say sigmoid(0.5x + 3)."""
    rng = np.random.default_rng(0)
    raw = rng.uniform(-4, 4, 20_000)
    right = rng.random(20_000) < 1 / (1 + np.exp(-(2 * raw - 1)))
    scores = 1 / (1 + np.exp(-(0.5 * raw + 3)))
    assert fit_calibration(result(scores, right), (0.5, 3.0)) == pytest.approx((2.0, -1.0), abs=0.15)
    assert fit_calibration(result(scores, np.ones_like(right)), (0.5, 3.0)) == (0.5, 3.0)


def test_few_detections_that_are_well_separated_keep_their_order_as_float32():
    scores = np.linspace(0.05, 0.95, 20)
    slope, offset = fit_calibration(result(scores, scores > 0.5))
    calibrated = 1 / (1 + np.exp(-(slope * np.log(scores / (1 - scores)) + offset)))
    assert len(np.unique(calibrated.astype(np.float32))) == 20
    assert 0.001 < calibrated.min() < calibrated.max() < 0.999
