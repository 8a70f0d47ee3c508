"""One writer a place."""

import os
from pathlib import Path

from detector.errors import InputError
from proposals.files import is_at, try_lock


class OnlyWriter:
    """No other process can have the same `path` until `close` or the end of this one, however it ends.

    Args:
        path: of a file that is there while the lock is held.
        refusal: what the message says after the path if another holds it.

    Raises:
        InputError: another holds it.
        OSError: the file cannot be made.
    """

    def __init__(self, path: Path, refusal: str) -> None:
        self.path = path
        while True:
            self._file = path.open("ab")
            if not try_lock(self._file.fileno()):
                self._file.close()
                raise InputError(f"{path.parent}: {refusal}")
            if is_at(self._file.fileno(), path):  # not removed by the one before, after it was opened here
                return
            self._file.close()

    def close(self) -> None:
        """Lets the next one in."""
        if not self._file.closed:
            if os.name != "posix":
                self._file.close()
            self.path.unlink(missing_ok=True)
            self._file.close()
