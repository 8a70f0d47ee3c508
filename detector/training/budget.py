"""The time that a training may take: how far each step goes in the schedule of the rate, so that all ends in time."""

import math
import time
from dataclasses import dataclass, field

_STEPS = (5, 20)
"""Over which the time of a step is averaged, at first, with the guess for all but one of them, and at most."""

_CLOSING = 0.2
"""Of the time, most to keep for the last evaluation and what follows it."""
_ON_THE_WAY = 0.25
"""Of the time left for training, most to take for evaluations on the way; otherwise there are none."""


@dataclass
class Budget:
    """Wall time of a training over all of its parts, with what precedes the first step and follows the last.

    Attributes:
        seconds: that it may take; infinite for a training that is bound by its steps alone.
        step: seconds that one takes: a guess, then as measured.
        evaluation: steps that take as long as one: a guess, then as measured.
        closing: what follows the last evaluation, in evaluations.
        began: when this part of the training began, by `time.perf_counter`.
        spent: seconds of the parts before.
    """

    seconds: float = math.inf
    step: float = 1.0
    evaluation: float = 0.0
    closing: float = 0.0
    began: float = field(default_factory=lambda: time.perf_counter())
    spent: float = 0.0
    _averaged: int = _STEPS[0]

    @property
    def elapsed(self) -> float:
        return self.spent + time.perf_counter() - self.began

    def stepped(self, seconds: float) -> None:
        """Takes note of how long a step took."""
        self.step += (seconds - self.step) / self._averaged
        self._averaged = min(self._averaged + 1, _STEPS[1])

    def evaluated(self, seconds: float) -> None:
        """Takes note of how long an evaluation took."""
        self.evaluation = seconds / self.step

    def plan(self, left: float, steps: int, evaluations: int) -> tuple[float, bool]:
        """How far the next step goes in a schedule, 1 where the time suffices for a step each, and whether there is
        time for evaluations on the way.

        Args:
            left: length of the schedule that is left.
            steps: number of steps left, at most.
            evaluations: number of evaluations that are to come before the last one.
        """
        training = self.seconds - self._kept - self.elapsed
        on_the_way = evaluations * self.evaluation * self.step
        evaluating = on_the_way <= _ON_THE_WAY * training
        fitting = (training - evaluating * on_the_way) / self.step
        return left / max(1.0, min(steps, fitting)), evaluating and fitting > 1

    @property
    def _kept(self) -> float:
        """Seconds for the last evaluation, which may judge earlier weights once more, and what follows it."""
        return min((2 + self.closing) * self.evaluation * self.step, _CLOSING * self.seconds)

    def deadline(self, closing: bool) -> float:
        """When all has to have ended, by `time.perf_counter`; with `closing`, when that has to begin."""
        kept = self._kept * self.closing / (2 + self.closing) if closing else 0.0
        return self.began - self.spent + self.seconds - kept
