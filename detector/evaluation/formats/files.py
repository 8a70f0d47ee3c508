"""Text files of detections: read in batches of lines, written as a whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TextIO

from detector.errors import InputError
from proposals.files import atomic_write, temporary_folder

#: Lines read at a time.
BATCH = 20_000


def read_lines(path: Path) -> Iterator[tuple[list[int], list[str]]]:
    """The numbers, from 1, and the text of the lines of a UTF-8 file, batch by batch, without the blank ones.

    Raises:
        InputError: the file cannot be read or is not text.
    """
    with opened(path) as file:
        lines = enumerate(file, start=1)
        while batch := list(islice(lines, BATCH)):
            filled = [(number, text) for number, line in batch if (text := line.strip())]
            yield [number for number, _ in filled], [text for _, text in filled]


@contextmanager
def opened(path: Path, newline: str | None = None) -> Iterator[TextIO]:
    """A UTF-8 file to be read; InputError if that fails, also inside the block."""
    try:
        with path.open(encoding="utf-8-sig", newline=newline) as file:
            yield file
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 text: {error.reason} at byte {error.start}") from None


@contextmanager
def text_file(path: Path, newline: str | None = None) -> Iterator[TextIO]:
    """A UTF-8 file to be written, which is there when the block has succeeded; InputError if that fails."""
    try:
        with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline=newline) as file:
            yield file
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from None


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to be filled, which becomes `path` when the block has succeeded; InputError if that fails.

    `path` must not hold anything: old files in it would be read as part of the new result.
    """
    try:
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise InputError(f"{path}: is there already; give a new or an empty folder")
        with temporary_folder(path) as temporary:
            yield temporary
            if path.is_dir():
                path.rmdir()  # os.replace takes an empty folder for an obstacle on Windows
            os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from None


def safe_name(name: str, *, everywhere: bool = True) -> str:
    """The name if it can be part of a file's name; InputError otherwise.

    everywhere: on every system; otherwise on this one, for names of files that are here.
    """
    if everywhere or os.name == "nt":
        refused = any(c in '/\\:*?"<>|' or not c.isprintable() for c in name)
    else:
        refused = "/" in name or "\0" in name
    if not name or refused or name in (".", ".."):
        raise InputError(f"{name!r} cannot be the name of a file; choose another format")
    return name


def valid_text(text: str) -> str:
    """A file's name as text, in any locale: bytes that are no UTF-8 are shown as \\xff."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
