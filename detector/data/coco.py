"""Reader of annotations in COCO's format, `instances_*.json`.

Where COCO's format leaves a choice, this reader does as pycocotools: `iscrowd` is 0 where it is missing, and a key
`ignore` is not read, for pycocotools overwrites it by `iscrowd`. Unlike pycocotools it takes 0 as an id like any
other, and a missing `area` as that of the box. Ids are whole numbers, as in the format's description, or texts,
which many programs write for images. 1 and "1" may not stand beside each other, but a field that names a record has
to have its id as it is.
"""

from collections.abc import Callable, Sequence
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import UNSET

from detector.data.archives import check_member_name
from detector.data.coco_json import CocoAnnotation, CocoCategory, CocoImage, decode_coco, shown
from detector.data.faults import Faults, Gathered
from detector.data.ground_truth import LARGEST, GroundTruth
from detector.errors import InputError

_AN_ID = "a whole number or a text"


def read_coco(path: str | Path, gathered: Gathered | None = None) -> GroundTruth:
    """The objects in a file of COCO annotations.

    Images, classes and objects keep the order of the file; ids may come in any order. `image_ids` and `class_ids` are
    COCO's own ids, `crowd` is `iscrowd`, `areas` are the annotations' `area`. A box x, y, width, height in pixels
    becomes (x, y, x + width, y + height); it is not clipped. A `file_name` that is absolute or has `..` in it counts by
    its last part: an annotation names photos in the folder that the user gives, and no others. Two images that would
    share a photo by that are a fault.

    Args:
        path: the JSON file; a pipe will do.
        gathered: what is wrong with annotations goes in here, such as the few boxes of COCO's train2017 whose width
            or height is 0; by default it is raised, as are faults in the rest.

    Raises:
        InputError: the file cannot be read, is not JSON, or has another shape.
        FaultyDataError: records are wrong; each fault names the record by its place and its id, and the field.
    """
    path = Path(path)
    content = decode_coco(path)
    faults = Faults() if gathered is None else gathered.faults
    images = _Section(path, "images", content.images, CocoImage, faults)
    categories = _Section(path, "categories", content.categories, CocoCategory, faults)
    annotations = _Section(path, "annotations", content.annotations, CocoAnnotation, faults)
    for section in (images, categories):
        if section.found and not section.records:
            faults.add(path, section.name, "is empty")
        section.distinct("id", section.column("id", _is_id, _AN_ID))
    files = _files(images)
    sizes = [
        images.column(side, lambda v: _is_whole(v) and 0 < v < 2**31, "a whole number above 0", optional=True)
        for side in ("width", "height")
    ]
    names = categories.column("name", _is_name, "a text")
    categories.distinct("name", names)
    annotations.distinct("id", annotations.column("id", _is_id, _AN_ID))
    columns: dict[str, Any] = {
        "images": annotations.places("image_id", images),
        "labels": annotations.places("category_id", categories),
        "crowd": annotations.column("iscrowd", _is_flag, "0 or 1", optional=True),
    }
    given = annotations.column("area", _is_area, "a number of at least 0", optional=True)
    columns["boxes"], columns["sides"] = _boxes(annotations)
    kept = np.ones(len(given), bool)
    usable = images.records and categories.records and not images.faulty and not categories.faulty and annotations.found
    if gathered is None or not usable:
        faults.check()
    else:
        kept[sorted(annotations.faulty)] = False
        gathered.origins.extend((str(path), annotations.label(row)) for row in np.flatnonzero(kept).tolist())

    columns["areas"] = np.array([np.nan if area is None else area for area in given], np.float64)
    columns["areas"] = np.where(np.isnan(columns["areas"]), columns["sides"].prod(axis=1), columns["areas"])
    columns["crowd"] = np.array(columns["crowd"], dtype=bool)  # None, a missing value, is false
    return GroundTruth(
        image_ids=tuple(image.id for image in images.records),
        class_names=tuple(names),
        class_ids=tuple(category.id for category in categories.records),
        image_sizes=np.array([[side or 0 for side in column] for column in sizes], np.int64).T,
        files=files,
        images=np.asarray(columns["images"])[kept],
        labels=np.asarray(columns["labels"])[kept],
        boxes=columns["boxes"][kept],
        sides=columns["sides"][kept],
        areas=columns["areas"][kept],
        crowd=columns["crowd"][kept],
    )


def _files(images: "_Section") -> tuple[str, ...]:
    """The images' files below the folder of the photos, by default the ids; different names must stay different."""
    column = images.column("file_name", _is_name, "a text", optional=True)
    given = [file or str(image.id) for file, image in zip(column, images.records, strict=True)]
    files = tuple(map(_inside, given))
    first: dict[str, int] = {}
    for row, (name, file) in enumerate(zip(given, files, strict=True)):
        other = first.setdefault(file, row)
        if given[other] != name:
            images.fault(
                row,
                f"file_name {shown(name)} counts as {shown(file)}, as does {shown(given[other])} of "
                f"{images.label(other)}; name both relative to the folder of the photos",
            )
    return files


def _inside(file: str) -> str:
    """A file's name below the folder of the photos: of one that points out of it the last part alone."""
    try:
        check_member_name(file)
    except InputError:
        return PureWindowsPath(file.replace("\0", "")).name or "photo"
    return file


class _Section:
    """One of the lists of the file, with the checks of its fields; what is wrong goes to the faults."""

    def __init__(self, path: Path, name: str, found: Any, kind: type, faults: Faults) -> None:
        self.path, self.name, self.faults, self.found = path, name, faults, isinstance(found, list)
        self.faulty: set[int] = set()  # rows
        if not self.found:
            expected = f"expected a list of {name}"
            faults.add(path, "", f"field {name} is {'missing' if found is UNSET else shown(found)}, {expected}")
            found = []
        self.records: list[Any] = [record for record in found if type(record) is kind]
        if len(self.records) < len(found):
            for place, record in enumerate(found):
                if type(record) is not kind:
                    faults.add(path, f"{name}[{place}]", f"is {shown(record)}, expected an object with fields")
            # The places of the others have moved, and no fault of theirs could be named by its place.
            faults.check()

    def label(self, row: int) -> str:
        """A record as faults name it."""
        own = self.records[row].id
        return f"{self.name}[{row}]" + (f" (id {shown(own)})" if _is_id(own) else "")

    def fault(self, row: int, text: str) -> None:
        self.faulty.add(row)
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
                self.fault(row, f"field {field} is {shown(value)}, expected {expected}")
        return values

    def distinct(self, field: str, values: Sequence[Any]) -> None:
        """Names each value that a record before has; 1 and "1" are one."""
        first: dict[str, int] = {}
        for row, value in enumerate(values):
            if value is not None and (other := first.setdefault(str(value), row)) != row:
                same = "" if values[other] == value else f" ({shown(values[other])})"
                self.fault(row, f"field {field} is {shown(value)}, as is that of {self.name}[{other}]{same}")

    def places(self, field: str, others: "_Section") -> npt.NDArray[np.int64]:
        """The places among the `others` of those that a field names by id; -1 for a fault."""
        place = {record.id: row for row, record in enumerate(others.records) if _is_id(record.id)}
        ids = self.column(field, _is_id, _AN_ID)
        found = np.fromiter((place.get(one, -1) for one in ids), np.int64, len(ids))
        for row in np.flatnonzero(found < 0).tolist() if others.found else ():
            if ids[row] is not None:
                self.fault(row, f"field {field} is {shown(ids[row])}, which no record in {others.name} has as its id")
        return found


def _boxes(annotations: _Section) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """All (N, 4) boxes x1, y1, x2, y2 and (N, 2) sides; a fault's box is (0, 0, 1, 1)."""
    given = annotations.column("bbox", _is_box, "four finite numbers x, y, width, height")
    xywh = np.array([box or (0, 0, 1, 1) for box in given], np.float64).reshape(-1, 4)
    boxes = xywh.copy()
    boxes[:, 2:] += boxes[:, :2]
    # A tiny width can vanish in x + width.
    wrong = ~(boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    for row in np.flatnonzero(wrong).tolist():
        annotations.fault(row, f"field bbox is {shown(given[row])}, expected a width and height above 0")
    return boxes, xywh[:, 2:]


def _is_whole(value: Any) -> bool:
    return type(value) is int  # not isinstance: true and false are no numbers


def _is_name(value: Any) -> bool:
    return type(value) is str and value.strip() != ""


def _is_id(value: Any) -> bool:
    return _is_whole(value) or _is_name(value)


def _is_flag(value: Any) -> bool:
    return type(value) in (int, bool) and value in (0, 1)


def _is_number(value: Any) -> bool:
    # The comparison is false for NaN and the infinities, and for what is so large that an area would overflow.
    return type(value) in (int, float) and -LARGEST <= value <= LARGEST


def _is_area(value: Any) -> bool:
    return _is_number(value) and value >= 0


def _is_box(value: Any) -> bool:
    return type(value) is list and len(value) == 4 and all(map(_is_number, value))
