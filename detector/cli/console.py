"""Lines on the terminal, around a progress bar."""

import os
import sys
from collections.abc import Iterable, Sized
from typing import TextIO, TypeVar

from tqdm import tqdm

_T = TypeVar("_T")


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
        """`items`, with a progress bar on standard error if that is a terminal and there is more than one.

        total: how many there are; by default their length, or unknown where they have none.
        """
        if total is None and isinstance(items, Sized):
            total = len(items)
        few = total is not None and total < 2
        hidden = self._quiet or few or not sys.stderr.isatty()
        return tqdm(items, total=total, unit=unit, file=sys.stderr, disable=hidden, leave=False, dynamic_ncols=True)


def _write(line: str, stream: TextIO) -> None:
    try:
        tqdm.write(line, file=stream)
        stream.flush()
    except BrokenPipeError:
        # The reader has gone ("| head"). The files are still wanted: go on, and let later lines vanish.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
