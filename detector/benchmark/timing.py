"""Timing things in turns, and comparing them."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

Clock = Callable[[], float]
"""Gives seconds, such as `time.perf_counter`."""

SLOW_REPEATS = 3
"""What takes seconds (a slow rival, a fresh process) is repeated this often at most."""


@dataclass(frozen=True)
class Timing:
    """Seconds that one thing took, in the order of measurement. Raises `ValueError` if there are none."""

    name: str
    seconds: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.seconds:
            raise ValueError(f"the timing of '{self.name}' has no measurement")

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def to_dict(self) -> dict[str, Any]:
        spread = {"fastest": min(self.seconds), "slowest": max(self.seconds)}
        return {"name": self.name, "median": self.median, **spread, "seconds": list(self.seconds)}


@dataclass(frozen=True)
class Comparison:
    """Our time and a rival's for the same work, timed in the same rounds."""

    ours: Timing
    rival: Timing

    @property
    def ratios(self) -> tuple[float, ...]:
        """The rival's time divided by ours, for each round that both took part in: above 1, we are faster."""
        rounds = zip(self.ours.seconds, self.rival.seconds, strict=False)  # a slow rival leaves the last ones out
        return tuple(rival / ours for ours, rival in rounds)

    @property
    def median(self) -> float:
        return statistics.median(self.ratios)

    def line(self) -> str:
        """As text."""
        spread = f"{min(self.ratios):.2f} to {max(self.ratios):.2f}"
        return f"{self.ours.name}: {self.median:.2f} times as fast as {self.rival.name} ({spread})"

    def to_dict(self) -> dict[str, Any]:
        ratio = {"times_as_fast": self.median, "lowest": min(self.ratios), "highest": max(self.ratios)}
        return {"ours": self.ours.name, "rival": self.rival.name, **ratio}


def timing_lines(timings: Sequence[Timing]) -> list[str]:
    """A table in milliseconds."""
    width = max(len(timing.name) for timing in (*timings, Timing("milliseconds", (0,))))
    lines = [f"{'milliseconds':{width}}    median   fastest   slowest  repeats"]
    for timing in timings:
        times = (timing.median, min(timing.seconds), max(timing.seconds))
        numbers = " ".join(f"{1000 * seconds:9.1f}" for seconds in times)
        lines.append(f"{timing.name:{width}} {numbers}  {len(timing.seconds):7}")
    return lines


@dataclass(frozen=True)
class Task:
    """Something to time `repeats` times. `measure` does it once and gives the seconds of its parts, by name."""

    measure: Callable[[], Mapping[str, float]]
    repeats: int


def interleave(tasks: Sequence[Task], progress: bool = False) -> tuple[Timing, ...]:
    """Times tasks in turns, A B C A B C ..., after a warm-up of each.

    A task of fewer repeats takes part in the first rounds only, so that equal places in two timings are of one
    round. `progress`: show a bar on standard error if that is a terminal.
    """
    for task in tasks:
        task.measure()
    seconds: dict[str, list[float]] = {}
    rounds = range(max(task.repeats for task in tasks))
    for number in tqdm(rounds, desc="benchmark", unit="round", leave=False, disable=None if progress else True):
        for task in tasks:
            if number < task.repeats:
                for name, value in task.measure().items():
                    seconds.setdefault(name, []).append(value)
    return tuple(Timing(name, tuple(values)) for name, values in seconds.items())
