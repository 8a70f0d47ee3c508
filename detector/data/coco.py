"""Reader of annotations in COCO's format, `instances_*.json`.

The file is decoded by msgspec from a memory map. Its typed decoder builds the few fields that an evaluation needs and
only walks over the rest, above all the polygons of `segmentation`, which are most of such a file; orjson builds
everything, and ijson, which truly streams, takes ten times as long. The fields are decoded as whatever they are and
checked here by columns, so that all faults are found and not only the first.

Where COCO's format leaves a choice, this reader does as pycocotools: `iscrowd` is 0 where it is missing, and a key
`ignore` is not read, for pycocotools overwrites it by `iscrowd`. Unlike pycocotools it takes 0 as an id like any
other, and a missing `area` as that of the box. Ids are whole numbers, as in the format's description; ids that are
strings are faults, since no file of results could name them.
"""

import json
import mmap
import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import UNSET, Struct

from detector.data.faults import Faults
from detector.data.ground_truth import GroundTruth
from detector.errors import InputError

#: Bytes up to which a file with NaN in it, which is no JSON, is decoded by Python's slower and larger json module.
_LENIENT_LIMIT = 2**28
_SHOWN_CHARACTERS = 60


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
    # What is no list, or no object in it, is decoded as well, to be named by its place.
    images: list[_Image | _Other] | dict | str | int | float | bool | None = UNSET  # type: ignore[assignment]
    categories: list[_Category | _Other] | dict | str | int | float | bool | None = UNSET  # type: ignore[assignment]
    annotations: list[_Annotation | _Other] | dict | str | int | float | bool | None = UNSET  # type: ignore[assignment]


def read_coco(path: str | Path, skip_empty_boxes: bool = False) -> GroundTruth:
    """The objects in a file of COCO annotations.

    Images, classes and objects keep the order of the file; ids may come in any order. `image_ids` and `class_ids` are
    COCO's own ids, `crowd` is `iscrowd`, `areas` are the annotations' `area`. A box x, y, width, height in pixels
    becomes (x, y, x + width, y + height); it is not clipped.

    Args:
        path: the JSON file; a pipe will do.
        skip_empty_boxes: leave out boxes whose width or height is 0 with a warning that counts them, rather than
            refuse the file. COCO's train2017 has a few. A negative size is a fault in any case.

    Raises:
        InputError: the file cannot be read, is not JSON, or has another shape.
        FaultyData: records are wrong; each fault names the record by its place and its id, and the field.
    """
    path = Path(path)
    content = _decode(path)
    faults = Faults()
    images = _Section(path, "images", content.images, _Image, faults)
    categories = _Section(path, "categories", content.categories, _Category, faults)
    annotations = _Section(path, "annotations", content.annotations, _Annotation, faults)
    for section in (images, categories):
        if section.found and not section.records:
            faults.add(path, section.name, "is empty")
        section.distinct("id", section.column("id", _is_whole, "a whole number"))
    files = images.column("file_name", _is_name, "a text", optional=True)
    sizes = [
        images.column(side, lambda v: _is_whole(v) and 0 < v < 2**31, "a whole number above 0", optional=True)
        for side in ("width", "height")
    ]
    names = categories.column("name", _is_name, "a text")
    categories.distinct("name", names)
    annotations.distinct("id", annotations.column("id", _is_whole, "a whole number"))
    columns: dict[str, Any] = {
        "images": annotations.places("image_id", images),
        "labels": annotations.places("category_id", categories),
        "crowd": annotations.column("iscrowd", _is_flag, "0 or 1", optional=True),
    }
    given = annotations.column("area", _is_area, "a number of at least 0", optional=True)
    kept, columns["boxes"] = _boxes(annotations, skip_empty_boxes)
    faults.check()

    box_sizes = columns["boxes"][:, 2:] - columns["boxes"][:, :2]
    columns["areas"] = np.array([np.nan if area is None else area for area in given], np.float64)
    columns["areas"] = np.where(np.isnan(columns["areas"]), box_sizes.prod(axis=1), columns["areas"])
    columns["crowd"] = np.array(columns["crowd"], dtype=bool)  # None, a missing value, is false
    if not kept.all():
        warnings.warn(
            f"{path}: {np.count_nonzero(~kept)} annotations whose box has no width or height are left out "
            f"(skip_empty_boxes), the first is {annotations.label(int(np.argmin(kept)))}",
            stacklevel=2,
        )
    return GroundTruth(
        image_ids=tuple(image.id for image in images.records),
        class_names=tuple(names),
        class_ids=tuple(category.id for category in categories.records),
        image_sizes=np.array([[side or 0 for side in column] for column in sizes], np.int64).T,
        files=tuple(file or str(image.id) for file, image in zip(files, images.records, strict=True)),
        **{name: np.asarray(values)[kept] for name, values in columns.items()},
    )


class _Section:
    """One of the lists of the file, with the checks of its fields; what is wrong goes to the faults."""

    def __init__(self, path: Path, name: str, found: Any, kind: type, faults: Faults) -> None:
        self.path, self.name, self.faults, self.found = path, name, faults, isinstance(found, list)
        if not self.found:
            expected = f"expected a list of {name}"
            faults.add(path, "", f"field {name} is {'missing' if found is UNSET else _shown(found)}, {expected}")
            found = []
        self.records: list[Any] = [record for record in found if type(record) is kind]
        if len(self.records) < len(found):
            for place, record in enumerate(found):
                if type(record) is not kind:
                    faults.add(path, f"{name}[{place}]", f"is {_shown(record)}, expected an object with fields")
            # The places of the others have moved, and no fault of theirs could be named by its place.
            faults.check()

    def label(self, row: int) -> str:
        """A record as faults name it."""
        own = self.records[row].id
        return f"{self.name}[{row}]" + (f" (id {own})" if _is_whole(own) else "")

    def fault(self, row: int, text: str) -> None:
        self.faults.add(self.path, self.label(row), text)

    def column(self, field: str, good: Callable[[Any], bool], expected: str, optional: bool = False) -> list[Any]:
        """The values of a field; None where it is missing or a fault."""
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
        """Names each value that a record before has."""
        first: dict[Any, int] = {}
        for row, value in enumerate(values):
            if value is not None and first.setdefault(value, row) != row:
                self.fault(row, f"field {field} is {_shown(value)}, as is that of {self.name}[{first[value]}]")

    def places(self, field: str, others: "_Section") -> npt.NDArray[np.int64]:
        """The places among the `others` of those that a field names by id; -1 for a fault."""
        place = {record.id: row for row, record in enumerate(others.records) if _is_whole(record.id)}
        ids = self.column(field, _is_whole, "a whole number")
        found = np.fromiter((place.get(one, -1) for one in ids), np.int64, len(ids))
        for row in np.flatnonzero(found < 0).tolist() if others.found else ():
            if ids[row] is not None:
                self.fault(row, f"field {field} is {ids[row]}, which no record in {others.name} has as its id")
        return found


def _boxes(annotations: _Section, skip_empty: bool) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
    """Which annotations stay, and all (N, 4) boxes x1, y1, x2, y2; a fault's box is (0, 0, 1, 1)."""
    given = annotations.column("bbox", _is_box, "four finite numbers x, y, width, height")
    xywh = np.array([box or (0, 0, 1, 1) for box in given], np.float64).reshape(-1, 4)
    boxes = xywh.copy()
    with np.errstate(over="ignore"):
        boxes[:, 2:] += boxes[:, :2]
    empty = (xywh[:, 2:] == 0).any(axis=1) & (xywh[:, 2:] >= 0).all(axis=1)
    # A tiny width can vanish in x + width, and huge numbers can overflow in it.
    wrong = ~((boxes[:, 2:] > boxes[:, :2]) & np.isfinite(boxes[:, 2:])).all(axis=1)
    kept = ~empty if skip_empty else np.ones(len(boxes), bool)
    for row in np.flatnonzero(wrong & kept).tolist():
        hint = "; skip_empty_boxes leaves such annotations out" if empty[row] else ""
        text = f"field bbox is {_shown(given[row])}, expected a width and height above 0{hint}"
        annotations.fault(row, text)
    return kept, boxes


def _is_whole(value: Any) -> bool:
    return type(value) is int  # not isinstance: true and false are no numbers


def _is_name(value: Any) -> bool:
    return type(value) is str and value.strip() != ""


def _is_flag(value: Any) -> bool:
    return type(value) in (int, bool) and value in (0, 1)


def _is_number(value: Any) -> bool:
    # The comparison is false for NaN and the infinities, and true only for integers that a float64 can hold.
    return type(value) in (int, float) and -1e308 <= value <= 1e308


def _is_area(value: Any) -> bool:
    return _is_number(value) and value >= 0


def _is_box(value: Any) -> bool:
    return type(value) is list and len(value) == 4 and all(map(_is_number, value))


def _shown(value: Any) -> str:
    """A value as JSON writes it, cut where it is long."""
    text = json.dumps(value, ensure_ascii=False, default=lambda record: "{...}")
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "..."


def _decode(path: Path) -> _Content:
    try:
        with path.open("rb") as file:
            try:
                content: mmap.mmap | bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except (ValueError, OSError):  # empty, or a pipe
                content = file.read()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    start = bytes(content[:4096]).lstrip()
    if not start:
        raise InputError(f"{path}: is empty, expected COCO annotations in JSON")
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


def _decode_leniently(path: Path, content: mmap.mmap | bytes, error: msgspec.DecodeError) -> _Content:
    """Decodes what JSON proper is not: NaN and infinities, which many programs write, are then named by record."""
    found = re.search(r"byte (\d+)", str(error))
    place = int(found[1]) if found else 0
    near = bytes(content[max(place - 2, 0) : place + 10])
    if (b"NaN" in near or b"Infinity" in near or "out of range" in str(error)) and len(content) <= _LENIENT_LIMIT:
        try:
            return msgspec.convert(json.loads(bytes(content)), _Content)
        except (ValueError, RecursionError):
            pass
    raise InputError(f"{path}: is not JSON: {error}, at {near.decode(errors='replace')!r}") from None
