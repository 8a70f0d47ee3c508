"""One writer a place."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Self

from filelock import FileLock, Timeout

from detector.errors import InputError


class RunLock:
    """No other process can have the same `path` until `close`, the end of the `with` block, or the end of this process,
    however it ends. On a file system without locks nobody is refused.

    Args:
        path: of a file that is there while the lock is held; one that a killed process has left refuses nobody.
        refusal: what the message says after the folder if another holds it.

    Raises:
        InputError: another holds it.
        OSError: the file cannot be made.
    """

    def __init__(self, path: Path, refusal: str) -> None:
        self.path = path
        self._closed = False
        path.touch()
        # Not 0 seconds: a holder that ends just now takes the file away, and it has to be made anew.
        self._lock = FileLock(path, timeout=0.2, poll_interval=0.05, thread_local=False)
        try:
            self._lock.acquire()
        except Timeout:
            raise InputError(f"{path.parent}: {refusal}") from None
        except PermissionError:
            raise
        except (NotImplementedError, OSError):  # a file system without locks
            pass

    def close(self) -> None:
        """Lets the next one in."""
        if self._closed:
            return
        self._closed = True
        if os.name == "posix":  # elsewhere the library does it
            with suppress(OSError):
                self.path.unlink()
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def run_lock(out: Path) -> RunLock:
    """The lock of a run's folder, which is made.

    Raises:
        InputError: another run has it, or it cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        return RunLock(out / ".lock", "another run is writing there; wait for it, or choose another --out")
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror or error}); give another folder") from None
