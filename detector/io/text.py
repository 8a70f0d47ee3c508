"""Files read whole or as UTF-8 text, with or without a byte-order mark, and text files written at once."""

from codecs import BOM_UTF8
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import TextIO

from detector.errors import InputError
from detector.io.lfs import NOT_FETCHED, is_pointer
from proposals.files import atomic_write

ENCODING = "utf-8-sig"
"""For `bytes.decode` and the like: UTF-8, a byte-order mark skipped."""


def strip_bom(content: bytes) -> bytes:
    """The start of a file without its byte-order mark."""
    return content.removeprefix(BOM_UTF8)


def read_content(path: Path) -> bytes:
    """The bytes of a file or a pipe; InputError if it cannot be read or is a Git LFS pointer."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    if is_pointer(content):
        raise InputError(f"{path}: {NOT_FETCHED}")
    return content


@contextmanager
def open_text(path: Path, newline: str | None = None, content: bytes | None = None) -> Iterator[TextIO]:
    """Opens a text file for reading.

    Args:
        path: the file or pipe.
        newline: as for Python's `open`.
        content: its bytes, if they have been read; `path` then only names it.

    Raises:
        InputError: the file cannot be read or is not UTF-8, also while the block reads it.
    """
    try:
        stream = path.open("rb") if content is None else BytesIO(content)
        with TextIOWrapper(stream, ENCODING, newline=newline) as file:
            yield file
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 text: {error.reason} at byte {error.start}") from None


@contextmanager
def write_text(path: Path, newline: str | None = None) -> Iterator[TextIO]:
    """A UTF-8 file to write, which appears at `path` when the block has succeeded; InputError if that fails."""
    try:
        with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline=newline) as file:
            yield file
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from None
