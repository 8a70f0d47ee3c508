"""Which format a file or folder of detections has."""

import re
from pathlib import Path
from typing import Literal, get_args

from detector.data.formats.keys import UNKNOWN, image_places
from detector.data.formats.voc import class_of_file
from detector.data.ground_truth import GroundTruth
from detector.errors import InputError
from detector.io.text import without_mark
from proposals.names import unknown_name

Format = Literal["coco", "native", "voc", "ilsvrc", "yolo", "csv"]
FORMATS: tuple[Format, ...] = get_args(Format)


def check_format(name: str) -> Format:
    """The format of that name; InputError that lists the formats if it is none of them."""
    if name not in FORMATS:
        raise InputError(unknown_name("format of detections", name, FORMATS))
    return name


def recognize(path: Path, head: bytes, truth: GroundTruth) -> Format:
    """The format of a file or folder, from the beginning of its content and the names of its files.

    Raises:
        InputError: it is none of the formats.
    """
    if path.is_dir():
        return _of_folder(path, truth)
    text = without_mark(head).lstrip()
    if text[:1] in (b"[", b"{") or path.suffix == ".json":
        return "native" if re.match(rb'\[\s*\{\s*"image"\s*:', text) or b'"detections"' in text else "coco"
    lines = text.decode("utf-8", "replace").splitlines()
    first = lines[0] if lines else ""
    if {"image", "class", "score"} <= set(first.replace('"', "").replace(" ", "").lower().split(",")):
        return "csv"
    columns = len(first.split())
    if columns == 7:
        return "ilsvrc"
    if columns >= 6 and class_of_file(path.name, truth) is not None:
        return "voc"
    fault = "is none of the known formats of detections; name its format"
    if not text:
        fault = "is empty; if nothing was found, name the format"
    elif columns >= 6:
        fault = (
            f"has {columns} columns; ILSVRC's files have 7, and VOC's (image score xmin ymin xmax ymax) are named "
            "after a class of the data, such as comp4_det_test_cat.txt; name its format"
        )
    raise InputError(f"{path}: {fault} ({', '.join(FORMATS)})")


def _of_folder(path: Path, truth: GroundTruth) -> Format:
    """VOC names its files after classes, YOLO after images."""
    names = sorted(file.name for file in path.glob("*.txt"))[:1000]
    if not names:
        raise InputError(f"{path}: holds no .txt files; a folder holds VOC's or YOLO's")
    images = image_places(truth)
    of_images = sum(images[name.removesuffix(".txt")] != UNKNOWN for name in names)
    of_classes = sum(class_of_file(name, truth) is not None for name in names)
    if of_images == of_classes:
        raise InputError(
            f"{path}: its files are named neither after the data set's images (YOLO) nor after its classes (VOC), "
            f"such as {names[0]}; name the format, voc or yolo"
        )
    return "yolo" if of_images > of_classes else "voc"
