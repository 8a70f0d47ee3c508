"""Files that are either complete or absent."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`; when the block succeeds it becomes `path`.

    The caller writes the file at the yielded path. On success the content is flushed to the disk and
    moved over `path` in one step, so that a reader sees the old file or the new one, never a part.
    If the block raises, the temporary file is removed and `path` stays as it was.

    The temporary name keeps the suffix of `path`, for writers that look at it.

    Raises:
        OSError: the folder of `path` is missing or cannot be written.
        RuntimeError: the block ended without having written the yielded path.
    """
    target = Path(path)
    temporary = target.with_name(f".{secrets.token_hex(8)}.tmp{target.suffix}")
    try:
        yield temporary
        if not temporary.is_file():
            raise RuntimeError(f"{target}: nothing was written to the path that atomic_write yields")
        # os.open rather than open("r+b"): the file may have been created read-only.
        descriptor = os.open(temporary, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
