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
except ImportError:  # Windows: nothing is locked there, and what a kill left behind stays
    fcntl = None  # type: ignore[assignment]

# Locks may not reach other machines that share a folder: each removes what it has left itself.
_MACHINE = hashlib.blake2b(platform.node().encode(), digest_size=4).hexdigest()
_LEFT_BEHIND = re.compile(rf"\.{_MACHINE}[0-9a-f]{{16}}\.tmp(\..*)?")
_swept: set[Path] = set()


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`; when the block succeeds it becomes `path`.

    The caller writes the file at the yielded path. On success the content is flushed to the disk and
    moved over `path` in one step, so that a reader sees the old file or the new one, never a part.
    If the block raises, the temporary file is removed and `path` stays as it was; what a killed process
    has left is removed when another one on the same machine first writes into the folder.

    The temporary name keeps the suffix of `path`, for writers that look at it.

    Raises:
        OSError: the folder of `path` is missing or cannot be written; its `filename` says what.
        RuntimeError: the block ended without having written the yielded path.
    """
    target = Path(path)
    _sweep(target.parent)
    temporary, held = _begin(target)
    try:
        yield temporary
        if not temporary.is_file() or (held is not None and _untouched(temporary)):
            raise RuntimeError(f"{target}: nothing was written to the path that atomic_write yields")
        # os.open rather than open("r+b"): the file may have been created read-only.
        _flush(temporary, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
        os.replace(temporary, target)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:  # a full disk does not say where it is full
            error.filename = os.fspath(target)
        raise
    finally:
        if held is not None:
            os.close(held)
    if os.name == "posix":  # the new name itself is safe once the folder is on the disk
        with suppress(OSError):  # some network file systems cannot
            _flush(target.parent, os.O_RDONLY)


@contextmanager
def temporary_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield an empty folder beside `path`, to be filled and renamed to it in the block; it is gone after the block.

    What a killed process has left is removed as that of `atomic_write` is.

    Raises:
        OSError: the folder above `path` is missing or cannot be written.
    """
    target = Path(path)
    _sweep(target.parent)
    temporary, held = _begin_folder(target)
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if held is not None:
            os.close(held)


def _try_lock(descriptor: int) -> bool:
    """Locks an open file until it is closed or its process ends; False if another holds it, True if it has no locks."""
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether an open file is still what lies at a path."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _begin(target: Path) -> tuple[Path, int | None]:
    """A new temporary path; where files can be locked, an empty file that is held open and locked while it is written,
    by which it is told from what a killed process left."""
    while True:
        temporary = target.with_name(f".{_MACHINE}{secrets.token_hex(8)}.tmp{target.suffix}")
        if fcntl is None:
            return temporary, None
        held = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        if _try_lock(held) and _is_at(held, temporary):  # not swept away before it was locked
            os.utime(held, ns=(0, 0))
            return temporary, held
        os.close(held)


def _begin_folder(target: Path) -> tuple[Path, int | None]:
    """The same for a folder."""
    while True:
        temporary = target.with_name(f".{_MACHINE}{secrets.token_hex(8)}.tmp")
        temporary.mkdir()
        if fcntl is None:
            return temporary, None
        try:
            held = os.open(temporary, os.O_RDONLY)
        except FileNotFoundError:  # swept away before it was locked
            continue
        if _try_lock(held) and _is_at(held, temporary):
            return temporary, held
        os.close(held)


def _untouched(temporary: Path) -> bool:
    status = temporary.stat()
    return status.st_size == 0 and status.st_mtime_ns == 0


def _sweep(folder: Path) -> None:
    """Removes what killed processes left in a folder; looked for once a process."""
    if fcntl is None or folder in _swept:
        return
    _swept.add(folder)
    with suppress(OSError):
        for name in os.listdir(folder):
            if _LEFT_BEHIND.fullmatch(name):
                _remove_if_left(folder / name)


def _remove_if_left(path: Path) -> None:
    with suppress(OSError):
        is_folder = path.is_dir() and not path.is_symlink()
        descriptor = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR)
        try:
            # Not _try_lock: without locks nobody knows whether it is in use.
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
