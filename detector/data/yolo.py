"""Data sets in the layout of YOLO: a data.yaml, folders `images`, and beside each a folder `labels` of text files.

Source: Ultralytics' documentation, 'Object detection datasets overview'. A line of a label file is class, centre x,
centre y, width, height; all but the class are fractions of the image's width and height. A line of more numbers is an
outline, class x1 y1 x2 y2 ..., of which the box around it is taken, as Ultralytics does for detection.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image as PillowImage

from detector.data.faults import Faults
from detector.data.ground_truth import GroundTruth
from detector.errors import InputError
from detector.images import EXTENSIONS

#: Beyond the image by less than this, as a fraction, a box was rounded; it is cut.
_ROUNDED = 0.001


def read_yolo(path: str | Path, split: str = "val") -> GroundTruth:
    """The ground truth of a split. Image ids are the paths of the photos relative to the data set's folder.

    An image without a label file has no objects. Sizes are read from the heads of the photos.

    Args:
        path: the data.yaml, with `names` (a list or a mapping from number to name), optionally `path`, and for each
            split a folder, a .txt list of photos, or a list of these.
        split: `train`, `val`, `test` or another key of it.

    Raises:
        FaultyDataError: photos or label files are wrong; names the file and line of each fault, up to a limit.
        InputError: the data.yaml is wrong, or names no photos.
    """
    path = Path(path)
    content = _read_yaml(path)
    names = _names(path, content)
    root = path.parent / str(content.get("path") or "")
    if split not in content or not content[split]:
        raise InputError(f"{path}: has no split '{split}'")
    given = content[split]
    photos = [photo for one in (given if isinstance(given, list) else [given]) for photo in _photos(path, root, one)]
    if not photos:
        raise InputError(f"{path}: split '{split}' has no photos")
    ids = [_relative(photo, root) for photo in photos]
    faults = Faults()
    images, labels, boxes, sizes = [], [], [], []
    for index, photo in enumerate(photos):
        try:
            with PillowImage.open(photo) as opened:
                size = _upright(opened)
        except (OSError, SyntaxError, PillowImage.DecompressionBombError) as error:
            faults.add(photo, "photo", f"cannot be read: {' '.join(str(error).split())}")
            size = (1, 1)
        sizes.append(size)
        for label, box in _objects(_label_file(photo), len(names), faults):
            images.append(index)
            labels.append(label)
            boxes.append(box * np.array([*size, *size]))
    faults.check()
    return GroundTruth(
        image_ids=tuple(ids),
        class_names=names,
        images=np.array(images, np.int64),
        labels=np.array(labels, np.int64),
        boxes=np.array(boxes, np.float64).reshape(-1, 4),
        class_ids=tuple(range(len(names))),
        image_sizes=np.array(sizes, np.int64),
        files=tuple(ids),
    )


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path}: is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: is no data.yaml; expected names and splits")
    return content


def _names(path: Path, content: dict[str, Any]) -> tuple[str, ...]:
    given = content.get("names")
    if isinstance(given, dict):
        if sorted(given, key=str) != sorted(range(len(given)), key=str):
            raise InputError(f"{path}: field names: numbers are not 0 to {len(given) - 1}")
        given = [given[number] for number in range(len(given))]
    if not isinstance(given, list) or not given:
        raise InputError(f"{path}: field names is missing; give the names of the classes")
    return tuple(map(str, given))


def _photos(path: Path, root: Path, given: object) -> Sequence[Path]:
    """The photos of a folder, sorted, or of a list in its order."""
    place = root / str(given)
    if place.is_dir():
        return sorted(file for file in place.rglob("*") if file.suffix.lower() in EXTENSIONS)
    if place.suffix == ".txt" and place.is_file():
        lines = place.read_text(encoding="utf-8").splitlines()
        # A list's paths that begin with ./ are relative to the list.
        return [place.parent / line if line.startswith("./") else root / line for line in map(str.strip, lines) if line]
    raise InputError(f"{path}: {place} is no folder of photos and no .txt list of them")


def _relative(photo: Path, root: Path) -> str:
    try:
        return photo.resolve().relative_to(root.resolve()).as_posix()
    except ValueError:  # a list may name photos anywhere
        return photo.as_posix()


def _label_file(photo: Path) -> Path:
    """The last folder `images` on the way becomes `labels`; without one the label file lies beside the photo."""
    parts = list(photo.parts)
    for place in range(len(parts) - 2, -1, -1):
        if parts[place] == "images":
            parts[place] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def _upright(photo: PillowImage.Image) -> tuple[int, int]:
    """Width and height as the photo is shown: orientations 5 to 8 of EXIF lie on a side."""
    width, height = photo.size
    return (height, width) if photo.getexif().get(0x0112, 1) >= 5 else (width, height)


def _objects(file: Path, classes: int, faults: Faults) -> list[tuple[int, np.ndarray]]:
    """Class and box (4,) x1, y1, x2, y2 in fractions of each line."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        faults.add(file, "labels", f"cannot be read: {error}")
        return []
    found = []
    for line, text in enumerate(lines, start=1):
        fields = text.split()
        if not fields:
            continue
        try:
            found.append(_object(fields, classes))
        except InputError as error:
            faults.add(file, f"line {line}", str(error))
    return found


def _object(fields: list[str], classes: int) -> tuple[int, np.ndarray]:
    if len(fields) != 5 and (len(fields) < 7 or len(fields) % 2 == 0):
        raise InputError(f"has {len(fields)} columns, expected class cx cy width height, or an outline")
    if not (fields[0].isascii() and fields[0].isdigit() and int(fields[0]) < classes):
        raise InputError(f"field class is '{fields[0]}', expected a number in 0..{classes - 1}")
    try:
        numbers = np.array([float(field) for field in fields[1:]])
    except ValueError:
        raise InputError(f"'{' '.join(fields[1:])[:60]}' are not all numbers") from None
    if not np.isfinite(numbers).all():
        raise InputError("holds a number that is not finite")
    if len(numbers) == 4:
        box = np.concatenate((numbers[:2] - numbers[2:] / 2, numbers[:2] + numbers[2:] / 2))
    else:
        outline = numbers.reshape(-1, 2)
        box = np.concatenate((outline.min(axis=0), outline.max(axis=0)))
    if (box < -_ROUNDED).any() or (box > 1 + _ROUNDED).any():
        raise InputError("the box is not inside the image; give fractions of its width and height")
    box = box.clip(0, 1)
    if (box[2:] <= box[:2]).any():
        raise InputError("the box has no width or no height")
    return int(fields[0]), box
