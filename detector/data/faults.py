"""The faults of an input file, gathered so that a reader names all of them at once, up to a limit."""

from dataclasses import dataclass
from pathlib import Path

from detector.errors import InputError


@dataclass(frozen=True)
class Fault:
    """What is wrong with one record of a file; `str` gives `FILE: RECORD: FAULT`.

    Attributes:
        file: the file as the user named it.
        record: which of its records, such as `annotations[17] (id 42)` or `line 3`; empty for the file as a whole.
        fault: the field and what is wrong with it.
    """

    file: str
    record: str
    fault: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.file, self.record, self.fault) if part)


class FaultyDataError(InputError):
    """A file has faults; the message is one line a fault.

    Args:
        faults: in the order in which they were found, at least one.
        complete: these are all; otherwise the message ends in "... and more", for the reader stopped at its limit.
    """

    def __init__(self, faults: tuple[Fault, ...], complete: bool = True) -> None:
        self.faults = faults
        self.complete = complete
        more = () if complete else (f"... and more: reading stopped at {len(faults)} faults",)
        super().__init__("\n".join((*map(str, faults), *more)))

    def __reduce__(self) -> tuple[type["FaultyDataError"], tuple[tuple[Fault, ...], bool]]:
        # An exception is otherwise copied, and sent from a worker process, by its message alone.
        return type(self), (self.faults, self.complete)


class Faults:
    """Gathers the faults of a reader, which goes on after each until there are `limit` of them.

    Args:
        limit: the number of faults that are named; the next one stops the reader.

    Example:
        >>> faults = Faults()
        >>> faults.add("boxes.csv", "line 3", "field score is 'x', expected a number")
        >>> faults.check()
        Traceback (most recent call last):
        detector.data.faults.FaultyDataError: boxes.csv: line 3: field score is 'x', expected a number
    """

    def __init__(self, limit: int = 20) -> None:
        if limit < 1:
            raise ValueError(f"limit is {limit}, expected at least 1")
        self._limit = limit
        self._found: list[Fault] = []

    def __len__(self) -> int:
        return len(self._found)

    def add(self, file: Path | str, record: str, fault: str) -> None:
        """Notes a fault.

        Raises:
            FaultyDataError: `limit` faults were noted before this one; it names those, and says that there are more.
        """
        if len(self._found) == self._limit:
            raise FaultyDataError(tuple(self._found), complete=False)
        # A name or a value from the file may hold a line break; a fault stays one line.
        self._found.append(Fault(str(file), *(" ".join(text.splitlines()) for text in (record, fault))))

    def check(self) -> None:
        """Raises FaultyDataError if a fault was noted."""
        if self._found:
            raise FaultyDataError(tuple(self._found))
