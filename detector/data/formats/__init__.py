"""Files of detections in the formats of the field: one module a format, read and written through this one."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

from detector.data.detection_table import DetectionTable, check_same_data
from detector.data.formats.coco import categories_path, read_categories, read_coco, write_coco
from detector.data.formats.collector import Collector, Format, ReadDetections
from detector.data.formats.csv import read_csv, write_csv
from detector.data.formats.ilsvrc import read_ilsvrc, write_ilsvrc
from detector.data.formats.keys import UNKNOWN, image_index
from detector.data.formats.native import read_native, read_predictions, saved_classes, write_native
from detector.data.formats.voc import class_of_file, read_voc, write_voc
from detector.data.formats.yolo import read_names, read_yolo, write_yolo
from detector.data.ground_truth import GroundTruth
from detector.errors import InputError
from detector.io.text import read_content, strip_bom
from proposals.names import unknown_name

__all__ = [
    "FORMATS",
    "Format",
    "ReadDetections",
    "check_format",
    "named_classes",
    "read_content",
    "read_detections",
    "read_predictions",
    "saved_classes",
    "write_detections",
]

FORMATS: tuple[Format, ...] = get_args(Format)

_READERS: dict[Format, Callable[[Path, Collector, Any], None]] = {
    "coco": read_coco,
    "voc": read_voc,
    "ilsvrc": read_ilsvrc,
    "yolo": read_yolo,
    "csv": read_csv,
}
_WRITERS: dict[Format, Callable[[Path, DetectionTable, GroundTruth], None]] = {
    "coco": write_coco,
    "native": write_native,
    "voc": write_voc,
    "ilsvrc": write_ilsvrc,
    "yolo": write_yolo,
    "csv": write_csv,
}

_HEAD = 1 << 16  # bytes by which a format is recognized


def read_detections(
    path: str | Path,
    truth: GroundTruth,
    format: Format | None = None,
    content: bytes | None = None,
    *,
    ignore_unknown_classes: bool = False,
    keep_empty_boxes: bool = False,
) -> ReadDetections:
    """Read a detector's results for the images of a data set.

    Detections of images that are not in `truth` are left out and counted: results of a whole data set can be evaluated
    on a part of it.

    A box without width or height is a fault, for many of them come from a mistaken conversion; but some detectors
    have a few. pycocotools and the development kits count them as false positives, as they overlap nothing, and so
    does `keep_empty_boxes`; leaving them out would change the result.

    Args:
        path: a file, a pipe or a folder.
        truth: the data set of the detections.
        format: one of `FORMATS`; recognized from the content by default.
        content: the bytes of the file or pipe, if they have been read.
        ignore_unknown_classes: leave out and count detections of classes that `truth` does not have.
        keep_empty_boxes: keep and count boxes without width or height. A negative size is always a fault, and
            the native format has no empty boxes.

    Raises:
        FaultyDataError: records have faults: a missing or wrong field, a box without width or height, a score that is
            not finite; each is named with its file, record and field.
        InputError: the path cannot be read or its format is unknown, all images are unknown, or a class is and
            unknown ones are not ignored.
    """
    path = Path(path)
    if format is not None:
        check_format(format)
    is_folder = path.is_dir() and format in (None, "voc", "yolo")
    if content is None and not is_folder:
        content = read_content(path)  # once, for a pipe cannot be read again
    format = format or (_of_folder(path, truth) if content is None else _of_file(path, content[:_HEAD], truth))
    into = Collector(truth, keep_empty_boxes)
    if format == "native" and content is not None:
        return read_native(path, into, content, ignore_unknown_classes=ignore_unknown_classes)
    _READERS[format](path, into, content)
    return into.result(path, format, ignore_unknown_classes=ignore_unknown_classes)


def named_classes(path: Path, format: Format | None = None) -> tuple[str, ...]:
    """The classes that COCO's file of categories or YOLO's data.yaml names for results; () if there is no such file.

    Raises:
        InputError: the file cannot be read or names no classes.
    """
    names = None
    if format in (None, "coco"):
        names = read_categories(categories_path(path))
    if format == "yolo" or (format is None and path.is_dir()):
        names = read_names(path)
    return tuple(dict.fromkeys(names.values())) if names else ()


def write_detections(path: str | Path, table: DetectionTable, truth: GroundTruth, format: Format | str) -> None:
    """Write detections for other programs or `read_detections`: a folder for `voc` and `yolo`, otherwise a file.

    All digits are written; each format's writer says what it rounds. The path appears when everything is written.

    Raises:
        InputError: the format is unknown or cannot hold the detections, they are not of `truth`, or the path cannot
            be written.
    """
    writer = _WRITERS[check_format(format)]
    check_same_data(truth, table)
    writer(Path(path), table, truth)


def check_format(name: str) -> Format:
    """The format of that name; InputError that lists the formats if there is no such format."""
    if name not in FORMATS:
        raise InputError(unknown_name("format of detections", name, FORMATS))
    return name


def _of_file(path: Path, head: bytes, truth: GroundTruth) -> Format:
    """The format of a file, from the beginning of its content and its name; InputError if it cannot be recognized."""
    text = strip_bom(head).lstrip()
    if text[:1] in (b"[", b"{") or path.suffix == ".json":
        return "native" if re.match(rb'\[\s*\{\s*"image"\s*:', text) or b'"detections"' in text else "coco"
    first_line = next(iter(text.decode("utf-8", "replace").splitlines()), "")
    if {"image", "class", "score"} <= set(first_line.replace('"', "").replace(" ", "").lower().split(",")):
        return "csv"
    columns = len(first_line.split())
    if columns == 7:
        return "ilsvrc"
    if columns >= 6 and class_of_file(path.name, truth) is not None:
        return "voc"
    fault = "is in no known format of detections; name its format"
    if not text:
        fault = "is empty; if nothing was found, name the format"
    elif columns >= 6:
        fault = (
            f"has {columns} columns; ILSVRC's files have 7, and VOC's (image score xmin ymin xmax ymax) are named "
            "after a class of the data, such as comp4_det_test_cat.txt; name its format"
        )
    raise InputError(f"{path}: {fault} ({', '.join(FORMATS)})")


def _of_folder(path: Path, truth: GroundTruth) -> Format:
    """The format of a folder: VOC names its files after classes, YOLO after images."""
    names = sorted(file.name for file in path.glob("*.txt"))[:1000]
    if not names:
        raise InputError(f"{path}: holds no .txt files, as VOC's and YOLO's folders do")
    images = image_index(truth)
    of_images = sum(images[name.removesuffix(".txt")] != UNKNOWN for name in names)
    of_classes = sum(class_of_file(name, truth) is not None for name in names)
    if of_images == of_classes:
        raise InputError(
            f"{path}: its files are named neither after the data set's images (YOLO) nor after its classes (VOC), "
            f"such as {names[0]}; name the format, voc or yolo"
        )
    return "yolo" if of_images > of_classes else "voc"
