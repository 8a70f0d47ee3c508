"""Data sets in YOLO's layout, as Ultralytics describes it: `data.yaml`, photos in `images/`, and beside it `labels/`
with a text file for each photo.

A line of a label file is `class cx cy w h`, the box's center and size as fractions of the upright photo's width and
height. A line of class and at least three points `x y` is the outline of a segmentation or a rotated box, and the
object's box is the one around the points, as in Ultralytics; but each line is parsed on its own, where Ultralytics
reads all lines of a file that has one outline as outlines. If `data.yaml` has `kpt_shape`, keypoints follow each box
and are ignored. A line of 6 fields, the last one a score, is a detection, and a fault here.

As in Ultralytics, a photo without a label file has no objects, and a repeated line counts once. A label file without a
photo is a fault.
"""

import math
import os  # its exists, isdir and isfile return False for a name that is too long
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from detector.data.faults import Fault, Faults, ReadReport
from detector.data.ground_truth import GroundTruth
from detector.errors import InputError
from detector.io.lfs import NOT_FETCHED, START_BYTES, is_pointer
from detector.io.text import ENCODING, open_text
from detector.io.yaml import parse_yaml
from detector.structures.image import NOT_SUPPORTED, is_heic

_SUFFIXES = frozenset((".bmp", ".jpeg", ".jpg", ".mpo", ".png", ".tif", ".tiff", ".webp"))

# Numbers are rounded when a label is written, to three decimals at the coarsest; a box that is further outside the
# image belongs to another image or is in pixels.
_TOLERANCE = 1e-3

_TURNED = (5, 6, 7, 8)  # EXIF orientations in which the stored picture lies on its side

_SPLITS = ("train", "val", "test")

_Row = tuple[int, float, float, float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class YOLOConfig:
    """A data set's `data.yaml`, for one of its splits.

    Attributes:
        path: the file itself.
        root: the folder of the data set.
        split: the key of the images.
        sources: their folders and `.txt` lists, which need not exist.
        class_names: (C,), in the order of YOLO's numbers.
        keypoint_fields: number of fields of keypoints after each box.
    """

    path: Path
    root: Path
    split: str
    sources: tuple[Path, ...]
    class_names: tuple[str, ...]
    keypoint_fields: int


def read_yolo(data_yaml: str | Path, split: str, report: ReadReport | None = None) -> GroundTruth:
    """The objects in the images of one split.

    Images come in the order of the folder, by name, or of the list. `files` are relative to the data set's root,
    `image_ids` the files' names without folder and suffix, or `files` if two images share a name. Only the header of
    a photo is read, for its size. Boxes are clipped to the image.

    Args:
        data_yaml: the description of the data set.
        split: the key of the images in it, `train`, `val` or `test`.
        report: collects the faults and the photos whose size cannot be read; by default they are raised.

    Raises:
        InputError: the description cannot be read, lacks the split, or leads to no images or to no labels.
        FaultyDataError: records are wrong; each fault names the file, the line or key, and the field.
    """
    config = read_yolo_config(Path(data_yaml), split)
    faults = Faults() if report is None else report.faults
    all_images = list(_images(config, faults))
    if report is None or not all_images:
        faults.check()
    if not all_images:
        raise InputError(f"{config.path}: key {split} leads to no images, in {', '.join(map(str, config.sources))}")
    sizes: dict[Path, tuple[int, int]] = {}
    unreadable: list[Fault] = []
    for image in all_images:
        try:
            sizes[image] = upright_size(image)
        except (OSError, Image.DecompressionBombError) as error:
            unreadable.append(Fault(str(image), "", f"size cannot be read from the image: {error}"))
    if report is None:
        for fault in unreadable:
            faults.add(fault.file, fault.record, fault.fault)
    else:
        report.unreadable.extend(unreadable)
        if not sizes:
            raise InputError(f"{config.path}: no image of the split {split} can be read; the first: {unreadable[0]}")
    images: list[Path] = []  # those whose labels can be read
    rows: list[_Row] = []
    row_images: list[int] = []
    labeled = repeated = 0
    for image in all_images if report is None else sizes:
        label_file = _label_file(image)
        lines: list[str] = []
        try:
            content = label_file.read_bytes()
            if is_pointer(content):
                faults.add(label_file, "", NOT_FETCHED)
                continue
            lines = content.decode(ENCODING).splitlines()
            labeled += 1
        except FileNotFoundError:
            pass
        except (OSError, UnicodeDecodeError) as error:
            faults.add(label_file, "", f"cannot be read as labels: {error}")
            continue
        parsed = list(_rows(label_file, lines, config, faults))
        distinct: dict[_Row, int] = {}  # the first line of equal ones
        for number, row in parsed:
            distinct.setdefault(row, number)
        repeated += len(parsed) - len(distinct)
        row_images += [len(images)] * len(distinct)
        rows += distinct
        images.append(image)
        if report is not None:
            report.origins.extend((str(label_file), f"line {number}") for number in distinct.values())
    _name_lone_labels(config, all_images, faults)
    if not labeled:
        label_file = _label_file(next(iter(sizes), all_images[0]))
        faults.add(label_file, "", f"no such labels, nor those of any other image of the split {split}")
    if report is None:
        faults.check()
    if repeated:
        warnings.warn(f"{config.path}: {repeated} repeated labels of {split} count once", stacklevel=2)
    table = np.array(rows, np.float64).reshape(-1, 7)
    image_sizes = np.array([sizes[image] for image in images], np.int64).reshape(-1, 2)
    stems = tuple(image.stem for image in images)
    files = tuple(Path(os.path.relpath(image, config.root)).as_posix() for image in images)
    return GroundTruth(
        image_ids=stems if len(set(stems)) == len(stems) else files,
        class_names=config.class_names,
        images=np.array(row_images, np.int64),
        labels=table[:, 0].astype(np.int64),
        boxes=table[:, 1:5] * np.tile(image_sizes[row_images], 2),
        sides=table[:, 5:] * image_sizes[row_images],
        image_sizes=image_sizes,
        files=files,
    )


def _images(config: YOLOConfig, faults: Faults) -> Iterator[Path]:
    listed: set[Path] = set()
    for source in config.sources:
        if os.path.isdir(source):
            paths = [(path, "") for path in sorted(source.rglob("*")) if path.suffix.lower() in _SUFFIXES]
        elif os.path.isfile(source) and source.suffix == ".txt":
            with open_text(source) as file:
                named = [(number, line.strip()) for number, line in enumerate(file, start=1) if line.strip()]
            paths = [(source.parent / name, f"line {number}") for number, name in named]
        else:
            faults.add(
                config.path, f"key {config.split}", f"{source} is neither a folder of images nor a .txt list of them"
            )
            continue
        for path, record in paths:
            if path in listed:
                faults.add(source, record, f"lists {path} again")
            elif record and not os.path.isfile(path):
                faults.add(source, record, f"no such image {path}")
            else:
                listed.add(path)
                yield path


def _label_file(image: Path) -> Path:
    """The labels of an image: the last folder `images` in its path becomes `labels`."""
    parts = list(image.parts)
    folders = [index for index, part in enumerate(parts[:-1]) if part == "images"]
    if folders:
        parts[folders[-1]] = "labels"
    return Path(*parts).with_suffix(".txt")


def _name_lone_labels(config: YOLOConfig, images: list[Path], faults: Faults) -> None:
    """Report labels in the folders of the split whose image is missing, for their objects would be lost."""
    used = {_label_file(image) for image in images}
    for folder in (source for source in config.sources if os.path.isdir(source)):
        for path in sorted(_label_file(folder / "any").parent.rglob("*.txt")):
            # Tools such as LabelImg leave the list of the classes among the labels.
            if path in used or path.name == "classes.txt":
                continue
            image = folder / path.relative_to(_label_file(folder / "any").parent)
            heic = [file for file in image.parent.glob("*") if file.stem == image.stem and is_heic(file)]
            lone = f"labels without an image of that name in {folder}"
            faults.add(path, "", f"its photo {heic[0]} {NOT_SUPPORTED}" if heic else lone)


def upright_size(path: Path) -> tuple[int, int]:
    """Width and height of the photo in pixels, turned as its EXIF data say; from its header."""
    try:
        with Image.open(path) as image:
            width, height = image.size
            turned = image.getexif().get(ExifTags.Base.Orientation) in _TURNED
    except UnidentifiedImageError:
        with path.open("rb") as file:
            if is_pointer(file.read(START_BYTES)):
                raise UnidentifiedImageError(NOT_FETCHED) from None
        if is_heic(path):
            raise UnidentifiedImageError(NOT_SUPPORTED) from None
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
    """Label, x1, y1, x2, y2 and the box's width and height, as fractions of the image's width and height."""
    count = len(fields)
    keypoints = config.keypoint_fields
    if not (count == 5 + keypoints or (not keypoints and count >= 7 and count % 2 == 1)):
        hint = "; the sixth of a detection is its score, but a detection is not a label" if count == 6 else ""
        expected = f"5 and {keypoints} of keypoints" if keypoints else "5, or 7 and more of an outline"
        raise InputError(f"has {count} fields, expected {expected}{hint}")
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
        sides = ", ".join(f"{side:g}" for side in box)
        raise InputError(f"box ({sides}) is outside the image; give fractions of its width and height")
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


def read_yolo_config(path: Path, split: str) -> YOLOConfig:
    """Read a `data.yaml` for one of its splits.

    Its key `path` is relative to the file's folder, which is also the default, and the splits are relative to `path`.
    A split that starts with `../` and does not exist is also tried without it, because Roboflow writes such paths.

    Raises:
        InputError: the file cannot be read or is not a YAML mapping.
        FaultyDataError: keys are missing or wrong; each fault names the key.
    """
    try:
        encoded = path.read_bytes()
        content = parse_yaml(encoded)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; give the data set's data.yaml") from error
    except ValueError as error:
        raise InputError(f"{path}: is not YAML: {error}") from error
    if is_pointer(encoded):
        raise InputError(f"{path}: {NOT_FETCHED}")
    if not isinstance(content, dict):
        raise InputError(f"{path}: is not a mapping, expected the keys path, {', '.join(_SPLITS)} and names")
    faults = Faults()

    folder = content.get("path") or "."
    if not isinstance(folder, str):
        faults.add(path, "key path", f"is {folder!r}, expected a folder")
        folder = "."
    root = path.parent / folder
    if not os.path.isdir(root):
        faults.add(path, "key path", f"leads to {root}, which is not a folder; give it relative to {path.name}")

    given = content.get(split)
    sources = [given] if isinstance(given, str) else given
    if not isinstance(sources, list) or not sources or not all(isinstance(name, str) and name for name in sources):
        splits = ", ".join(key for key in _SPLITS if content.get(key)) or "none"
        what = f"is {given!r}" if split in content else "is missing"
        faults.add(
            path, f"key {split}", f"{what}, expected a folder, a list of folders, or a .txt; there are: {splits}"
        )
        sources = []

    names = _class_names(path, content, faults)
    faults.check()
    return YOLOConfig(
        path=path,
        root=root,
        split=split,
        sources=tuple(_source(root, name) for name in sources),
        class_names=names,
        keypoint_fields=_keypoint_fields(path, content.get("kpt_shape")),
    )


def _class_names(path: Path, content: dict[Any, Any], faults: Faults) -> tuple[str, ...]:
    given = content.get("names")
    if isinstance(given, list):
        given = dict(enumerate(given))
    if not isinstance(given, dict) or not given:
        faults.add(path, "key names", f"is {given!r}, expected the classes, a list or numbers with names")
        return ()
    if any(type(key) is not int for key in given) or sorted(given) != list(range(len(given))):
        faults.add(path, "key names", f"has the numbers {list(given)}, expected 0 to {len(given) - 1}, each once")
        return ()
    names: list[str] = []
    for number in range(len(given)):
        name = given[number]
        # YAML reads a class called no or on as a boolean, and a digit as a number.
        if isinstance(name, bool) or not isinstance(name, str | int) or not str(name).strip():
            faults.add(path, f"key names, {number}", f"is {name!r}, expected text; put the name in quotes")
        elif str(name) in names:
            faults.add(path, f"key names, {number}", f"is '{name}', as is {names.index(str(name))}")
        names.append(str(name))
    if content.get("nc", len(names)) != len(names):
        faults.add(path, "key nc", f"is {content['nc']!r}, but there are {len(names)} names")
    return tuple(names)


def _keypoint_fields(path: Path, shape: Any) -> int:
    if shape is None:
        return 0
    if not (isinstance(shape, list) and len(shape) == 2 and all(type(count) is int and count > 0 for count in shape)):
        raise InputError(f"{path}: key kpt_shape is {shape!r}, expected the number of keypoints and of their fields")
    return shape[0] * shape[1]


def _source(root: Path, name: str) -> Path:
    source = root / name
    if not os.path.exists(source) and name.startswith("../"):
        inside = root / name.removeprefix("../")
        return inside if os.path.exists(inside) else source
    return source
