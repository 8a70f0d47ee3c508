"""The figures of a condition: what was tried, and what came of it."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime


@dataclass
class Row:
    """One condition.

    Attributes:
        tried: times.
        lost, doubled: records (photos, boxes, steps, files) that were missing afterwards, or there twice.
        crashed: ends other than success or a documented error.
        wrong: files that were half-written or left behind, and results other than an undisturbed run's.
        slowest: seconds.
        findings: a line for each thing that was not as it should be.
    """

    condition: str
    tried: int = 0
    lost: int = 0
    doubled: int = 0
    crashed: int = 0
    wrong: int = 0
    slowest: float = 0.0
    findings: list[str] = field(default_factory=list)
    notes: str = ""

    def crash(self, finding: str) -> None:
        self.crashed += 1
        self.findings.append(finding)

    def fault(self, finding: str) -> None:
        self.wrong += 1
        self.findings.append(finding)

    def took(self, seconds: float) -> None:
        self.slowest = max(self.slowest, seconds)

    @property
    def good(self) -> bool:
        return self.tried > 0 and not (self.lost or self.doubled or self.crashed or self.wrong)

    def merge(self, other: "Row") -> None:
        """Adds another part of the same condition."""
        for name in ("tried", "lost", "doubled", "crashed", "wrong"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.took(other.slowest)
        self.findings += other.findings


class Timer:
    """`with Timer() as timer: ...; timer.seconds`."""

    def __enter__(self) -> "Timer":
        self._started, self.seconds = time.perf_counter(), 0.0
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._started


def report(rows: Iterable[Row], seconds: float) -> int:
    """Prints the table; the exit code, 1 if anything was not as it should be."""
    rows = list(rows)
    width = max(len(row.condition) for row in rows)
    head = "".join(f"{name:>9}" for name in ("tried", "lost", "doubled", "crashed", "wrong", "slowest"))
    print(f"{'condition':<{width}}{head}")
    for row in rows:
        numbers = "".join(f"{value:>9,}" for value in (row.tried, row.lost, row.doubled, row.crashed, row.wrong))
        print(f"{row.condition:<{width}}{numbers}{row.slowest:>7.2f} s{'   ' + row.notes if row.notes else ''}")
    for row in rows:
        for finding in row.findings[:20]:
            print(f"{row.condition}: {finding}")
        if len(row.findings) > 20:
            print(f"{row.condition}: and {len(row.findings) - 20} more")
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {seconds:.0f} s")
    return 0 if all(row.good for row in rows) else 1
