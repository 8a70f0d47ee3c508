"""The faults of input files, collected so that a reader names all of them at once, up to a limit."""

from dataclasses import dataclass, field
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
    """Files have faults; the message is one line a fault.

    Args:
        faults: at least one.
        more: number of further faults; the message ends in "... and N more".
    """

    def __init__(self, faults: tuple[Fault, ...], more: int = 0) -> None:
        self.faults = faults
        self.more = more
        super().__init__("\n".join((*map(str, faults), *([f"... and {more:,} more"] if more else []))))

    def __reduce__(self) -> tuple[type["FaultyDataError"], tuple[tuple[Fault, ...], int]]:
        # By default, an exception is copied, and sent from a worker process, by its message alone.
        return type(self), (self.faults, self.more)


class Faults:
    """Collects the faults of a reader that continues after each.

    Attributes:
        raised: whether `check` has raised.

    Example:
        >>> faults = Faults()
        >>> faults.add("boxes.csv", "line 3", "field score is 'x', expected a number")
        >>> faults.check()
        Traceback (most recent call last):
        detector.data.faults.FaultyDataError: boxes.csv: line 3: field score is 'x', expected a number
    """

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._count = 0
        self.raised = False

    def __len__(self) -> int:
        return self._count

    def add(self, file: Path | str, record: str, fault: str) -> None:
        """Add a fault."""
        self._count += 1
        if len(self._faults) < _KEPT:
            # A name or a value from the file may hold a line break; a fault stays one line.
            self._faults.append(Fault(str(file), *(" ".join(text.splitlines()) for text in (record, fault))))

    def summary(self) -> tuple[str, ...]:
        """A line that counts the faults and names the first, for a reader that skips faulty records."""
        if not self._count:
            return ()
        labels = "1 label is" if self._count == 1 else f"{self._count:,} labels are"
        return (f"{labels} wrong and left out (--skip-bad-labels), the first: {self._faults[0]}",)

    def check(self, by_file: bool = False) -> None:
        """Raise FaultyDataError if there are faults.

        Args:
            by_file: sort the faults by file; otherwise they keep their order.
        """
        if self._faults:
            self.raised = True
            faults = sorted(self._faults, key=lambda fault: fault.file) if by_file else self._faults
            named = tuple(faults[:_NAMED])
            raise FaultyDataError(named, self._count - len(named))


@dataclass(frozen=True, eq=False)
class ReadReport:
    """What readers of labels collect instead of raising, so that the faults of all files can be named at once.

    Attributes:
        faults: of records, which the reader leaves out.
        unknown_classes: of objects whose class is not one of the given ones, where these faults must not be skipped;
            None if they belong to `faults`.
        unreadable: photos whose size cannot be read, which are left out too.
        origins: the file and the record of each object, a row of the ground truth each.
    """

    faults: Faults = field(default_factory=Faults)
    unknown_classes: Faults | None = None
    unreadable: list[Fault] = field(default_factory=list)
    origins: list[tuple[str, str]] = field(default_factory=list)
