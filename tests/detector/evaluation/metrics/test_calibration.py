import numpy as np
import pytest

from detector.evaluation.metrics.calibration import fit_calibration
from detector.evaluation.metrics.voc import APResult, ClassResult


def result(scores: np.ndarray, right: np.ndarray, objects: int | None = None) -> APResult:
    """Of detections of `objects` objects; by default those that the detections find."""
    order = np.argsort(-scores)
    objects = int(right.sum()) if objects is None else objects
    return APResult("voc07", 0.5, {"cat": ClassResult(0.5, objects, scores[order], right[order])})


def calibrated(scores: np.ndarray, calibration: tuple[float, float]) -> np.ndarray:
    slope, offset = calibration
    return 1 / (1 + np.exp(-(slope * np.log(scores / (1 - scores)) + offset)))


def test_planted_slope_and_offset_are_found():
    """Detections that are right with the probability sigmoid(6 * logit(score) - 3)."""
    rng = np.random.default_rng(0)
    scores = rng.uniform(0.02, 0.98, 20_000)
    log_odds = np.log(scores / (1 - scores))
    right = rng.random(20_000) < 1 / (1 + np.exp(-(6 * log_odds - 3)))
    assert fit_calibration(result(scores, right)) == pytest.approx((6.0, -3.0), abs=0.3)


@pytest.mark.parametrize("missed", [0, 10_000, 100_000])
def test_f1_at_score_a_half_is_close_to_the_best(missed: int):
    """The more objects a detector misses, the lower the score of its best F1."""
    rng = np.random.default_rng(0)
    scores = rng.uniform(0.02, 0.98, 20_000)
    right = rng.random(20_000) < scores
    slope, offset = fit_calibration(result(scores, right, int(right.sum()) + missed))
    assert slope == pytest.approx(1, abs=0.05)
    assert offset > 0.05
    after = result(calibrated(scores, (slope, offset)), right, int(right.sum()) + missed)
    values, f1 = after.f1_by_score()
    assert f1[values >= 0.4999][-1] == pytest.approx(f1.max() - 0.01, abs=0.001)  # the smallest change that suffices


@pytest.mark.parametrize("right", [[True] * 4, [False] * 4, [False, False, True, True], []])
def test_nothing_to_learn_or_a_reversed_order_changes_nothing(right: list[bool]):
    scores = np.array([0.9, 0.8, 0.2, 0.1])[: len(right)]
    assert fit_calibration(result(scores, np.array(right, bool))) == (1.0, 0.0)


def test_a_fit_replaces_the_calibration_that_the_scores_have_been_through():
    """Raw log-odds x are right with the probability sigmoid(6x - 3); the scores say sigmoid(0.5x + 3)."""
    rng = np.random.default_rng(0)
    raw = rng.uniform(-4, 4, 20_000)
    right = rng.random(20_000) < 1 / (1 + np.exp(-(6 * raw - 3)))
    scores = 1 / (1 + np.exp(-(0.5 * raw + 3)))
    assert fit_calibration(result(scores, right), (0.5, 3.0)) == pytest.approx((6.0, -3.0), abs=0.3)
    assert fit_calibration(result(scores, np.ones_like(right)), (0.5, 3.0)) == (0.5, 3.0)


def test_few_detections_that_are_well_separated_keep_their_order_as_float32():
    scores = np.linspace(0.05, 0.95, 20)
    values = calibrated(scores, fit_calibration(result(scores, scores > 0.5)))
    assert len(np.unique(values.astype(np.float32))) == 20
    assert 0.001 < values.min() < values.max() < 0.999
