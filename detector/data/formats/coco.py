"""COCO's results: a JSON list with an object a detection, `image_id`, `category_id`, `bbox` [x, y, width, height] and
`score`.

Source: https://cocodataset.org/#format-results. Coordinates are 0-based, and right = x + width is exclusive; other
fields, such as segmentations, are passed over. Beside the results stands NAME.categories.json, with `categories` as in
COCO's annotations, which names their ids; where it is missing, they are those of the data set.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy as np

from detector.data.detection_table import DetectionTable
from detector.data.formats.collector import Collector, Part
from detector.data.formats.files import text_file
from detector.data.formats.json_stream import checked_fields, read_records
from detector.data.formats.keys import Key, by_class_name, class_ids, is_number
from detector.data.ground_truth import GroundTruth
from detector.errors import InputError


class _Category(msgspec.Struct):
    id: int | str
    name: str


class _Categories(msgspec.Struct):
    categories: list[_Category]


class _Record(msgspec.Struct, gc=False):  # not tracked: a million of them would be looked through again and again
    image_id: int | str
    category_id: int | str
    bbox: tuple[float, float, float, float]
    score: float


_EXPECTED = {
    "image_id": "a whole number or text",
    "category_id": "a whole number or text",
    "bbox": "four numbers [x, y, width, height]",
    "score": "a number",
}


def read_coco(path: Path, into: Collector, content: BinaryIO | None = None) -> None:
    """Read a results file, from `content` if it is open already; categories go by the names beside it, or else by
    `truth.class_ids`.

    Raises:
        InputError: a file cannot be read, is not JSON, or has too many faults.
    """
    into.find_classes_by(_categories(categories_path(path), into.truth))
    for first, values, plain in read_records(path, msgspec.json.Decoder(list[_Record]), content=content):
        numbers = range(first, first + len(values))
        if plain:
            checked = [(n, _checked(path, n, value, into)) for n, value in zip(numbers, values, strict=True)]
            good = [(n, record) for n, record in checked if record is not None]
            _add(path, [n for n, _ in good], [record for _, record in good], into)
        else:
            _add(path, numbers, values, into)


def categories_path(path: Path) -> Path:
    """The file beside results that names their categories."""
    return path.with_suffix(".categories.json")


def _categories(path: Path, truth: GroundTruth) -> Mapping[Key, int]:
    """Indices of classes by the ids that a file gives their names, or the data set if there is no such file."""
    if not path.is_file():
        return class_ids(truth)
    try:
        categories = msgspec.json.decode(path.read_bytes(), type=_Categories).categories
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: does not name the categories of its results ({error}); delete it") from None
    places = by_class_name(truth)
    return {one.id: places[one.name] for one in categories if places[one.name] >= 0}


def _add(path: Path, numbers: Sequence[int], records: list[_Record], into: Collector) -> None:
    """Hand records on in columns."""
    boxes = np.array([record.bbox for record in records], np.float64).reshape(-1, 4)
    sides = boxes[:, 2:].copy()
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and a fault
        boxes[:, 2:] += boxes[:, :2]
    into.add(
        Part(
            file=path,
            images=[record.image_id for record in records],
            classes=[record.category_id for record in records],
            boxes=boxes,
            scores=np.array([record.score for record in records], np.float64),
            sides=sides,
            record=lambda row: f"record {numbers[row]}",
        )
    )


def _checked(path: Path, number: int, value: object, into: Collector) -> _Record | None:
    """The record that a JSON value is; None after its faults were noted."""
    fields = checked_fields(value, _Record, _EXPECTED, lambda fault: into.faults.add(path, f"record {number}", fault))
    return None if fields is None else _Record(**fields)


#: Decimals of coordinates and of scores in results that people read.
COORDINATE_DECIMALS, SCORE_DECIMALS = 2, 5


def write_coco(path: Path, table: DetectionTable, truth: GroundTruth, rounded: bool = False) -> None:
    """Write a results file, a line a detection, with all digits unless `rounded`; and the categories beside it.

    With all digits, x, y, width, height and the score are read again as they were; right and bottom as the sum of two
    64-bit numbers, which the last bit may miss.

    Raises:
        InputError: a file cannot be written.
    """
    boxes = np.hstack([table.boxes[:, :2], table.sides])
    scores = table.scores
    if rounded:
        boxes, scores = boxes.round(COORDINATE_DECIMALS), scores.round(SCORE_DECIMALS)
    with text_file(path) as file:
        file.write("[")
        columns = zip(table.images.tolist(), table.labels.tolist(), boxes.tolist(), scores.tolist(), strict=True)
        for row, (image, label, box, score) in enumerate(columns):
            record = _Record(truth.image_ids[image], truth.class_ids[label], tuple(box), score)
            file.write(",\n" if row else "\n")
            file.write(msgspec.json.encode(record).decode())
        file.write("\n]\n")
    with text_file(categories_path(path)) as file:
        categories = [{"id": i, "name": name} for i, name in zip(truth.class_ids, truth.class_names, strict=True)]
        file.write(json.dumps({"categories": categories}, indent=1) + "\n")


def with_numbers(truth: GroundTruth, table: DetectionTable) -> tuple[GroundTruth, DetectionTable]:
    """With numbers as image ids, as in COCO, if all ids are different numbers (000012: 12); otherwise as they are."""
    texts = [str(image_id) for image_id in truth.image_ids]
    if not all(map(is_number, texts)) or len(set(map(int, texts))) < len(texts):
        return truth, table
    ids = tuple(map(int, texts))
    return replace(truth, image_ids=ids), replace(table, image_ids=ids)
