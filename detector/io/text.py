"""Text that others wrote, in UTF-8. The byte-order mark which some programs put before it is no part of it."""

from codecs import BOM_UTF8
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import BinaryIO, TextIO

from detector.errors import InputError

#: For `bytes.decode` and the like: UTF-8, with the mark or without.
ENCODING = "utf-8-sig"


def strip_bom(content: bytes) -> bytes:
    """The beginning of a file without its byte-order mark."""
    return content.removeprefix(BOM_UTF8)


@contextmanager
def open_text(path: Path, newline: str | None = None, content: BinaryIO | None = None) -> Iterator[TextIO]:
    """A text file to be read; InputError if that fails, also inside the block.

    Args:
        path: the file or pipe.
        newline: as for Python's `open`.
        content: what is in it, if it is open already.
    """
    try:
        with content or path.open("rb") as stream, TextIOWrapper(stream, ENCODING, newline=newline) as file:
            yield file
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 text: {error.reason} at byte {error.start}") from None
