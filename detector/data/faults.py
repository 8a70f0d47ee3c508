"""The faults of input files, collected so that a reader names all of them at once, up to a limit."""

from dataclasses import dataclass
from pathlib import Path

from detector.errors import InputError

_NAMED = 20  # faults in a message
_KEPT = 10_000  # faults in memory, so that `check` can name those of the first files


@dataclass(frozen=True)
class Fault:
    """What is wrong with one record of a file; `str` gives `FILE: RECORD: FAULT`.

    Attributes:
        file: the file as the user named it.
        record: which of its records, such as `annotations[17] (id 42)` or `line 3`; empty for the whole file.
        fault: the field and what is wrong with it.
    """

    file: str
    record: str
    fault: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.file, self.record, self.fault) if part)


class FaultyDataError(InputError):
    """Files have faults; the message is one line a fault, and "... and N more" if there are more than `faults`."""

    def __init__(self, faults: tuple[Fault, ...], more: int = 0) -> None:
        self.faults = faults
        self.more = more
        super().__init__("\n".join((*map(str, faults), *([f"... and {more:,} more"] if more else []))))

    def __reduce__(self) -> tuple[type["FaultyDataError"], tuple[tuple[Fault, ...], int]]:
        # By default, an exception is copied, and sent from a worker process, by its message alone.
        return type(self), (self.faults, self.more)


class Faults:
    """Collects the faults of files, and what else their readers report.

    Args:
        collect: readers leave out faulty records, and files that cannot be read, instead of raising.

    Attributes:
        count: number of faults.
        raised: whether `check` has raised.
        unknown_classes: takes objects of classes that are not given; another `Faults` if these must not be skipped.
        unreadable: photos whose size cannot be read, if they are left out.
        origins: the file and the record of each object that was read, a row of the ground truth each.
        notes: what to know about the data, a line each.

    Example:
        >>> faults = Faults()
        >>> faults.add("boxes.csv", "line 3", "field score is 'x', expected a number")
        >>> faults.check()
        Traceback (most recent call last):
        detector.data.faults.FaultyDataError: boxes.csv: line 3: field score is 'x', expected a number
    """

    def __init__(self, collect: bool = False) -> None:
        self.collect = collect
        self.count = 0
        self.raised = False
        self.unknown_classes = self
        self.unreadable: list[Fault] = []
        self.origins: list[tuple[str, str]] = []
        self.notes: list[str] = []
        self._faults: list[Fault] = []

    def add(self, file: Path | str, record: str, fault: str) -> None:
        """Add a fault."""
        self.count += 1
        if len(self._faults) < _KEPT:
            # A name or a value from the file may hold a line break; a fault stays one line.
            self._faults.append(Fault(str(file), *(" ".join(text.splitlines()) for text in (record, fault))))

    def summary(self) -> tuple[str, ...]:
        """A line that counts the faults left out and names the first; () if there are none."""
        if not self.count:
            return ()
        labels = "1 label is" if self.count == 1 else f"{self.count:,} labels are"
        return (f"{labels} wrong and left out (--skip-bad-labels), the first: {self._faults[0]}",)

    def check(self, always: bool = False, by_file: bool = False) -> None:
        """Raise FaultyDataError if there are faults.

        Args:
            always: raise them even if they are collected.
            by_file: sort the faults by file; otherwise they keep their order.
        """
        if self.count and (always or not self.collect):
            self.raised = True
            faults = sorted(self._faults, key=lambda fault: fault.file) if by_file else self._faults
            raise FaultyDataError(tuple(faults[:_NAMED]), max(0, self.count - _NAMED))
