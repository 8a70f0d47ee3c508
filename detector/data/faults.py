"""The faults of a data file, gathered so that a user sees them together and not one a run."""

from pathlib import Path

from detector.errors import InputError


class FaultyData(InputError):  # noqa: N818
    """A file holds faults; the message is one line a fault, each with its file, record and field."""


class Faults:
    """Faults found so far; `add` stops at a limit, `check` at the end of a file."""

    def __init__(self, limit: int = 20) -> None:
        self._limit = limit
        self._lines: list[str] = []

    def add(self, file: Path | str, record: str, fault: str) -> None:
        """Note a fault. Raises `FaultyData` when the limit is reached."""
        self._lines.append(f"{file}: {record}: {fault}")
        if len(self._lines) >= self._limit:
            raise FaultyData("\n".join([*self._lines, f"stopped after {self._limit} faults"]))

    def check(self) -> None:
        """Raises `FaultyData` if there are any faults."""
        if self._lines:
            raise FaultyData("\n".join(self._lines))
