"""Files and folders of detections: JSON lists read whole, text and folders written completely or not at all."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO, TypeVar

import msgspec

from detector.errors import InputError
from detector.io.text import without_mark
from proposals.files import atomic_write, temporary_folder

Record = TypeVar("Record", bound=msgspec.Struct)


def read_content(path: Path) -> bytes:
    """The bytes of a file or a pipe; InputError if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None


def decode_records(path: Path, content: bytes, kind: type[Record]) -> Iterator[tuple[int, Record | str]]:
    """The records of a JSON list, each with its number, from 1.

    msgspec decodes the list at once: 300 MB of COCO results (3.5 million records) take 2 s and 1.3 GB. Only where that
    fails, Python's slower `json` reads the file, with the NaN and infinities that many programs write, so that every
    faulty record can be named.

    Yields:
        The number and the record, or what is wrong with it: the field, and what was expected there.

    Raises:
        InputError: the content is not a JSON list.
    """
    text = without_mark(content).lstrip()
    if text[:1] == b"{":
        raise InputError(f"{path}: holds a JSON object, expected a list of detections")
    if text[:1] != b"[":
        raise InputError(f"{path}: is not JSON: {'it does not begin with [' if text else 'it is empty'}")
    try:
        yield from enumerate(msgspec.json.decode(text, type=list[kind]), start=1)  # type: ignore[valid-type]
        return
    except (ValueError, RecursionError):  # ValueError: all that msgspec raises, and bad UTF-8
        pass
    try:
        values = json.loads(text)
    except RecursionError:
        raise InputError(f"{path}: is not JSON: the brackets are nested too deeply") from None
    except ValueError as error:
        raise InputError(f"{path}: is not JSON: {error}") from None
    for number, value in enumerate(values, start=1):
        try:
            yield number, msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            # "Expected `float`, got `str` - at `$.bbox[0]`", or "Object missing required field `score`"
            reason, _, location = str(error).partition(" - at `$")
            field = location.strip("`.")
            reason = reason[0].lower() + reason[1:]
            yield number, f"field {field}: {reason}" if field else f"{json.dumps(value)[:40]}: {reason}"


@contextmanager
def text_file(path: Path, newline: str | None = None) -> Iterator[TextIO]:
    """A UTF-8 file to write, which appears at `path` when the block has succeeded; InputError if that fails."""
    try:
        with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline=newline) as file:
            yield file
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from None


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, which is moved to `path` when the block has succeeded; InputError if that fails.

    `path` must be new or empty: old files in it would be read as part of the new result.
    """
    try:
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise InputError(f"{path}: already exists; give a new or an empty folder")
        with temporary_folder(path) as temporary:
            yield temporary
            if path.is_dir():
                path.rmdir()  # on Windows, os.replace does not replace an empty folder
            os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from None


def safe_name(name: str, *, everywhere: bool = True) -> str:
    """The name, if it can be part of a file's name; InputError otherwise.

    Args:
        name: such as a class or the stem of a photo.
        everywhere: on every system; otherwise on this one, for names that come from files here.
    """
    if everywhere or os.name == "nt":
        refused = any(c in '/\\:*?"<>|' or not c.isprintable() for c in name)
    else:
        refused = "/" in name or "\0" in name
    if not name or refused or name in (".", ".."):
        raise InputError(f"{name!r} cannot be the name of a file; choose another format")
    return name


def valid_text(text: str) -> str:
    """A file's name as text, in any locale: bytes that are not UTF-8 are shown as \\xff."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
