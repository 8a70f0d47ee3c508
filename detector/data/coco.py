"""COCO's annotation file, `instances_*.json`.

Decoded by msgspec, which checks types as it reads and passes over what is not wanted: of COCO's files outlines are nine
tenths, and neither `json` nor orjson can leave them out of memory.

Source: https://cocodataset.org/#format-data.
"""

import mmap
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from detector.data.faults import Faults, FaultyDataError
from detector.data.ground_truth import GroundTruth
from detector.errors import InputError


class _Image(msgspec.Struct):
    id: int
    width: int
    height: int
    file_name: str = ""


class _Category(msgspec.Struct):
    id: int
    name: str


class _Annotation(msgspec.Struct):
    id: int
    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    area: float | None = None
    iscrowd: int = 0


class _File(msgspec.Struct):
    images: list[_Image]
    categories: list[_Category]
    annotations: list[_Annotation]


# To name all faults of a file that has some.
_TABLES = {"images": _Image, "categories": _Category, "annotations": _Annotation}


class _Loose(msgspec.Struct):
    images: list[msgspec.Raw]
    categories: list[msgspec.Raw]
    annotations: list[msgspec.Raw]


def read_coco(path: str | Path, skip_empty_boxes: bool = False) -> GroundTruth:
    """The ground truth of a COCO annotation file.

    Images and classes keep the order of the file, and `class_ids` are its category ids. `iscrowd` marks crowds; a key
    `ignore` has no meaning, as in pycocotools. An annotation without `area` has that of its box.

    Args:
        skip_empty_boxes: leave out annotations whose box has no width or height, which the training images have a few
            of. They cannot be found, but COCO's evaluator counts them as objects: so they are faults by default.

    Raises:
        FaultyDataError: names the record and the field of every fault, up to a limit: missing and wrong fields, ids
            that come twice, unknown images and categories, boxes without area.
        InputError: the file cannot be read, or is no such file.
    """
    path = Path(path)
    content = _decode(path)
    faults = Faults()
    images = np.array([image.id for image in content.images], np.int64)
    categories = np.array([category.id for category in content.categories], np.int64)
    ids = np.array([one.id for one in content.annotations], np.int64)
    image_ids = np.array([one.image_id for one in content.annotations], np.int64)
    category_ids = np.array([one.category_id for one in content.annotations], np.int64)
    boxes = np.array([one.bbox for one in content.annotations], np.float64).reshape(-1, 4)
    areas = np.array([np.nan if one.area is None else one.area for one in content.annotations], np.float64)
    crowd = np.array([one.iscrowd for one in content.annotations], np.int64)

    def annotation(row: int) -> str:
        return f"annotations[{row}] (id {ids[row]})"

    def note(rows: Iterable[int], record: Callable[[int], str], fault: Callable[[int], str]) -> None:
        for row in rows:
            faults.add(path, record(row), fault(row))

    note(_repeated(images), lambda i: f"images[{i}]", lambda i: f"field id: {images[i]} comes twice")
    note(_repeated(categories), lambda i: f"categories[{i}]", lambda i: f"field id: {categories[i]} comes twice")
    names = [category.name for category in content.categories]
    _, numbers = np.unique(np.array(names, object), return_inverse=True) if names else ([], np.zeros(0, np.int64))
    note(_repeated(numbers), lambda i: f"categories[{i}]", lambda i: f"field name: '{names[i]}' comes twice")
    note(_repeated(ids), lambda i: f"annotations[{i}]", lambda i: f"field id: {ids[i]} comes twice")
    place, known = _places(image_ids, images)
    note(np.flatnonzero(~known), annotation, lambda i: f"field image_id: there is no image {image_ids[i]}")
    label, known = _places(category_ids, categories)
    note(np.flatnonzero(~known), annotation, lambda i: f"field category_id: there is no category {category_ids[i]}")
    note(np.flatnonzero((crowd < 0) | (crowd > 1)), annotation, lambda i: f"field iscrowd is {crowd[i]}, not 0 or 1")
    note(np.flatnonzero(areas < 0), annotation, lambda i: f"field area is {areas[i]:g}, expected 0 or more")
    corners = np.concatenate((boxes[:, :2], boxes[:, :2] + boxes[:, 2:]), axis=1)
    whole = (corners[:, 2:] > corners[:, :2]).all(axis=1)
    hint = "expected a width and height above 0; skip empty boxes to leave it out"
    if not skip_empty_boxes:
        note(np.flatnonzero(~whole), annotation, lambda i: f"field bbox is {boxes[i].tolist()}, {hint}")
    faults.check()
    plain = np.isnan(areas)
    areas[plain] = boxes[plain, 2] * boxes[plain, 3]
    return GroundTruth(
        image_ids=tuple(images.tolist()),
        class_names=tuple(names),
        images=place[whole],
        labels=label[whole],
        boxes=corners[whole],
        crowd=crowd[whole] == 1,
        areas=areas[whole],
        class_ids=tuple(categories.tolist()),
        image_sizes=np.array([(one.width, one.height) for one in content.images], np.int64).reshape(-1, 2),
        files=tuple(one.file_name or str(one.id) for one in content.images),
    )


def _decode(path: Path) -> _File:
    try:
        with path.open("rb") as file:
            if file.seek(0, 2) == 0:
                raise InputError(f"{path}: is empty; give COCO's annotation file")
            # Mapped, so that the text takes no memory of its own.
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
                return msgspec.json.decode(text, type=_File)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    except msgspec.ValidationError:
        raise _faults_of_types(path) from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise InputError(f"{path}: is not JSON: {error}") from None


def _faults_of_types(path: Path) -> InputError:
    """Why a file of JSON could not be read: msgspec told only the first fault."""
    text = path.read_bytes()
    try:
        loose = msgspec.json.decode(text, type=_Loose)
    except msgspec.ValidationError as error:
        hint = "; a list is a file of detections" if text[:64].lstrip()[:1] == b"[" else ""
        return InputError(f"{path}: {_plain(error)}; expected images, categories and annotations{hint}")
    faults = Faults()
    try:
        for table, kind in _TABLES.items():
            for row, record in enumerate(getattr(loose, table)):
                try:
                    msgspec.json.decode(record, type=kind)
                except msgspec.ValidationError as error:
                    faults.add(path, f"{table}[{row}]{_id(record)}", _plain(error))
        faults.check()
    except FaultyDataError as found:
        return found
    raise AssertionError("the records are sound, but the file was refused")


def _plain(error: Exception) -> str:
    """msgspec's "Expected `int`, got `str` - at `$.id`" in the words of this package."""
    text = str(error).replace("`", "")
    wrong, _, where = text.partition(" - at $")
    field = where.lstrip(".")
    wrong = wrong.replace("Object missing required field ", "field ") + (" is missing" if "missing" in text else "")
    wrong = wrong[:1].lower() + wrong[1:]
    return f"field {field}: {wrong}" if field else wrong


def _id(record: msgspec.Raw) -> str:
    value: Any = msgspec.json.decode(record)
    return f" (id {value['id']})" if isinstance(value, dict) and "id" in value else ""


def _repeated(values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Rows whose value an earlier row has too."""
    _, first = np.unique(values, return_index=True)
    return np.setdiff1d(np.arange(len(values)), first)


def _places(
    values: npt.NDArray[np.int64], among: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Where each value is in `among`, and whether it is there."""
    if not len(among):
        return np.zeros(len(values), np.int64), np.zeros(len(values), bool)
    order = np.argsort(among, kind="stable")
    found = order[np.minimum(np.searchsorted(among[order], values), len(among) - 1)]
    return found, among[found] == values
