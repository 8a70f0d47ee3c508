"""The wall time of a training: how far each step goes in the learning rate's schedule, so that all ends in time."""

import math
import time
from dataclasses import dataclass, field

_AVERAGED_STEPS = (5, 20)
"""Number of steps over which the time of a step is averaged, at first (with the guess as all but one) and at most."""
_MAX_CLOSING = 0.2
"""Largest part of the time to reserve for the last evaluation and what follows it."""
_MAX_EVALUATING = 0.25
"""Evaluations before the last one are skipped if they would take more than this part of the time left."""


@dataclass
class Budget:
    """Wall time of a training over all its runs, including start-up and the final steps.

    Attributes:
        seconds: time limit; infinite for a training that is limited by its steps alone.
        step: seconds per step: a guess, then as measured.
        evaluation: duration of an evaluation in steps: a guess, then as measured.
        closing: duration of what follows the last evaluation, in evaluations.
        began: when this session began, by `time.perf_counter`.
        spent: seconds of the sessions before.
    """

    seconds: float = math.inf
    step: float = 1.0
    evaluation: float = 0.0
    closing: float = 0.0
    began: float = field(default_factory=lambda: time.perf_counter())
    spent: float = 0.0
    _averaged: int = _AVERAGED_STEPS[0]

    @property
    def elapsed(self) -> float:
        return self.spent + time.perf_counter() - self.began

    def record_step(self, seconds: float) -> None:
        """Updates the mean time of a step."""
        self.step += (seconds - self.step) / self._averaged
        self._averaged = min(self._averaged + 1, _AVERAGED_STEPS[1])

    def record_evaluation(self, seconds: float) -> None:
        """Updates the duration of an evaluation."""
        self.evaluation = seconds / self.step

    def plan(self, remaining: float, steps: int, evaluations: int) -> tuple[float, bool]:
        """How far the next step goes in the schedule (1 if there is time for every step), and whether there is time for
        evaluations before the last one.

        Args:
            remaining: length of the schedule that remains.
            steps: largest number of steps that remain.
            evaluations: number of evaluations due before the last one.
        """
        training = self.seconds - self._reserved - self.elapsed
        evaluating = evaluations * self.evaluation * self.step
        has_time = evaluating <= _MAX_EVALUATING * training
        possible = (training - has_time * evaluating) / self.step
        return remaining / max(1.0, min(steps, possible)), has_time and possible > 1

    @property
    def _reserved(self) -> float:
        """Seconds for the last evaluation, which may evaluate earlier weights too, and what follows it."""
        return min((2 + self.closing) * self.evaluation * self.step, _MAX_CLOSING * self.seconds)

    def deadline(self, closing: bool) -> float:
        """When everything has to end, by `time.perf_counter`; with `closing`, when what follows the last evaluation has
        to begin."""
        reserved = self._reserved * self.closing / (2 + self.closing) if closing else 0.0
        return self.began - self.spent + self.seconds - reserved
