"""Lines on the terminal, around a progress bar."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import TextIO, TypeVar

import typer
from tqdm import tqdm

from detector.io.progress import Progress

_T = TypeVar("_T")


class Console:
    """Prints results to stdout and errors to stderr; `quiet` leaves only the errors."""

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet

    def result(self, line: str) -> None:
        if not self._quiet:
            _write(line, sys.stdout)

    def error(self, line: str) -> None:
        _write(line, sys.stderr)

    @contextmanager
    def interruptible(self, state: Callable[[], str]) -> Iterator[None]:
        """Tells what Ctrl-C has left, and ends the command with exit code 130."""
        try:
            yield
        except KeyboardInterrupt:
            self.error(f"interrupted: {state()}")
            raise typer.Exit(130) from None

    def progress(self, items: Iterable[_T], unit: str, total: int | None = None) -> Iterable[_T]:
        """Shows progress over several `items` on stderr: a bar on a terminal, else a line now and then.

        Args:
            total: number of items; by default their length, or unknown where they have none.
        """
        if total is None and isinstance(items, Sized):
            total = len(items)
        if self._quiet or (total is not None and total < 2):
            return items
        return Progress(items, total=total, unit=unit, leave=False)


def _write(line: str, stream: TextIO) -> None:
    try:
        tqdm.write(line, file=stream)
        stream.flush()
    except BrokenPipeError:
        # The reader has left ("| head"), but the files are still wanted: drop all later lines.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
