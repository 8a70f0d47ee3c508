"""One run a folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from detector.errors import InputError


@contextmanager
def only_run_in(out: Path) -> Iterator[None]:
    """Within the block no other process can enter it for the same folder; the lock ends with its process.

    Raises:
        InputError: another one has entered it, or it cannot be made.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: cannot be made ({error.strerror or error}); give another folder") from None
    lock = FileLock(out / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise InputError(f"{out}: another run is writing there; wait for it, or choose another --out") from None
    except (NotImplementedError, OSError):  # a file system without locks
        yield
        return
    try:
        yield
    finally:
        lock.release()
