"""COCO's results: a JSON list with an object a detection, `image_id`, `category_id`, `bbox` [x, y, width, height] and
`score`.

Source: https://cocodataset.org/#format-results. Coordinates are 0-based, and right = x + width is exclusive; other
fields, such as segmentations, are ignored. Next to the results in FILE, FILE.categories.json may name their ids, in
`categories` as in COCO's annotations; without it, they are those of the data set.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np

from detector.data.detection_table import DetectionTable
from detector.data.formats.collector import Collector
from detector.data.formats.files import table_rows
from detector.data.formats.keys import Key, class_id_index, class_name_index, is_number
from detector.data.ground_truth import GroundTruth
from detector.data.json_records import decode_records
from detector.errors import InputError
from detector.io.text import strip_bom, write_text

_COORDINATE_DECIMALS, _SCORE_DECIMALS = 2, 5  # of rounded results


class _Category(msgspec.Struct):
    id: int | str
    name: str


class _Categories(msgspec.Struct):
    categories: list[_Category]


class _Record(msgspec.Struct, gc=False):  # the garbage collector would visit millions of them again and again
    image_id: int | str
    category_id: int | str
    bbox: tuple[float, float, float, float]
    score: float


def read_coco(path: Path, into: Collector, content: bytes) -> None:
    """Read a results file of that content.

    Classes are matched by the names in the file of categories, or else by `truth.class_ids`.
    """
    into.find_classes_by(_class_index(categories_path(path), into))
    for numbers, records in decode_records(path, content, _Record, into.faults, "record"):
        boxes = np.array([record.bbox for record in records], np.float64).reshape(-1, 4)
        sides = boxes[:, 2:].copy()
        with np.errstate(over="ignore"):  # too large numbers become infinite, which is a fault
            boxes[:, 2:] += boxes[:, :2]
        images = [record.image_id for record in records]
        classes = [record.category_id for record in records]
        into.add(
            path, images, classes, boxes, np.array([record.score for record in records], np.float64), numbers, sides
        )


def categories_path(path: Path) -> Path:
    """The file that names the categories of the results at `path`."""
    return Path(f"{path}.categories.json")  # not with_suffix, which would give run.v1 and run.v2 the same file


def read_categories(path: Path) -> dict[Key, str] | None:
    """The names of the ids in a file of categories; None if there is no such file."""
    if not path.is_file():
        return None
    try:
        categories = msgspec.json.decode(strip_bom(path.read_bytes()), type=_Categories).categories
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: does not name the categories of its results ({error}); delete it") from None
    return {category.id: category.name for category in categories}


def _class_index(path: Path, into: Collector) -> Mapping[Key, int]:
    """Indices of classes by the ids in a file of categories, or in the data set if there is no such file."""
    truth_index = class_id_index(into.truth)
    names = read_categories(path)
    if names is None:
        return truth_index
    by_name = class_name_index(into.truth)
    index = {key: by_name[name] for key, name in names.items()}
    # The file may be of earlier results.
    if conflicts := [key for key in index if truth_index.get(key, index[key]) != index[key]]:
        described = (f"{key} is {names[key]}, not {into.truth.class_names[truth_index[key]]}" for key in conflicts)
        into.remarks.append(f"{path} differs from the data set's categories and is used: {', '.join(described)}")
    return {key: label for key, label in index.items() if label >= 0}


def write_coco(path: Path, table: DetectionTable, truth: GroundTruth, rounded: bool = False) -> None:
    """Write a results file, a line a detection, and the categories next to it.

    Args:
        path: the results file.
        table: the detections.
        truth: the data set that they refer to.
        rounded: write coordinates with 2 decimals and scores with 5, for people; otherwise all digits, so that
            `read_coco` returns x, y, width, height and score exactly, right and bottom up to the last bit.

    Raises:
        InputError: a file cannot be written.
    """
    boxes = np.hstack([table.boxes[:, :2], table.sides])
    if rounded:
        boxes = boxes.round(_COORDINATE_DECIMALS)
        table = replace(table, scores=table.scores.round(_SCORE_DECIMALS))
    with write_text(path) as file:
        file.write("[")
        for row, (image, label, score, box) in enumerate(table_rows(table, boxes)):
            record = _Record(truth.image_ids[image], truth.class_ids[label], box, score)
            file.write(",\n" if row else "\n")
            file.write(msgspec.json.encode(record).decode())
        file.write("\n]\n")
    with write_text(categories_path(path)) as file:
        categories = [{"id": i, "name": name} for i, name in zip(truth.class_ids, truth.class_names, strict=True)]
        file.write(json.dumps({"categories": categories}, indent=1) + "\n")


def with_numbers(truth: GroundTruth, table: DetectionTable) -> tuple[GroundTruth, DetectionTable]:
    """The data with numbers as image ids, as in COCO (000012: 12), or unchanged if the ids are not distinct numbers."""
    texts = [str(image_id) for image_id in truth.image_ids]
    if not all(map(is_number, texts)) or len(set(map(int, texts))) < len(texts):
        return truth, table
    ids = tuple(map(int, texts))
    return replace(truth, image_ids=ids), replace(table, image_ids=ids)
