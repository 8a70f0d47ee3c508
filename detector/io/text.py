"""UTF-8 text with or without a byte-order mark, which some programs write first."""

from codecs import BOM_UTF8
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import BinaryIO, TextIO

from detector.errors import InputError

ENCODING = "utf-8-sig"
"""For `bytes.decode` and the like: UTF-8, a byte-order mark skipped."""


def strip_bom(content: bytes) -> bytes:
    """The start of a file without its byte-order mark."""
    return content.removeprefix(BOM_UTF8)


@contextmanager
def open_text(path: Path, newline: str | None = None, content: BinaryIO | None = None) -> Iterator[TextIO]:
    """Opens a text file for reading.

    Args:
        path: the file or pipe.
        newline: as for Python's `open`.
        content: the binary stream, if it is open already; `path` then only names it.

    Raises:
        InputError: the file cannot be read or is not UTF-8, also while the block reads it.
    """
    try:
        with content or path.open("rb") as stream, TextIOWrapper(stream, ENCODING, newline=newline) as file:
            yield file
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 text: {error.reason} at byte {error.start}") from None
