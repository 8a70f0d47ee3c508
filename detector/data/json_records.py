"""JSON lists of records, checked by msgspec; where that fails, every faulty record is named."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from detector.data.faults import Faults
from detector.errors import InputError
from detector.io.text import strip_bom

BATCH = 20_000
"""Records that are converted to columns at a time."""

Record = TypeVar("Record", bound=msgspec.Struct)


def decode_records(
    path: Path, content: bytes, kind: type[Record], faults: Faults, what: str
) -> Iterator[tuple[Sequence[int], list[Record]]]:
    """The records of a JSON list and their numbers, from 1, in batches.

    msgspec decodes the list at once: 100 MB of COCO results (a million records) take 0.5 s and 0.5 GB. Only where that
    fails, Python's slower `json` reads the file, with the NaN and infinities that many programs write.

    Args:
        path: the file, named in errors.
        content: its bytes.
        kind: of the records.
        faults: of the records that are not of this kind, which are left out.
        what: word for a record in faults.

    Raises:
        InputError: the content is not a JSON list.
    """
    text = strip_bom(content)
    numbers: Sequence[int]
    try:
        records = msgspec.json.decode(text, type=list[kind])  # type: ignore[valid-type]
        numbers = range(1, len(records) + 1)
    except (ValueError, RecursionError):  # ValueError: all that msgspec raises, and bad UTF-8
        values = load_json(path, text)
        if not isinstance(values, list):
            raise InputError(f"{path}: holds a JSON {type(values).__name__}, expected a list of detections") from None
        rows, records = convert_records(path, values, kind, faults, lambda row: f"{what} {row + 1}")
        numbers = [row + 1 for row in rows]
    for start in range(0, len(records), BATCH):
        yield numbers[start : start + BATCH], records[start : start + BATCH]


def load_json(path: Path, text: bytes) -> Any:
    """The plain values in JSON, NaN and infinities included; InputError if it is not JSON."""
    try:
        return json.loads(text)
    except RecursionError:
        raise InputError(f"{path}: is not JSON: the brackets are nested too deeply") from None
    except ValueError as error:
        raise InputError(f"{path}: is not JSON: {error}") from None


def convert_records(
    path: Path, values: Sequence[Any], kind: type[Record], faults: Faults, label: Callable[[int], str]
) -> tuple[list[int], list[Record]]:
    """The values that are records of a kind, and their rows; the others are faults, named by `label` of the row."""
    rows, records = [], []
    for row, value in enumerate(values):
        try:
            records.append(msgspec.convert(value, kind))
            rows.append(row)
        except msgspec.ValidationError as error:
            # "Expected `float`, got `str` - at `$.bbox[0]`", or "Object missing required field `score`"
            reason, _, location = str(error).partition(" - at `$")
            field = location.strip("`.")
            reason = reason[0].lower() + reason[1:]
            faults.add(path, label(row), f"field {field}: {reason}" if field else f"{json.dumps(value)[:40]}: {reason}")
    return rows, records
