"""Files and folders of detections: JSON lists read whole, text and folders written completely or not at all."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO, TypeVar

import msgspec

from detector.data.faults import Faults
from detector.errors import InputError
from detector.io.lfs import NOT_FETCHED, is_pointer
from detector.io.text import strip_bom
from proposals.files import atomic_write, temporary_folder

BATCH = 20_000
"""Records that are converted to columns at a time."""

Record = TypeVar("Record", bound=msgspec.Struct)


def read_content(path: Path) -> bytes:
    """The bytes of a file or a pipe; InputError if it cannot be read or is a Git LFS pointer."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    if is_pointer(content):
        raise InputError(f"{path}: {NOT_FETCHED}")
    return content


def decode_records(
    path: Path, content: bytes, kind: type[Record], faults: Faults, what: str
) -> Iterator[tuple[Sequence[int], list[Record]]]:
    """The records of a JSON list and their numbers, from 1, in batches.

    msgspec decodes the list at once: 100 MB of COCO results (a million records) take 0.5 s and 0.5 GB. Only where that
    fails, Python's slower `json` reads the file, with the NaN and infinities that many programs write, so that every
    faulty record can be named.

    Args:
        path: the file, named in errors.
        content: its bytes.
        kind: of the records.
        faults: of the records that are not of this kind, which are left out.
        what: word for a record in faults.

    Raises:
        InputError: the content is not a JSON list.
    """
    text = strip_bom(content).lstrip()
    if text[:1] == b"{":
        raise InputError(f"{path}: holds a JSON object, expected a list of detections")
    if text[:1] != b"[":
        raise InputError(f"{path}: is not JSON: {'it does not begin with [' if text else 'it is empty'}")
    numbers: Sequence[int]
    records: list[Record]
    try:
        records = msgspec.json.decode(text, type=list[kind])  # type: ignore[valid-type]
        numbers = range(1, len(records) + 1)
    except (ValueError, RecursionError):  # ValueError: all that msgspec raises, and bad UTF-8
        numbers, records = _decode_leniently(path, text, kind, faults, what)
    for start in range(0, len(records), BATCH):
        yield numbers[start : start + BATCH], records[start : start + BATCH]


def _decode_leniently(
    path: Path, text: bytes, kind: type[Record], faults: Faults, what: str
) -> tuple[list[int], list[Record]]:
    try:
        values = json.loads(text)
    except RecursionError:
        raise InputError(f"{path}: is not JSON: the brackets are nested too deeply") from None
    except ValueError as error:
        raise InputError(f"{path}: is not JSON: {error}") from None
    numbers, records = [], []
    for number, value in enumerate(values, start=1):
        try:
            records.append(msgspec.convert(value, kind))
            numbers.append(number)
        except msgspec.ValidationError as error:
            # "Expected `float`, got `str` - at `$.bbox[0]`", or "Object missing required field `score`"
            reason, _, location = str(error).partition(" - at `$")
            field = location.strip("`.")
            reason = reason[0].lower() + reason[1:]
            fault = f"field {field}: {reason}" if field else f"{json.dumps(value)[:40]}: {reason}"
            faults.add(path, f"{what} {number}", fault)
    return numbers, records


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
