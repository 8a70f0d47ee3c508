"""Text files of detections: read in batches of lines, written as a whole or not at all."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import BinaryIO, TextIO

from detector.errors import InputError
from detector.io.text import open_text
from proposals.files import atomic_write, temporary_folder

#: Lines read at a time.
BATCH = 20_000

#: Bytes by which a format is recognized.
_HEAD = 1 << 16


class _Rewound(io.RawIOBase):
    """A stream whose beginning was read already, from that beginning on."""

    def __init__(self, head: bytes, rest: io.FileIO) -> None:
        self._head, self._rest = head, rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int | None:  # type: ignore[override]
        if not self._head:
            return self._rest.readinto(buffer)
        count = min(len(buffer), len(self._head))
        buffer[:count], self._head = self._head[:count], self._head[count:]
        return count


@contextmanager
def begun(path: Path) -> Iterator[tuple[bytes, BinaryIO | None]]:
    """The beginning of a file, and all of it, opened only once: a pipe loses what was read; nothing of a folder.

    Raises:
        InputError: it cannot be read, also inside the block.
    """
    try:
        if path.is_dir():
            yield b"", None
            return
        with path.open("rb", buffering=0) as file:
            head = b""
            while len(head) < _HEAD and (more := file.read(_HEAD - len(head))):  # a pipe gives a part at a time
                head += more
            yield head, io.BufferedReader(_Rewound(head, file), _HEAD)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None


def read_lines(path: Path, content: BinaryIO | None = None) -> Iterator[tuple[list[int], list[str]]]:
    """The numbers, from 1, and the text of the lines of a UTF-8 file, batch by batch, without the blank ones.

    Args:
        path: the file.
        content: what is in it, if it is open already.

    Raises:
        InputError: the file cannot be read or is not text.
    """
    with open_text(path, content=content) as file:
        lines = enumerate(file, start=1)
        while batch := list(islice(lines, BATCH)):
            filled = [(number, text) for number, line in batch if (text := line.strip())]
            yield [number for number, _ in filled], [text for _, text in filled]


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
