"""YOLO's results: a folder with a text file an image and a line a detection, class cx cy width height confidence.

Source: Ultralytics' `save_txt=True save_conf=True` and YOLOv5's detect.py. Center and size are fractions of the
image's width and height, the class is a number from 0, which the folder's `data.yaml` names; without that it is the
place among the data set's class names. Images without a file have no detections.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from detector.data.detection_table import DetectionTable
from detector.data.formats.collector import Collector
from detector.data.formats.columns import Array, add_rows
from detector.data.formats.files import new_folder, read_lines, safe_name
from detector.data.formats.keys import (
    Key,
    by_class_name,
    file_name,
    file_stems,
    image_names,
    is_number,
    stem,
)
from detector.data.ground_truth import GroundTruth
from detector.errors import InputError
from detector.io.yaml import parse_yaml

_NAMES = "data.yaml"

_FIELDS = ("cx", "cy", "width", "height", "confidence")
_COLUMNS = "class cx cy width height confidence"
# No box of an image is centerd or as large as this in its widths and heights: these are pixels.
_NO_FRACTION = 2.0
_PIXELS = (
    lambda values: (np.abs(values[:, :4]) > _NO_FRACTION).any(axis=1),
    "fields cx cy width height are no fractions of the image's width and height; divide pixels by these",
)


def read_yolo(path: Path, into: Collector, content: BinaryIO | None = None) -> None:
    """Read a folder of such files, or one, from `content` if it is open already; they are named after the images.

    Raises:
        InputError: there is no such file, one cannot be read, the size of an image is not known, or there are too
            many faults.
    """
    into.find_classes_by(_classes((path if path.is_dir() else path.parent) / _NAMES, into.truth))
    into.images = file_stems(into.truth)
    files = sorted(path.glob("*.txt")) if path.is_dir() else [path]
    if not files:
        raise InputError(f"{path}: holds no .txt files, one an image")
    for file in files:
        image = file.name.removesuffix(".txt")
        index = into.images[image]
        size = _size(into.truth, index) if index >= 0 else np.ones(2)
        for lines, texts in read_lines(file, content):
            numbers, classes, fields = [], [], []
            for line, text in zip(lines, texts, strict=True):
                row = text.split()
                if len(row) != 1 + len(_FIELDS):
                    hint = "; write confidences too (save_conf=True)" if len(row) == len(_FIELDS) else ""
                    into.faults.add(file, f"line {line}", f"has {len(row)} columns, expected {_COLUMNS}{hint}")
                elif not is_number(row[0]):
                    fault = f"field class is {row[0][:40]!r}, expected a number from 0 on"
                    into.faults.add(file, f"line {line}", fault)
                else:
                    numbers.append(line)
                    classes.append(int(row[0]))
                    fields.append(row[1:])

            def convert(values: Array, size: Array = size) -> tuple[Array, Array]:
                center, half = values[:, :2], values[:, 2:4] / 2
                with np.errstate(over="ignore", invalid="ignore"):  # of numbers that are faults
                    return np.concatenate([(center - half) * size, (center + half) * size], axis=1), values[:, 4]

            add_rows(into, file, numbers, [image] * len(numbers), classes, fields, _FIELDS, convert, _PIXELS)


def _classes(path: Path, truth: GroundTruth) -> Mapping[Key, int]:
    """Indices of classes by YOLO's numbers, which a file names, or the data set if there is no such file."""
    if not path.is_file():
        return {number - 1: index for index, number in enumerate(truth.class_numbers)}
    try:
        names = parse_yaml(path.read_bytes())["names"]
        numbered = dict(enumerate(names) if isinstance(names, list) else names)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path}: does not name the classes of its results ({error}); delete it") from None
    places = by_class_name(truth)
    return {number: places[str(name)] for number, name in numbered.items() if places[str(name)] >= 0}


def write_yolo(path: Path, table: DetectionTable, truth: GroundTruth) -> None:
    """Write a folder with a file for every image, named after the image's file, with all digits, and `data.yaml`.

    Boxes are read again to about 1e-12 of the image's size; scores as they were.

    Raises:
        InputError: the folder holds something or cannot be written, the size of an image with detections is not
            known, a box is twice as far out as the image is large, or two images have files of one name.
    """
    names = image_names(truth, [stem(file_name(file)) for file in truth.files], file_stems(truth))
    order = np.argsort(table.images, kind="stable")
    ends = np.cumsum(np.bincount(table.images, minlength=len(names)))
    groups = np.split(order, ends[:-1]) if names else []
    with new_folder(path) as folder:
        classes = zip(truth.class_numbers, truth.class_names, strict=True)
        lines = [f"  {number - 1}: {json.dumps(name, ensure_ascii=False)}\n" for number, name in classes]
        (folder / _NAMES).write_text(f"names:\n{''.join(lines)}" if lines else "names: {}\n", encoding="utf-8")
        for index, rows in enumerate(groups):
            with (folder / f"{safe_name(names[index], everywhere=False)}.txt").open("w", encoding="utf-8") as file:
                if len(rows):
                    size, boxes = _size(truth, index), table.boxes[rows]
                    low, high = boxes[:, :2] / size, boxes[:, 2:] / size
                    values = np.concatenate([(low + high) / 2, high - low, table.scores[rows, None]], axis=1)
                    if _PIXELS[0](values).any():
                        image_id = truth.image_ids[index]
                        raise InputError(f"image {image_id}: a box lies far beyond the image; choose another format")
                    for label, row in zip(table.labels[rows].tolist(), values.tolist(), strict=True):
                        file.write(" ".join(map(str, [truth.class_numbers[label] - 1, *row])) + "\n")


def _size(truth: GroundTruth, index: int) -> Array:
    size = truth.image_sizes[index].astype(np.float64)
    if not size.all():
        raise InputError(
            f"image {truth.image_ids[index]}: its width and height are not known, and YOLO's boxes are fractions of "
            "them; give a ground truth with sizes"
        )
    return size
