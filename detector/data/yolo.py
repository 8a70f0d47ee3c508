"""Reader of data sets in YOLO's layout, as Ultralytics describes it: `data.yaml`, photos in `images/`, and beside it
`labels/` with a text file for each photo.

A line of a label file is `class cx cy w h`, the box's center and size as parts of the upright photo's width and height.
A line of class and at least three points `x y` is the outline of a segmentation or a rotated box, and the object's
box is the one around the points, as Ultralytics takes it; but each line is judged by itself, where Ultralytics reads
all lines of a file that holds one outline as outlines. Where `data.yaml` has `kpt_shape`, what follows a box are
keypoints, which are left out. A line of 6 fields, the last one a score, is a detection, and a fault here.

As with Ultralytics, a photo without a label file has no objects, and a line that is there twice counts once. A label
file without a photo is a fault.
"""

import math
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from detector.data.faults import Fault, Faults, Gathered
from detector.data.ground_truth import GroundTruth
from detector.data.yolo_config import YOLOConfig, read_yolo_config
from detector.errors import InputError
from detector.io.lfs import NOT_FETCHED, START_BYTES, is_pointer
from detector.io.text import ENCODING, open_text

SUFFIXES = frozenset((".bmp", ".jpeg", ".jpg", ".mpo", ".png", ".tif", ".tiff", ".webp"))

# Numbers are rounded when a label is written, to three decimals at the coarsest; a box that is further outside the
# image belongs to another image or is not normalized.
_TOLERANCE = 1e-3

# In these orientations the stored picture lies on its side.
_TURNED = (5, 6, 7, 8)

_Row = tuple[int, float, float, float, float, float, float]


def read_yolo(data_yaml: str | Path, split: str, gathered: Gathered | None = None) -> GroundTruth:
    """The objects in the images of one split.

    Images come in the order of the folder, by name, or of the list. `files` are relative to the data set's root,
    `image_ids` the files' names without folder and suffix, or `files` where two images share a name. Only the header of
    a photo is read, for its size. Boxes are cut at the border of the image.

    Args:
        data_yaml: the description of the data set.
        split: the key of the images in it, `train`, `val` or `test`.
        gathered: what is wrong goes in here, also photos whose size cannot be read; by default it is raised.

    Raises:
        InputError: the description cannot be read, lacks the split, or leads to no images or to no labels.
        FaultyDataError: records are wrong; each fault names the file, the line or key, and the field.
    """
    config = read_yolo_config(Path(data_yaml), split)
    faults = Faults() if gathered is None else gathered.faults
    images = list(_images(config, faults))
    if gathered is None or not images:
        faults.check()
    if not images:
        raise InputError(f"{config.path}: key {split} leads to no images, in {', '.join(map(str, config.sources))}")
    every = images
    if gathered is not None:
        images = _readable(images, gathered.unreadable)
        if not images:
            first = gathered.unreadable[0]
            raise InputError(f"{config.path}: no image of the split {split} can be read; the first: {first}")
    sizes = np.zeros((len(images), 2), np.int64)
    places: list[int] = []
    rows: list[_Row] = []
    origins: list[tuple[str, str]] = []
    labeled = repeated = 0
    unlabeled: set[int] = set()  # whose labels cannot be read
    for place, image in enumerate(images):
        try:
            sizes[place] = upright_size(image)
        except (OSError, Image.DecompressionBombError) as error:
            faults.add(image, "", _no_size(error))
        label_file = _label_file(image)
        try:
            lines = label_file.read_text(ENCODING).splitlines()
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as error:
            faults.add(label_file, "", f"cannot be read as labels: {error}")
            unlabeled.add(place)
            continue
        labeled += 1
        found = list(_rows(label_file, lines, config, faults))
        distinct: dict[_Row, int] = {}  # the first line of those that are alike
        for number, row in found:
            distinct.setdefault(row, number)
        repeated += len(found) - len(distinct)
        places += [place] * len(distinct)
        rows += distinct
        origins += [(str(label_file), f"line {number}") for number in distinct.values()]
    _name_lone_labels(config, every, faults)
    if not labeled:
        faults.add(_label_file(images[0]), "", f"no such labels, nor those of any other image of the split {split}")
    if gathered is None:
        faults.check()
    else:
        gathered.origins.extend(origins)
    if repeated:
        warnings.warn(f"{config.path}: {repeated} labels of {split} are there twice and count once", stacklevel=2)
    table = np.array(rows, np.float64).reshape(-1, 7)
    stems = tuple(image.stem for image in images)
    files = tuple(Path(os.path.relpath(image, config.root)).as_posix() for image in images)
    truth = GroundTruth(
        image_ids=stems if len(set(stems)) == len(stems) else files,
        class_names=config.class_names,
        images=np.array(places, np.int64),
        labels=table[:, 0].astype(np.int64),
        boxes=table[:, 1:5] * np.tile(sizes[places], 2),
        sides=table[:, 5:] * sizes[places],
        image_sizes=sizes,
        files=files,
    )
    return truth.of_images([place for place in range(len(images)) if place not in unlabeled])


def _images(config: YOLOConfig, faults: Faults) -> Iterator[Path]:
    seen: set[Path] = set()
    for source in config.sources:
        if os.path.isdir(source):
            found = [(path, "") for path in sorted(source.rglob("*")) if path.suffix.lower() in SUFFIXES]
        elif os.path.isfile(source) and source.suffix == ".txt":
            with open_text(source) as file:
                named = [(number, line.strip()) for number, line in enumerate(file, start=1) if line.strip()]
            found = [(source.parent / name, f"line {number}") for number, name in named]
        else:
            faults.add(config.path, f"key {config.split}", f"{source} is no folder of images and no .txt list of them")
            continue
        for path, record in found:
            if path in seen:
                faults.add(source, record, f"lists {path} again")
            elif record and not os.path.isfile(path):
                faults.add(source, record, f"no such image {path}")
            else:
                seen.add(path)
                yield path


def _label_file(image: Path) -> Path:
    """The labels of an image: the last folder `images` in its path becomes `labels`."""
    parts = list(image.parts)
    folders = [place for place, part in enumerate(parts[:-1]) if part == "images"]
    if folders:
        parts[folders[-1]] = "labels"
    return Path(*parts).with_suffix(".txt")


def _name_lone_labels(config: YOLOConfig, images: list[Path], faults: Faults) -> None:
    """Labels in the folders of the split whose image is not there: their objects would vanish unseen."""
    used = {_label_file(image) for image in images}
    for folder in (source for source in config.sources if os.path.isdir(source)):
        for path in sorted(_label_file(folder / "any").parent.rglob("*.txt")):
            # Tools such as LabelImg leave the list of the classes among the labels.
            if path not in used and path.name != "classes.txt":
                faults.add(path, "", f"labels without an image, none in {folder} has their name")


def _readable(images: list[Path], unreadable: list[Fault]) -> list[Path]:
    readable = []
    for image in images:
        try:
            upright_size(image)
            readable.append(image)
        except (OSError, Image.DecompressionBombError) as error:
            unreadable.append(Fault(str(image), "", _no_size(error)))
    return readable


def _no_size(error: Exception) -> str:
    return f"size cannot be read from the image: {error}"


def upright_size(path: Path) -> tuple[int, int]:
    """Width and height of the photo in pixels once it is turned as its EXIF data say; from its header."""
    try:
        with Image.open(path) as image:
            width, height = image.size
            turned = image.getexif().get(ExifTags.Base.Orientation) in _TURNED
    except UnidentifiedImageError:
        with path.open("rb") as file:
            if is_pointer(file.read(START_BYTES)):
                raise UnidentifiedImageError(NOT_FETCHED) from None
        raise
    return (height, width) if turned else (width, height)


def _rows(path: Path, lines: list[str], config: YOLOConfig, faults: Faults) -> Iterator[tuple[int, _Row]]:
    for number, line in enumerate(lines, start=1):
        if fields := line.split():
            try:
                yield number, _row(fields, config)
            except InputError as error:
                faults.add(path, f"line {number}", str(error))


def _row(fields: list[str], config: YOLOConfig) -> _Row:
    """Label, x1, y1, x2, y2 and the box's width and height, as parts of the image's width and height."""
    count = len(fields)
    keypoints = config.keypoint_fields
    if not (count == 5 + keypoints or (not keypoints and count >= 7 and count % 2 == 1)):
        hint = "; the sixth of a detection is its score, and detections are no labels" if count == 6 else ""
        known = f"5 and {keypoints} of keypoints" if keypoints else "5, or 7 and more of an outline"
        raise InputError(f"has {count} fields, expected {known}{hint}")
    label = _number("class", fields[0])
    if label not in range(len(config.class_names)):
        raise InputError(f"field class is {fields[0]}, expected a whole number in 0..{len(config.class_names) - 1}")
    if keypoints or count == 5:
        names = ("cx", "cy", "w", "h")
        cx, cy, width, height = map(_number, names, fields[1:5])
        if width <= 0 or height <= 0:
            raise InputError(f"fields w h are {fields[3]} {fields[4]}, expected numbers above 0")
        box = (cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2)
    else:
        points = [_number(f"{i + 2}", field) for i, field in enumerate(fields[1:])]
        box = (min(points[::2]), min(points[1::2]), max(points[::2]), max(points[1::2]))
        width, height = box[2] - box[0], box[3] - box[1]
    if min(box) < -_TOLERANCE or max(box) > 1 + _TOLERANCE:
        shown = ", ".join(f"{side:g}" for side in box)
        raise InputError(f"box ({shown}) is outside the image; are the numbers parts of its width and height?")
    x1, y1, x2, y2 = (min(max(side, 0.0), 1.0) for side in box)
    if (x1, y1, x2, y2) != box:
        width, height = x2 - x1, y2 - y1
    if x2 <= x1 or y2 <= y1:
        raise InputError(f"box ({x1:g}, {y1:g}, {x2:g}, {y2:g}) has no area")
    return int(label), x1, y1, x2, y2, width, height


def _number(name: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"field {name} is '{text}', expected a number")
    return number
