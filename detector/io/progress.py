"""Progress of long work on standard error: a bar on a terminal, elsewhere a line now and then, as for a log file."""

import sys
import time
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

PAUSE = 30.0
"""Seconds between two lines where there is no terminal."""


class Progress(tqdm):
    """A tqdm bar; without a terminal, lines such as "evaluate: 1,200 of 5,000 images, 12 min left".

    Args:
        items: to iterate over, unless `update` is called.
        unit: the word for one item.
        hidden: show nothing.
        settings: for tqdm.
    """

    def __init__(self, items: Iterable[Any] | None = None, *, unit: str, hidden: bool = False, **settings: Any) -> None:
        self._terminal = sys.stderr.isatty()
        self._told, self._written = settings.get("initial", 0), time.monotonic()  # the last line
        if self._terminal:
            settings = {"dynamic_ncols": True, **settings}
        else:
            settings = {**settings, "mininterval": PAUSE, "miniters": 1}
        super().__init__(items, unit=unit, disable=hidden, file=sys.stderr, **settings)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Shows the bar, or writes a line."""
        if self._terminal:
            super().display(msg, pos)
            return
        # tqdm also calls this to restore bars after other output.
        if self.n > self._told and (now := time.monotonic()) - self._written >= PAUSE:
            self._told, self._written = self.n, now
            total = "" if self.total is None else f" of {self.total:,}"
            seconds = self.format_dict["elapsed"] * ((self.total or 0) - self.n) / (self.n - self.initial)
            left = f", {seconds / 60:.0f} min left" if self.total and self.total > self.n else ""
            print(f"{self.desc or 'done'}: {self.n:,}{total} {self.unit}s{left}", file=sys.stderr, flush=True)

    def clear(self, nolock: bool = False) -> None:
        """Takes the bar off a terminal for other output."""
        if self._terminal:
            super().clear(nolock=nolock)

    def close(self) -> None:
        """Ends the bar; no line is written."""
        if self._terminal or self.disable:
            super().close()
        else:
            self.disable = True
            self._decr_instances(self)  # type: ignore[attr-defined]
