"""Files and folders that are either complete or absent."""

import hashlib
import os
import platform
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: without locks, temporary files of killed processes are not removed
    fcntl = None  # type: ignore[assignment]

# Locks may not be visible to other machines that share a folder, so each machine removes only its own leftovers.
_MACHINE = hashlib.blake2b(platform.node().encode(), digest_size=4).hexdigest()
_LEFTOVER = re.compile(rf"\.{_MACHINE}[0-9a-f]{{16}}\.tmp(\..*)?")
_swept: set[Path] = set()


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a temporary path next to `path` and moves it to `path` when the block succeeds.

    The caller writes the file at the yielded path, which keeps the suffix of `path`. On success the content is flushed
    to disk and replaces `path` in one step, so that a reader sees either the old file or the new one. If the block
    raises, the temporary file is removed and `path` does not change. Leftovers of killed processes are removed when
    another process on the same machine first writes to the folder.

    Raises:
        OSError: the folder of `path` is missing or not writable; its `filename` names it.
    """
    target = Path(path)
    temporary, descriptor = _begin(target, target.suffix)
    try:
        yield temporary
        # os.open rather than open("r+b"): the file may have been created read-only.
        _flush(temporary, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
        os.replace(temporary, target)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:  # the error of a full disk names no file
            error.filename = os.fspath(target)
        raise
    finally:
        if descriptor is not None:
            os.close(descriptor)
    if os.name == "posix":  # the rename itself is durable once the folder is flushed
        with suppress(OSError):  # some network file systems do not support this
            _flush(target.parent, os.O_RDONLY)


@contextmanager
def temporary_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields an empty folder next to `path`, to be filled and renamed to it; it is removed if it was not renamed.

    Leftovers of killed processes are removed as by `atomic_write`.

    Raises:
        OSError: the folder above `path` is missing or not writable.
    """
    temporary, descriptor = _begin(Path(path), None)
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if descriptor is not None:
            os.close(descriptor)


def _begin(target: Path, suffix: str | None) -> tuple[Path, int | None]:
    """Creates an empty temporary file with a suffix, or a folder if the suffix is None, and locks it.

    The open descriptor holds the lock, which tells it from the leftovers of killed processes. Without locks, a file is
    not created and the descriptor is None.
    """
    _sweep(target.parent)
    while True:
        temporary = target.with_name(f".{_MACHINE}{secrets.token_hex(8)}.tmp{suffix or ''}")
        if suffix is None:
            temporary.mkdir()
        if fcntl is None:
            return temporary, None
        try:
            flags = os.O_RDONLY if suffix is None else os.O_CREAT | os.O_EXCL | os.O_RDWR
            descriptor = os.open(temporary, flags, 0o666)
        except FileNotFoundError:
            if suffix is None:  # another process removed the folder before it was locked
                continue
            raise
        if _try_lock(descriptor) and _is_at(descriptor, temporary):  # not removed before it was locked
            return temporary, descriptor
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    """Locks an open file until it is closed; returns False if another process holds the lock.

    On file systems without locks it returns True.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    """Returns whether an open file is still the one at a path."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _sweep(folder: Path) -> None:
    """Removes the leftovers of killed processes from a folder, once per process."""
    if fcntl is None or folder in _swept:
        return
    _swept.add(folder)
    with suppress(OSError):
        for name in os.listdir(folder):
            if _LEFTOVER.fullmatch(name):
                _remove_unless_locked(folder / name)


def _remove_unless_locked(path: Path) -> None:
    with suppress(OSError):
        is_folder = path.is_dir() and not path.is_symlink()
        descriptor = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR)
        try:
            # Not _try_lock: on a file system without locks, the file may be in use.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if is_folder:
                shutil.rmtree(path)
            else:
                path.unlink()
        finally:
            os.close(descriptor)


def _flush(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
