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
import re
from collections.abc import Callable, Sequence
from pathlib import Path, PureWindowsPath
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import UNSET, Struct

from detector.data.archives import check_member_name
from detector.data.faults import Faults, ReadReport
from detector.data.ground_truth import LARGEST, GroundTruth
from detector.errors import InputError
from detector.io.lfs import NOT_FETCHED, is_pointer
from detector.io.text import strip_bom

_LENIENT_LIMIT = 2**28  # bytes of a file with NaN, which is not JSON, that Python's slower and larger json decodes
_SHOWN_CHARACTERS = 60
_EXPECTED_ID = "a whole number or text"


# The fields of records are decoded with any type, and checked afterwards, so that all faults are found, not only the
# first. Missing ones are UNSET.


class _Image(Struct, gc=False):
    id: Any = UNSET
    file_name: Any = UNSET
    width: Any = UNSET
    height: Any = UNSET


class _Category(Struct, gc=False):
    id: Any = UNSET
    name: Any = UNSET


class _Annotation(Struct, gc=False):
    id: Any = UNSET
    image_id: Any = UNSET
    category_id: Any = UNSET
    bbox: Any = UNSET
    area: Any = UNSET
    iscrowd: Any = UNSET


_Other = list | str | int | float | bool | None


class _Content(Struct):
    images: list[_Image | _Other] | dict | str | int | float | bool | None = UNSET  # type: ignore[assignment]
    categories: list[_Category | _Other] | dict | str | int | float | bool | None = UNSET  # type: ignore[assignment]
    annotations: list[_Annotation | _Other] | dict | str | int | float | bool | None = UNSET  # type: ignore[assignment]


def read_coco(path: str | Path, report: ReadReport | None = None) -> GroundTruth:
    """The objects in a file of COCO annotations.

    Images, classes and objects keep the order of the file. `image_ids` and `class_ids` are COCO's ids, `crowd` is
    `iscrowd`, `areas` are the annotations' `area`. A box x, y, width, height in pixels becomes (x, y, x + width,
    y + height); it is not clipped. Of a `file_name` that is absolute or contains `..`, only the last part is used: an
    annotation can only name photos in the folder that the user gives. Two images that would thereby share a photo are a
    fault.

    Args:
        path: the JSON file or a pipe.
        report: collects the faults of annotations, such as the few boxes of COCO's train2017 whose width or height is
            0; by default they are raised, as are those of images and categories.

    Raises:
        InputError: the file cannot be read, is not JSON, or is not an object with lists.
        FaultyDataError: records are wrong; each fault names the record by its position and its id, and the field.
    """
    path = Path(path)
    content = _decode(path)
    faults = Faults() if report is None else report.faults
    images = _Section(path, "images", content.images, _Image, faults)
    categories = _Section(path, "categories", content.categories, _Category, faults)
    annotations = _Section(path, "annotations", content.annotations, _Annotation, faults)
    for section in (images, categories):
        if section.is_list and not section.records:
            faults.add(path, section.name, "is empty")
        section.distinct("id", section.column("id", _is_id, _EXPECTED_ID))
    files = _files(images)
    sizes = [
        images.column(side, lambda v: _is_whole(v) and 0 < v < 2**31, "a whole number above 0", optional=True)
        for side in ("width", "height")
    ]
    names = categories.column("name", _is_name, "text")
    categories.distinct("name", names)
    annotations.distinct("id", annotations.column("id", _is_id, _EXPECTED_ID))
    image_rows = annotations.references("image_id", images)
    labels = annotations.references("category_id", categories)
    crowd = annotations.column("iscrowd", _is_flag, "0 or 1", optional=True)  # None, a missing value, is false
    given_areas = annotations.column("area", _is_area, "a number of at least 0", optional=True)
    boxes, sides = _boxes(annotations)
    areas = np.array(given_areas, np.float64)  # None becomes NaN
    kept = np.ones(len(areas), bool)
    usable = images.records and categories.records and annotations.is_list
    if report is None or not usable or images.faulty or categories.faulty:
        faults.check()
    else:
        kept[sorted(annotations.faulty)] = False
        report.origins.extend((str(path), annotations.label(row)) for row in np.flatnonzero(kept).tolist())
    return GroundTruth(
        image_ids=tuple(image.id for image in images.records),
        class_names=tuple(names),
        class_ids=tuple(category.id for category in categories.records),
        image_sizes=np.array([[side or 0 for side in column] for column in sizes], np.int64).T,
        files=files,
        images=image_rows[kept],
        labels=labels[kept],
        boxes=boxes[kept],
        sides=sides[kept],
        areas=np.where(np.isnan(areas), sides.prod(axis=1), areas)[kept],
        crowd=np.array(crowd, dtype=bool)[kept],
    )


def _files(images: "_Section") -> tuple[str, ...]:
    """The images' files in the folder of the photos, by default the ids; distinct names must stay distinct."""
    column = images.column("file_name", _is_name, "text", optional=True)
    given = [file or str(image.id) for file, image in zip(column, images.records, strict=True)]
    files = tuple(map(_inside, given))
    first: dict[str, int] = {}
    for row, (name, file) in enumerate(zip(given, files, strict=True)):
        first_row = first.setdefault(file, row)
        if given[first_row] != name:
            images.fault(
                row,
                f"file_name {_shown(name)} counts as {_shown(file)}, like {_shown(given[first_row])} of "
                f"{images.label(first_row)}; name both relative to the folder of the photos",
            )
    return files


def _inside(file: str) -> str:
    """A file's name, or only its last part if it points outside the folder of the photos."""
    try:
        check_member_name(file)
    except InputError:
        return PureWindowsPath(file.replace("\0", "")).name or "photo"
    return file


class _Section:
    """One of the lists in the file. The checks of its fields add to the faults."""

    def __init__(self, path: Path, name: str, value: Any, kind: type, faults: Faults) -> None:
        self.path, self.name, self.faults, self.is_list = path, name, faults, isinstance(value, list)
        self.faulty: set[int] = set()  # rows
        if not self.is_list:
            expected = f"expected a list of {name}"
            faults.add(path, "", f"field {name} is {'missing' if value is UNSET else _shown(value)}, {expected}")
            value = []
        self.records: list[Any] = [record for record in value if type(record) is kind]
        if len(self.records) < len(value):
            for index, record in enumerate(value):
                if type(record) is not kind:
                    faults.add(path, f"{name}[{index}]", f"is {_shown(record)}, expected an object with fields")
            faults.check()  # at once, since rows are no longer positions in the file

    def label(self, row: int) -> str:
        """The name of a record in faults."""
        record_id = self.records[row].id
        return f"{self.name}[{row}]" + (f" (id {_shown(record_id)})" if _is_id(record_id) else "")

    def fault(self, row: int, text: str) -> None:
        self.faulty.add(row)
        self.faults.add(self.path, self.label(row), text)

    def column(self, field: str, good: Callable[[Any], bool], expected: str, optional: bool = False) -> list[Any]:
        """The values of a field; None if missing or faulty."""
        values = [getattr(record, field) for record in self.records]
        for row, value in enumerate(values):
            if value is UNSET:
                values[row] = None
                if not optional:
                    self.fault(row, f"field {field} is missing")
            elif not good(value):
                values[row] = None
                self.fault(row, f"field {field} is {_shown(value)}, expected {expected}")
        return values

    def distinct(self, field: str, values: Sequence[Any]) -> None:
        """Add a fault for each value that an earlier record has; 1 and "1" are equal."""
        first: dict[str, int] = {}
        for row, value in enumerate(values):
            if value is not None and (first_row := first.setdefault(str(value), row)) != row:
                same = "" if values[first_row] == value else f" ({_shown(values[first_row])})"
                self.fault(row, f"field {field} is {_shown(value)}, as in {self.name}[{first_row}]{same}")

    def references(self, field: str, target: "_Section") -> npt.NDArray[np.int64]:
        """The rows of `target` whose ids are in a field; -1 for a fault."""
        row_of = {record.id: row for row, record in enumerate(target.records) if _is_id(record.id)}
        ids = self.column(field, _is_id, _EXPECTED_ID)
        rows = np.fromiter((row_of.get(record_id, -1) for record_id in ids), np.int64, len(ids))
        for row in np.flatnonzero(rows < 0).tolist() if target.is_list else ():
            if ids[row] is not None:
                self.fault(row, f"field {field} is {_shown(ids[row])}, which no record in {target.name} has as its id")
        return rows


def _boxes(annotations: _Section) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """All (N, 4) boxes x1, y1, x2, y2 and (N, 2) sides; a faulty box is (0, 0, 1, 1)."""
    given = annotations.column("bbox", _is_box, "four finite numbers x, y, width, height")
    xywh = np.array([box or (0, 0, 1, 1) for box in given], np.float64).reshape(-1, 4)
    boxes = xywh.copy()
    boxes[:, 2:] += boxes[:, :2]
    # A tiny width can vanish in x + width.
    wrong = ~(boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    for row in np.flatnonzero(wrong).tolist():
        annotations.fault(row, f"field bbox is {_shown(given[row])}, expected a width and height above 0")
    return boxes, xywh[:, 2:]


def _is_whole(value: Any) -> bool:
    return type(value) is int  # unlike isinstance, False for true and false


def _is_name(value: Any) -> bool:
    return type(value) is str and value.strip() != ""


def _is_id(value: Any) -> bool:
    return _is_whole(value) or _is_name(value)


def _is_flag(value: Any) -> bool:
    return type(value) in (int, bool) and value in (0, 1)


def _is_number(value: Any) -> bool:
    # False for NaN, the infinities and numbers so large that an area would overflow.
    return type(value) in (int, float) and -LARGEST <= value <= LARGEST


def _is_area(value: Any) -> bool:
    return _is_number(value) and value >= 0


def _is_box(value: Any) -> bool:
    return type(value) is list and len(value) == 4 and all(map(_is_number, value))


def _decode(path: Path) -> _Content:
    """The content of a file or pipe; InputError if it cannot be read or is not a JSON object."""
    try:
        content = strip_bom(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    start = content[:4096].lstrip()
    if not start:
        raise InputError(f"{path}: is empty, expected COCO annotations in JSON")
    if is_pointer(start):
        raise InputError(f"{path}: {NOT_FETCHED}")
    if start[:1] == b"[":
        hint = ", as a file of results has; give the annotations" if b'"score"' in start else ""
        raise InputError(f"{path}: holds a list{hint}, expected an object with images, categories and annotations")
    try:
        return msgspec.json.decode(content, type=_Content)
    except msgspec.ValidationError as error:
        if "out of range" not in str(error):
            raise InputError(f"{path}: {error}; expected an object with images, categories and annotations") from None
        return _decode_leniently(path, content, error)
    except msgspec.DecodeError as error:
        return _decode_leniently(path, content, error)
    except (UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path}: is not usable JSON: {error}") from None


def _decode_leniently(path: Path, content: bytes, error: msgspec.DecodeError) -> _Content:
    """Decode NaN and infinities, which many programs write, so that faults can name their records."""
    match = re.search(r"byte (\d+)", str(error))
    position = int(match[1]) if match else 0
    near = content[max(position - 2, 0) : position + 10]
    if (b"NaN" in near or b"Infinity" in near or "out of range" in str(error)) and len(content) <= _LENIENT_LIMIT:
        try:
            return msgspec.convert(json.loads(content), _Content)
        except (ValueError, RecursionError):
            pass
    raise InputError(f"{path}: is not JSON: {error}, at {near.decode(errors='replace')!r}") from None


def _shown(value: Any) -> str:
    """A value as JSON, shortened if it is long."""
    text = json.dumps(value, ensure_ascii=False, default=lambda record: "{...}")
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "..."
