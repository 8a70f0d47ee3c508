"""A JSON list of any length, read part by part, so that memory holds one part and not the file."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import msgspec

from detector.errors import InputError
from detector.io.text import strip_bom

#: Bytes read at a time.
CHUNK = 1 << 22
#: Bytes of a list without a place to cut it that are held in memory before it is given up.
LONGEST = 1 << 29

_BETWEEN = re.compile(rb"\}\s*,\s*$")
_LONGEST_GAP = 256


class Records(NamedTuple):
    """Elements of the list that follow each other.

    Attributes:
        first: number of the first one, from 1.
        values: what the decoder made of them, or plain JSON values.
        plain: the decoder refused one of them: they are plain values as Python's `json` reads them, with NaN and
            infinities, and not checked.
    """

    first: int
    values: list[Any]
    plain: bool


def read_records(
    path: Path, decoder: msgspec.json.Decoder[list[Any]], first_key: bytes = b"", content: BinaryIO | None = None
) -> Iterator[Records]:
    """The elements of the list in a file, part by part.

    The file is cut between an object and the next. That a cut is not inside an element is proved by decoding: the
    text up to it is a list of whole elements, or else more of the file is read.

    Args:
        path: the file.
        decoder: of a list of the elements.
        first_key: key that an element's object begins with, if inner objects make it hard to find the elements.
        content: what is in the file, if it is open already.

    Raises:
        InputError: the file cannot be read, or is not JSON, or not a list.
    """
    try:
        with content or path.open("rb") as file:
            yield from _read(path, file, decoder, first_key)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None


def _read(path: Path, file: BinaryIO, decoder: msgspec.json.Decoder[list[Any]], first_key: bytes) -> Iterator[Records]:
    text = strip_bom(file.read(CHUNK)).lstrip()
    if text[:1] == b"{":
        raise InputError(f"{path}: holds no list; expected a JSON list")
    if text[:1] != b"[":
        raise InputError(f"{path}: is not JSON: {'it is empty' if not text else 'it does not begin with ['}")
    first, size, ended = 1, CHUNK, False
    while not ended:
        size = max(size, len(text))  # twice as much, unless a part comes off
        if cut := _last_cut(text, first_key):
            records = _decode(text[:cut].rstrip().removesuffix(b",") + b"]", first, decoder)
            if isinstance(records, Records):
                yield records
                first += len(records.values)
                text, size = b"[" + text[cut:], CHUNK
            elif not _may_be_cut(records):
                raise _no_json(path, first, records)
        if len(text) > LONGEST:
            raise InputError(f"{path}: record {first} does not end within {LONGEST >> 20} MiB, or is no object")
        more = file.read(size)
        ended = not more
        text += more
    records = _decode(text, first, decoder)
    if not isinstance(records, Records):
        raise _no_json(path, first, records)
    yield records


def _last_cut(text: bytes, first_key: bytes) -> int:
    """Where the last object begins that follows another and has `first_key`; 0 if there is none."""
    cut = text.rfind(b"{")
    while cut > 0:
        if _BETWEEN.search(text, max(0, cut - _LONGEST_GAP), cut) and text[cut + 1 : cut + 99].lstrip().startswith(
            first_key
        ):
            return cut
        cut = text.rfind(b"{", 0, cut)
    return 0


def _decode(text: bytes, first: int, decoder: msgspec.json.Decoder[list[Any]]) -> Records | ValueError:
    """The records, or why `text` is no JSON list."""
    try:
        return Records(first, decoder.decode(text), False)
    except (ValueError, RecursionError):  # ValueError: all that msgspec raises, and bad UTF-8
        pass
    try:
        return Records(first, json.loads(text), True)
    except RecursionError:
        return ValueError("too many brackets in one another")
    except ValueError as error:
        return error


def _may_be_cut(error: ValueError) -> bool:
    """Whether the fault is that a text, ended by a bracket of ours, was cut inside an element."""
    if not isinstance(error, json.JSONDecodeError):
        return False
    return error.pos >= len(error.doc) - 1 or error.msg.startswith("Unterminated string")


def _no_json(path: Path, first: int, error: ValueError) -> InputError:
    reason = str(error)
    if isinstance(error, json.JSONDecodeError):  # its position is one in a part
        reason = f"{error.msg} near {error.doc[max(0, error.pos - 20) : error.pos + 20]!r}"
    return InputError(f"{path}: is not JSON, at record {first} or after it: {reason}")


def checked_fields(
    value: object,
    kind: type[msgspec.Struct],
    expected: Mapping[str, str],
    note: Callable[[str], None],
    where: str = "",
) -> dict[str, Any] | None:
    """The fields of a JSON value that should be a `kind`.

    Args:
        value: from Python's `json`.
        kind: its fields may be missing if they have defaults.
        expected: what a fault says of each field.
        note: called with every fault.
        where: comes before each.

    Returns:
        None if there were faults.
    """
    if not isinstance(value, dict):
        note(f"{where}is {json.dumps(value)[:40]}, expected an object with named fields")
        return None
    good, faults = {}, 0
    for field in msgspec.structs.fields(kind):
        if field.name not in value:
            if field.required:
                note(f"{where}field {field.name} is missing")
                faults += 1
            continue
        try:
            good[field.name] = msgspec.convert(value[field.name], field.type)
        except (msgspec.ValidationError, OverflowError):
            note(f"{where}field {field.name} is {json.dumps(value[field.name])[:40]}, expected {expected[field.name]}")
            faults += 1
    return None if faults else good
