"""The faults of a data file, gathered so that a user sees them together and not one a run."""

from pathlib import Path

from detector.errors import InputError


class FaultyDataError(InputError):
    """A file holds faults; the message is one line a fault, each with its file, record and field."""


class Faults:
    """Faults found so far; `add` stops at a limit, `check` at the end of a file."""

    def __init__(self, limit: int = 20) -> None:
        self._limit = limit
        self._lines: list[str] = []

    def add(self, file: Path | str, record: str, fault: str) -> None:
        """Note a fault. Raises `FaultyDataError` when the limit is reached."""
        self.note(f"{file}: {record}: {fault}")

    def note(self, fault: str) -> None:
        """The same of a fault that names its file and record itself."""
        self._lines.append(fault)
        if len(self._lines) >= self._limit:
            raise FaultyDataError("\n".join([*self._lines, f"stopped after {self._limit} faults"]))

    def check(self) -> None:
        """Raises `FaultyDataError` if there are any faults."""
        if self._lines:
            raise FaultyDataError("\n".join(self._lines))
