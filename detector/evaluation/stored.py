"""Detections in a file: the JSON list that `detect --json` and `evaluate --save-detections` write.

One entry an image: `image` (path or name), `width`, `height` (pixels), `seconds`, and `detections`, each with
`label`, `category_id`, `score` and `box` [x1, y1, x2, y2] in pixels, 0-based, right and bottom exclusive.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from detector.data.voc import VOCDataset
from detector.detections import Detections
from detector.errors import InputError
from detector.evaluation.predictions import Prediction, check_size
from detector.output import write_json_lines


def write_predictions(path: str | Path, predictions: Sequence[Prediction], dataset: VOCDataset) -> None:
    """Write the detections of a data set to a file; images that failed are left out.

    Raises:
        InputError: the file cannot be written.
    """
    entries = [
        {
            "image": dataset.ids[index] + dataset.image_path(index).suffix,
            "width": prediction.detections.image_size[0],
            "height": prediction.detections.image_size[1],
            "seconds": prediction.seconds,
            "detections": prediction.detections.to_dict(),
        }
        for index, prediction in enumerate(predictions)
        if prediction.detections is not None
    ]
    write_json_lines(Path(path), entries)


def read_predictions(path: str | Path, dataset: VOCDataset) -> list[Prediction]:
    """The detections of a file for the images of a data set, in the data set's order.

    An entry belongs to the image whose id is its file name, with or without the extension. An image without
    an entry becomes a prediction with an `error`. Detections of classes that the data set does not have are
    left out if it ignores other classes.

    Raises:
        InputError: the file cannot be read, or an entry has a missing or wrong field, an unknown class, a
            wrong size, or an image that is not in the split or was there before; names the file, entry and
            field.
    """
    indices = {image_id: index for index, image_id in enumerate(dataset.ids)}
    found: dict[int, Prediction] = {}
    for number, entry in enumerate(_read_list(Path(path)), start=1):
        where = f"{path}: entry {number}"
        try:
            name = _field(entry, "image", str)
            where = f"{where} ({name})"
            index = _index_of(name, indices, dataset.split)
            if index in found:
                raise InputError("field image: an earlier entry has the same image")
            found[index] = _prediction(entry, dataset, index)
        except InputError as error:
            raise InputError(f"{where}: {error}") from error
    missing = f"{path} has no entry for it"
    return [found.get(i) or Prediction(image_id, None, error=missing) for image_id, i in indices.items()]


def _read_list(path: Path) -> list[Any]:
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is not JSON: {error}") from error
    if not isinstance(entries, list):
        raise InputError(f"{path}: holds no list; expected a list with one entry an image")
    return entries


def _index_of(name: str, indices: dict[str, int], split: str) -> int:
    # A Windows path is split on any machine. An id may hold a dot, so the whole name comes first.
    file_name = name.replace("\\", "/").rsplit("/", 1)[-1]
    for image_id in (name, name.rpartition(".")[0], file_name, file_name.rpartition(".")[0]):
        if image_id in indices:
            return indices[image_id]
    raise InputError(f"field image: not in split '{split}'")


def _prediction(entry: dict[str, Any], dataset: VOCDataset, index: int) -> Prediction:
    size = (_field(entry, "width", int), _field(entry, "height", int))
    check_size(size, dataset.annotations(index).image_size)
    seconds = None if entry.get("seconds") is None else float(_field(entry, "seconds", (int, float)))
    if seconds is not None and not 0 <= seconds < math.inf:
        raise InputError(f"field seconds is {seconds}, expected 0 or more")
    detections = _field(entry, "detections", list)
    for number, detection in enumerate(detections):
        try:
            _field(detection, "label", str)
        except InputError as error:
            raise InputError(f"detection {number}: {error}") from error
    if dataset.ignore_other_classes:
        detections = [detection for detection in detections if detection["label"] in dataset.class_names]
    try:
        parsed = Detections.from_dict(detections, dataset.class_names, size)
    except OverflowError as error:
        raise InputError(f"detections hold a number that is too large: {error}") from error
    return Prediction(dataset.ids[index], parsed, seconds)


def _field(entry: object, name: str, kind: type | tuple[type, ...]) -> Any:
    if not isinstance(entry, dict):
        raise InputError(f"is {json.dumps(entry)[:40]}, expected an object with named fields")
    if name not in entry:
        raise InputError(f"field {name} is missing")
    value = entry[name]
    # bool is a kind of int in Python, and in JSON it is not.
    if not isinstance(value, kind) or isinstance(value, bool):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        names = {str: "text", int: "a whole number", float: "a number", list: "a list"}
        raise InputError(f"field {name} is {json.dumps(value)[:40]}, expected {names[kinds[-1]]}")
    return value
