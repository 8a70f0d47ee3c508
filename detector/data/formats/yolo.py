"""YOLO's results: a folder with a text file an image and a line a detection, class cx cy width height confidence.

Source: Ultralytics' `save_txt=True save_conf=True` and YOLOv5's detect.py. Center and size are fractions of the
image's width and height. The class is a number from 0: an index into the names of the folder's `data.yaml`, or else
into the data set's class names. Images without a file have no detections.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from detector.data.detection_table import DetectionTable
from detector.data.formats.collector import Array, Collector, Row
from detector.data.formats.files import new_folder, result_files, safe_name
from detector.data.formats.keys import Key, check_names, class_name_index, file_name, is_number, stem, stem_index
from detector.data.ground_truth import GroundTruth, rows_by_image
from detector.errors import InputError
from detector.io.yaml import parse_yaml

_NAMES = "data.yaml"

_FIELDS = ("cx", "cy", "width", "height", "confidence")
_COLUMNS = "class cx cy width height confidence"
# Centers and sizes above this many widths or heights of the image are pixels.
_LARGEST_FRACTION = 2.0


def read_yolo(path: Path, into: Collector, content: bytes | None) -> None:
    """Read a folder of such files, or one file of that content; they are named after the images."""
    into.find_classes_by(_class_index(read_names(path), into.truth))
    into.images = stem_index(into.truth)
    for file, text in result_files(path, content):
        image = file.name.removesuffix(".txt")
        index = into.images[image]
        size = _size(into.truth, index) if index >= 0 else np.ones(2)

        def parse(line: str, image: str = image) -> Row:
            label, *fields = line.split()
            if len(fields) != len(_FIELDS):
                hint = "; write confidences too (save_conf=True)" if len(fields) == len(_FIELDS) - 1 else ""
                raise InputError(f"has {1 + len(fields)} columns, expected {_COLUMNS}{hint}")
            if not is_number(label):
                raise InputError(f"field class is {label[:40]!r}, expected a number from 0 on")
            return image, int(label), *fields

        def convert(values: Array, size: Array = size) -> tuple[Array, Array]:
            center, half = values[:, :2], values[:, 2:4] / 2
            with np.errstate(over="ignore", invalid="ignore"):  # of numbers that are faults
                return np.concatenate([(center - half) * size, (center + half) * size], axis=1), values[:, 4]

        into.add_rows(
            file, into.parse_lines(file, text, parse), _FIELDS, convert, _too_large,
            "fields cx cy width height are not fractions of the image's width and height; divide pixels by these",
        )  # fmt: skip


def _too_large(values: Array) -> np.ndarray:
    return np.asarray((np.abs(values[:, :4]) > _LARGEST_FRACTION).any(axis=1))


def read_names(path: Path) -> dict[Key, str] | None:
    """The names of YOLO's numbers in the `data.yaml` of a folder of results, or of a file in it; None without one."""
    path = (path if path.is_dir() else path.parent) / _NAMES
    if not path.is_file():
        return None
    try:
        names = parse_yaml(path.read_bytes())["names"]
        numbered = dict(enumerate(names) if isinstance(names, list) else names)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path}: does not name the classes of its results ({error}); delete it") from None
    return {number: str(name) for number, name in numbered.items()}


def _class_index(names: Mapping[Key, str] | None, truth: GroundTruth) -> Mapping[Key, int]:
    """Indices of classes by YOLO's numbers, from their names or, without any, from the data set."""
    if names is None:
        return {number - 1: index for index, number in enumerate(truth.class_numbers)}
    indices = class_name_index(truth)
    return {number: indices[name] for number, name in names.items() if indices[name] >= 0}


def write_yolo(path: Path, table: DetectionTable, truth: GroundTruth) -> None:
    """Write a folder with a file for every image, named after the image's file, with all digits, and `data.yaml`.

    `read_yolo` returns boxes up to about 1e-12 of the image's size, and scores exactly.

    Raises:
        InputError: the folder is not empty or cannot be written, the size of an image with detections is unknown, a
            box is twice as far out as the image is large, or two images have files of one name.
    """
    names = [stem(file_name(file)) for file in truth.files]
    check_names(truth, names, stem_index(truth))
    with new_folder(path) as folder:
        classes = zip(truth.class_numbers, truth.class_names, strict=True)
        lines = [f"  {number - 1}: {json.dumps(name, ensure_ascii=False)}\n" for number, name in classes]
        (folder / _NAMES).write_text(f"names:\n{''.join(lines)}" if lines else "names: {}\n", encoding="utf-8")
        for index, rows in enumerate(rows_by_image(table.images, len(names))):
            with (folder / f"{safe_name(names[index], everywhere=False)}.txt").open("w", encoding="utf-8") as file:
                if not len(rows):
                    continue
                size, boxes = _size(truth, index), table.boxes[rows]
                low, high = boxes[:, :2] / size, boxes[:, 2:] / size
                values = np.concatenate([(low + high) / 2, high - low, table.scores[rows, None]], axis=1)
                if _too_large(values).any():
                    image_id = truth.image_ids[index]
                    raise InputError(f"image {image_id}: a box lies far beyond the image; choose another format")
                for label, row in zip(table.labels[rows].tolist(), values.tolist(), strict=True):
                    file.write(" ".join(map(str, [truth.class_numbers[label] - 1, *row])) + "\n")


def _size(truth: GroundTruth, index: int) -> Array:
    size = truth.image_sizes[index].astype(np.float64)
    if not size.all():
        raise InputError(
            f"image {truth.image_ids[index]}: its width and height are unknown, and YOLO's boxes are fractions of "
            "them; give a ground truth with sizes"
        )
    return size
