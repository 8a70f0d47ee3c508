"""A lock that lets one run write into a folder or file at a time."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Self

from filelock import FileLock, Timeout

from detector.errors import InputError


class RunLock:
    """Holds `path` against other processes until `close`, the end of the `with` block, or the end of this process.

    On a file system without locks, nobody is refused.

    Args:
        path: a file that exists while the lock is held; one that a killed process left behind refuses nobody.
        refusal: ends the error message, after the folder, if another process holds the lock.

    Raises:
        InputError: another process holds it.
        OSError: the file cannot be made.
    """

    def __init__(self, path: Path, refusal: str) -> None:
        self.path = path
        path.touch()
        # Longer than 0 seconds: a process that is just releasing the lock deletes the file, which is then made anew.
        self._lock = FileLock(path, timeout=0.2, poll_interval=0.05, thread_local=False)
        self._closed = False
        try:
            self._lock.acquire()
        except Timeout:
            raise InputError(f"{path.parent}: {refusal}") from None
        except PermissionError:
            raise
        except (NotImplementedError, OSError):  # a file system without locks
            pass

    def close(self) -> None:
        """Releases the lock; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        if os.name == "posix":  # elsewhere the library deletes the file
            with suppress(OSError):
                self.path.unlink()
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def run_lock(out: Path) -> RunLock:
    """Locks the folder of a run, and makes it if needed.

    Raises:
        InputError: another run is writing there, or the folder cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        return RunLock(out / ".lock", "another run is writing there; wait for it, or choose another --out")
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror or error}); give another folder") from None
