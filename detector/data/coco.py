"""COCO's annotations, `instances_*.json`.

Where COCO's format leaves a choice, this reader does as pycocotools: `iscrowd` defaults to 0, and a key `ignore` is
not read, because pycocotools overwrites it with `iscrowd`. Unlike pycocotools it accepts 0 as an id, and `area`
defaults to that of the box. Ids are whole numbers, as in the format's description, or texts, which many programs write
for images. 1 and "1" may not both be ids of a list, but references must match an id exactly.

msgspec's typed decoder builds the few fields that an evaluation needs and skips the rest, above all the polygons of
`segmentation`, which are most of such a file. 200 MB of it (377,000 objects) take 0.9 s and 150 MB beside the text;
orjson, which builds everything, 5 s and 1.8 GB; ijson, which streams, 6 s. A memory map would save the text, but a file
that is truncated while it is read would end the process.
"""

import json
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta, Struct

from detector.data.archives import check_member_name
from detector.data.faults import Faults
from detector.data.ground_truth import LARGEST, GroundTruth, repeated
from detector.data.json_records import convert_records, load_json
from detector.errors import InputError
from detector.io.text import read_content, strip_bom

_LENIENT_LIMIT = 2**28  # bytes of a faulty file that Python's slower and larger json decodes to name all faults
_EXPECTED = "expected an object with images, categories and annotations"

_Text = Annotated[str, Meta(pattern=r"\S")]
_Id = int | _Text
_Side = Annotated[int, Meta(gt=0, lt=2**31)]
_Coordinate = Annotated[float, Meta(ge=-LARGEST, le=LARGEST)]  # NaN and infinities are outside


class _Image(Struct, gc=False):
    id: _Id
    file_name: _Text = ""
    width: _Side = 0
    height: _Side = 0


class _Category(Struct, gc=False):
    id: _Id
    name: _Text


class _Annotation(Struct, gc=False):
    id: _Id
    image_id: _Id
    category_id: _Id
    bbox: tuple[_Coordinate, _Coordinate, _Coordinate, _Coordinate]
    area: Annotated[float, Meta(ge=0, le=LARGEST)] = math.nan
    iscrowd: Literal[0, 1] | bool = 0


class _Content(Struct):
    images: list[_Image]
    categories: list[_Category]
    annotations: list[_Annotation]


class _Unchecked(Struct):
    images: list[Any]
    categories: list[Any]
    annotations: list[Any]


def read_coco(path: str | Path, faults: Faults | None = None) -> GroundTruth:
    """The objects in a file of COCO annotations.

    Images, classes and objects keep the order of the file. `image_ids` and `class_ids` are COCO's ids, `crowd` is
    `iscrowd`, `areas` are the annotations' `area`. A box x, y, width, height in pixels becomes (x, y, x + width,
    y + height). `files` are the images' `file_name`, or only its last part if it points outside the folder of the
    photos, or the id if it is missing. Images may lack `width` and `height`.

    Args:
        path: the file or pipe.
        faults: collects the faults. Only those of annotations, such as the few boxes of COCO's train2017 whose width or
            height is 0, can be left out, not those of images and categories.

    Raises:
        InputError: the file cannot be read, is not JSON, or is not an object with lists.
        FaultyDataError: records are wrong; each fault names the record by its position, and the field.
    """
    path = Path(path)
    faults = faults or Faults()
    content, rows = _decode(path, faults)
    images, categories, annotations = content.images, content.categories, content.annotations
    before = faults.count
    sections: tuple[tuple[str, Sequence[_Image | _Category]], ...] = (("images", images), ("categories", categories))
    for name, records in sections:
        if not records:
            faults.add(path, name, "is empty")
        _check_distinct(path, name, "id", records, faults)
    _check_distinct(path, "categories", "name", categories, faults)
    files = _files(path, images, faults)
    if faults.count > before:
        faults.check(always=True)
    kept = np.ones(len(annotations), bool)

    def label(index: int) -> str:
        return f"annotations[{rows[index]}] (id {_shown(annotations[index].id)})"

    def report(index: int, fault: str) -> None:
        kept[index] = False
        faults.add(path, label(index), fault)

    for index, first in repeated(str(annotation.id) for annotation in annotations):
        report(index, f"field id is the same as in annotations[{rows[first]}]")
    columns = []
    for field, (name, records) in zip(("image_id", "category_id"), sections, strict=True):
        row_of = {record.id: row for row, record in enumerate(records)}
        ids = [getattr(annotation, field) for annotation in annotations]
        columns.append(np.array([row_of.get(record_id, -1) for record_id in ids], np.int64))
        for index in np.flatnonzero(columns[-1] < 0).tolist():
            report(index, f"field {field} is {_shown(ids[index])}, which no record in {name} has as its id")
    boxes = np.array([annotation.bbox for annotation in annotations], np.float64).reshape(-1, 4)
    sides = boxes[:, 2:].copy()
    boxes[:, 2:] += boxes[:, :2]
    # A tiny width can vanish in x + width.
    for index in np.flatnonzero(~(boxes[:, 2:] > boxes[:, :2]).all(axis=1)).tolist():
        report(index, f"field bbox is {_shown(annotations[index].bbox)}, expected a width and height above 0")
    faults.check()
    faults.origins += [(str(path), label(index)) for index in np.flatnonzero(kept).tolist()]
    areas = np.array([annotation.area for annotation in annotations], np.float64)
    return GroundTruth(
        image_ids=tuple(image.id for image in images),
        class_names=tuple(category.name for category in categories),
        class_ids=tuple(category.id for category in categories),
        image_sizes=np.array([(image.width, image.height) for image in images], np.int64),
        files=files,
        images=columns[0][kept],
        labels=columns[1][kept],
        boxes=boxes[kept],
        sides=sides[kept],
        areas=np.where(np.isnan(areas), sides.prod(axis=1), areas)[kept],
        crowd=np.array([annotation.iscrowd for annotation in annotations], bool)[kept],
    )


def _decode(path: Path, faults: Faults) -> tuple[_Content, Sequence[int]]:
    """The content of a file or pipe without faulty annotations, and the positions of its annotations in the file."""
    text = strip_bom(read_content(path))
    try:
        content = msgspec.json.decode(text, type=_Content)
        return content, range(len(content.annotations))
    except (ValueError, RecursionError) as error:  # ValueError: all that msgspec raises, and bad UTF-8
        if len(text) > _LENIENT_LIMIT:
            raise InputError(f"{path}: {error}; {_EXPECTED}") from None
    try:
        unchecked = msgspec.convert(load_json(path, text), _Unchecked)
    except msgspec.ValidationError as error:
        raise InputError(f"{path}: {error}; {_EXPECTED}") from None
    before = faults.count
    _, images = convert_records(path, unchecked.images, _Image, faults, "images[{}]".format)
    _, categories = convert_records(path, unchecked.categories, _Category, faults, "categories[{}]".format)
    if faults.count > before:
        faults.check(always=True)
    rows, annotations = convert_records(path, unchecked.annotations, _Annotation, faults, "annotations[{}]".format)
    return _Content(images, categories, annotations), rows


def _check_distinct(path: Path, name: str, field: str, records: Sequence[Any], faults: Faults) -> None:
    values = [getattr(record, field) for record in records]
    for row, first in repeated(map(str, values)):
        faults.add(path, f"{name}[{row}]", f"field {field} is {_shown(values[row])}, as in {name}[{first}]")


def _files(path: Path, images: Sequence[_Image], faults: Faults) -> tuple[str, ...]:
    """The images' files in the folder of the photos, by default the ids; distinct names must stay distinct."""
    given = [image.file_name or str(image.id) for image in images]
    files = tuple(map(_inside, given))
    for row, first in repeated(files):
        if given[row] != given[first]:
            faults.add(
                path,
                f"images[{row}] (id {_shown(images[row].id)})",
                f"file_name {_shown(given[row])} counts as {_shown(files[row])}, like {_shown(given[first])} of "
                f"images[{first}]; name both relative to the folder of the photos",
            )
    return files


def _inside(file: str) -> str:
    """A file's name, or only its last part if it points outside the folder of the photos."""
    try:
        check_member_name(file)
    except InputError:
        return PureWindowsPath(file.replace("\0", "")).name or "photo"
    return file


_shown = partial(json.dumps, ensure_ascii=False)
