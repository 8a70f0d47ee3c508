"""Lines on the terminal, around a progress bar."""

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TextIO, TypeVar

from tqdm import tqdm

_T = TypeVar("_T")

_PAUSE = 30.0
"""Seconds between two lines of progress where there is no terminal."""


class Console:
    """Results go to standard output, errors to standard error; `quiet` leaves only the errors."""

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet

    def result(self, line: str) -> None:
        if not self._quiet:
            _write(line, sys.stdout)

    def error(self, line: str) -> None:
        _write(line, sys.stderr)

    def progress(self, items: Iterable[_T], unit: str, total: int | None = None) -> Iterable[_T]:
        """`items`, with a progress bar on standard error if there is more than one; a line now and then if that is no
        terminal.

        total: how many there are; by default their length, or unknown where they have none.
        """
        if total is None and isinstance(items, Sized):
            total = len(items)
        if self._quiet or (total is not None and total < 2):
            return items
        if sys.stderr.isatty():
            return tqdm(items, total=total, unit=unit, file=sys.stderr, leave=False, dynamic_ncols=True)
        return self._told(items, unit, total)

    def _told(self, items: Iterable[_T], unit: str, total: int | None) -> Iterator[_T]:
        before = time.monotonic()
        for count, item in enumerate(items, start=1):
            yield item
            if (now := time.monotonic()) - before >= _PAUSE:
                before = now
                self.error(f"{count}{'' if total is None else f' of {total}'} {unit}s are done")


def _write(line: str, stream: TextIO) -> None:
    try:
        tqdm.write(line, file=stream)
        stream.flush()
    except BrokenPipeError:
        # The reader has gone ("| head"). The files are still wanted: go on, and let later lines vanish.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
