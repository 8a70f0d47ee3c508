"""The faults of input files, gathered so that a reader names all of them at once, up to a limit."""

from dataclasses import dataclass, field
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
    """Files have faults; the message is one line a fault.

    Args:
        faults: at least one.
        more: how many others there are; the message ends in "... and N more".
    """

    def __init__(self, faults: tuple[Fault, ...], more: int = 0) -> None:
        self.faults = faults
        self.more = more
        super().__init__("\n".join((*map(str, faults), *([f"... and {more:,} more"] if more else []))))

    def __reduce__(self) -> tuple[type["FaultyDataError"], tuple[tuple[Fault, ...], int]]:
        # An exception is otherwise copied, and sent from a worker process, by its message alone.
        return type(self), (self.faults, self.more)


#: Faults that are kept, so that those of the first files can be named; the others are only counted.
_KEPT = 10_000


class Faults:
    """Gathers the faults of a reader, which goes on after each.

    Args:
        limit: the number of faults that are named; the others are counted.

    Attributes:
        raised: whether a reader could not go on.

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
        self._count = 0
        self.raised = False

    def __len__(self) -> int:
        return self._count

    def add(self, file: Path | str, record: str, fault: str) -> None:
        """Notes a fault."""
        self._count += 1
        if len(self._found) < _KEPT:
            # A name or a value from the file may hold a line break; a fault stays one line.
            self._found.append(Fault(str(file), *(" ".join(text.splitlines()) for text in (record, fault))))

    def left_out(self) -> tuple[str, ...]:
        """A line that counts the faults and names the first, for a reader that goes on without what has them."""
        if not self._count:
            return ()
        labels = "1 label is" if self._count == 1 else f"{self._count:,} labels are"
        return (f"{labels} wrong and left out (--skip-bad-labels), the first: {self._found[0]}",)

    def check(self, by_file: bool = False) -> None:
        """Raises FaultyDataError if a fault was noted.

        Args:
            by_file: those of a file together, files by name; otherwise in the order in which they were found.
        """
        if self._found:
            self.raised = True
            found = sorted(self._found, key=lambda fault: fault.file) if by_file else self._found
            named = tuple(found[: self._limit])
            raise FaultyDataError(named, self._count - len(named))


@dataclass(frozen=True, eq=False)
class Gathered:
    """What readers of labels note in place of raising, so that the faults of all files can be told at once.

    Attributes:
        faults: the records that have one are left out of what the reader gives.
        unreadable: photos whose size cannot be read, which are left out too.
        origins: the file and the record of each object that was read, a row of the ground truth each.
    """

    faults: Faults = field(default_factory=Faults)
    unreadable: list[Fault] = field(default_factory=list)
    origins: list[tuple[str, str]] = field(default_factory=list)
