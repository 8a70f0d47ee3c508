"""A training that has to end in time, on a machine whose speed changes, without the training."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from detector.training.budget import Budget

STEPS, EVERY = 4867, 974


@pytest.fixture(autouse=True)
def time(clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detector.training.budget.time", clock)


def train(clock: Any, budget: Budget, seconds: Callable[[float], float], evaluation: float = 15.0) -> list[float]:
    """Goes through the schedule with steps that take what `seconds` says of the time; returns its positions."""
    positions = [0.0]
    while positions[-1] < STEPS:
        remaining = STEPS - positions[-1]
        stride, evaluates = budget.plan(remaining, STEPS - (len(positions) - 1), -(-int(remaining) // EVERY) - 1)
        mark = min(STEPS, (positions[-1] // EVERY + 1) * EVERY) if evaluates else STEPS
        before = clock.now
        clock.now += seconds(clock.now)
        budget.record_step(clock.now - before)
        positions.append(min(positions[-1] + stride, mark))
        if positions[-1] == mark:
            clock.now += evaluation * seconds(clock.now)
            budget.record_evaluation(evaluation * seconds(clock.now))
    return positions


def test_with_time_to_spare_each_step_counts_as_one(clock: Any):
    assert train(clock, Budget(3000, 0.3, 15), lambda now: 0.3) == [float(step) for step in range(STEPS + 1)]


@pytest.mark.parametrize(
    ("guess", "seconds", "least"),
    [
        (3.4, lambda now: 3.4 if now < 60 else 0.25, 4500),  # another process at the beginning
        (0.25, lambda now: 0.25 if now < 750 else 2.5, 2900),  # and from the middle on
        (0.25, lambda now: 2.5 if now < 750 else 0.25, 2500),  # and until then
        (0.25, lambda now: 3.4, 300),  # always, which the guess did not see
    ],
)
def test_the_time_is_used_and_kept(clock: Any, guess: float, seconds: Callable[[float], float], least: int):
    budget = Budget(1500, guess, 15, closing=2)
    positions = train(clock, budget, seconds)
    closing = 2 * 15 * seconds(clock.now)
    assert len(positions) > least
    assert clock.now <= budget.deadline(closing=False)
    if len(positions) <= STEPS:  # all of it is used, up to about an evaluation
        assert clock.now + closing >= 1500 - 3 * 15 * seconds(clock.now)
    assert all(before < after for before, after in pairwise(positions))


def test_what_parts_before_took_counts(clock: Any):
    clock.now = 100.0
    budget = Budget(1500, 0.3, spent=1400)
    clock.now = 150.0
    assert budget.elapsed == 1450
    assert budget.deadline(closing=False) == 200
    assert budget.plan(4000, 4000, 4)[0] > 4000 / (50 / 0.3 + 1)
    clock.now = 300.0
    assert budget.plan(4000, 4000, 4) == (4000, False)
