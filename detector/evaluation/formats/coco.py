"""COCO's results: a JSON list with an object a detection, `image_id`, `category_id`, `bbox` [x, y, width, height] and
`score`.

Source: https://cocodataset.org/#format-results. Coordinates are 0-based, and right = x + width is exclusive; other
fields, such as segmentations, are passed over.
"""

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from detector.evaluation.formats.collector import Collector, Part
from detector.evaluation.formats.json_stream import read_records
from detector.evaluation.formats.places import by_class_id, class_ids


class _Record(msgspec.Struct, gc=False):  # not tracked: a million of them would be looked through again and again
    image_id: int | str
    category_id: int | str
    bbox: tuple[float, float, float, float]
    score: float


_FIELDS = {field.name: field.type for field in msgspec.structs.fields(_Record)}
_EXPECTED = {
    "image_id": "a whole number or text",
    "category_id": "a whole number or text",
    "bbox": "four numbers [x, y, width, height]",
    "score": "a number",
}


def read_coco(path: Path, into: Collector) -> None:
    """Read a results file; categories go by `truth.class_ids`.

    Raises:
        InputError: the file cannot be read, is not JSON, or has too many faults.
    """
    into.classes = by_class_id(class_ids(into.truth))
    for first, values, plain in read_records(path, msgspec.json.Decoder(list[_Record])):
        numbers = range(first, first + len(values))
        if plain:
            checked = [(n, _checked(path, n, value, into)) for n, value in zip(numbers, values, strict=True)]
            good = [(n, record) for n, record in checked if record is not None]
            add_records(path, [n for n, _ in good], [record for _, record in good], into)
        else:
            add_records(path, numbers, values, into)


def add_records(path: Path, numbers: Any, records: list[_Record], into: Collector) -> None:
    """Hand records on in columns."""
    boxes = np.array([record.bbox for record in records], np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    into.add(
        Part(
            file=path,
            images=[record.image_id for record in records],
            classes=[record.category_id for record in records],
            boxes=boxes,
            scores=np.array([record.score for record in records], np.float64),
            record=lambda row: f"record {numbers[row]}",
        )
    )


def _checked(path: Path, number: int, value: object, into: Collector) -> _Record | None:
    """The record that a JSON value is; None after its faults were noted."""
    where = f"record {number}"
    if not isinstance(value, dict):
        into.faults.add(path, where, f"is {json.dumps(value)[:40]}, expected an object with named fields")
        return None
    good: dict[str, Any] = {}
    for name, kind in _FIELDS.items():
        if name not in value:
            into.faults.add(path, where, f"field {name} is missing")
            continue
        try:
            good[name] = msgspec.convert(value[name], kind)
        except (msgspec.ValidationError, OverflowError):
            found = json.dumps(value[name])[:40]
            into.faults.add(path, where, f"field {name} is {found}, expected {_EXPECTED[name]}")
    return _Record(**good) if len(good) == len(_FIELDS) else None
