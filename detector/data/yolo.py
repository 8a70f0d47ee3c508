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
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
import numpy as np
from msgspec import Meta, Struct

from detector.data.faults import Fault, Faults
from detector.data.ground_truth import GroundTruth, repeated
from detector.errors import InputError
from detector.io.lfs import NOT_FETCHED, is_pointer
from detector.io.text import ENCODING, open_text, read_content
from detector.io.yaml import parse_yaml
from detector.structures.image import NOT_SUPPORTED, is_heic, read_size

_SUFFIXES = frozenset((".bmp", ".jpeg", ".jpg", ".mpo", ".png", ".tif", ".tiff", ".webp"))

# Numbers are rounded when a label is written, to three decimals at the coarsest; a box that is further outside the
# image belongs to another image or is in pixels.
_TOLERANCE = 1e-3

_Row = tuple[int, float, float, float, float, float, float]

_Text = Annotated[str, Meta(pattern=r"\S")]
_Sources = _Text | Annotated[list[_Text], Meta(min_length=1)] | None
_Count = Annotated[int, Meta(gt=0)]


class _DataYAML(Struct):
    names: list[_Text | int] | dict[int, _Text | int]
    path: str | None = None
    train: _Sources = None
    val: _Sources = None
    test: _Sources = None
    nc: int | None = None
    kpt_shape: tuple[_Count, _Count] | None = None


class YOLOConfig(NamedTuple):
    """What a `data.yaml` says about one of its splits.

    Attributes:
        root: the folder of the data set.
        sources: folders and `.txt` lists of the images, which need not exist.
        class_names: (C,), in the order of YOLO's numbers.
        keypoint_fields: number of fields of keypoints after each box.
    """

    root: Path
    sources: tuple[Path, ...]
    class_names: tuple[str, ...]
    keypoint_fields: int


def read_yolo(data_yaml: str | Path, split: str, faults: Faults | None = None) -> GroundTruth:
    """The objects in the images of one split.

    Images come in the order of the folder, by name, or of the list. `files` are relative to the data set's root,
    `image_ids` the files' names without folder and suffix, or `files` if two images share a name. Only the header of
    a photo is read, for its size. Boxes are clipped to the image.

    Args:
        data_yaml: the description of the data set.
        split: the key of the images in it, `train`, `val` or `test`.
        faults: collects the faults, and the photos whose size cannot be read; its notes count repeated lines.

    Raises:
        InputError: the description cannot be read, lacks the split, or leads to no images.
        FaultyDataError: records are wrong; each fault names the file, the line, and the field.
    """
    path = Path(data_yaml)
    config = read_yolo_config(path, split)
    faults = faults or Faults()
    photos = list(_photos(path, split, config.sources, faults))
    if not photos:
        faults.check(always=True)
        raise InputError(f"{path}: key {split} leads to no images, in {', '.join(map(str, config.sources))}")
    sizes: dict[Path, tuple[int, int]] = {}
    for photo in photos:
        try:
            sizes[photo] = read_size(photo)
        except InputError as error:
            reason = str(error).removeprefix(f"{photo}: ")
            if faults.collect:
                faults.unreadable.append(Fault(str(photo), "", reason))
            else:
                faults.add(photo, "", reason)
    if faults.unreadable and not sizes:
        raise InputError(f"{path}: no image of the split {split} can be read; the first: {faults.unreadable[0]}")
    images: list[Path] = []  # those whose labels can be read
    rows: list[_Row] = []
    row_images: list[int] = []
    labeled = duplicates = 0
    for photo in sizes:
        label_file = _label_file(photo)
        try:
            content = label_file.read_bytes() if os.path.exists(label_file) else None
            lines = [] if content is None else content.decode(ENCODING).splitlines()
        except (OSError, UnicodeDecodeError) as error:
            faults.add(label_file, "", f"cannot be read as labels: {error}")
            continue
        if content is not None and is_pointer(content):
            faults.add(label_file, "", NOT_FETCHED)
            continue
        labeled += content is not None
        parsed = list(_rows(label_file, lines, config, faults))
        distinct: dict[_Row, int] = {}  # the first line of equal ones
        for number, row in parsed:
            distinct.setdefault(row, number)
        duplicates += len(parsed) - len(distinct)
        row_images += [len(images)] * len(distinct)
        rows += distinct
        images.append(photo)
        faults.origins += [(str(label_file), f"line {number}") for number in distinct.values()]
    _name_lone_labels(config, photos, faults)
    if not labeled:
        faults.add(_label_file(photos[0]), "", f"no such labels, nor those of any other image of the split {split}")
    faults.check()
    if duplicates:
        faults.notes.append(f"{path}: {duplicates} repeated labels of {split} count once")
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


def _photos(data_yaml: Path, split: str, sources: Iterable[Path], faults: Faults) -> Iterator[Path]:
    listed: set[Path] = set()
    for source in sources:
        if os.path.isdir(source):
            paths = [(path, "") for path in sorted(source.rglob("*")) if path.suffix.lower() in _SUFFIXES]
        elif os.path.isfile(source) and source.suffix == ".txt":
            with open_text(source) as file:
                named = [(number, line.strip()) for number, line in enumerate(file, start=1) if line.strip()]
            paths = [(source.parent / name, f"line {number}") for number, name in named]
        else:
            fault = f"{source} is neither a folder of images nor a .txt list of them"
            faults.add(data_yaml, f"key {split}", fault)
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
    for folder in filter(os.path.isdir, config.sources):
        labels = _label_file(folder / "any").parent
        for path in sorted(labels.rglob("*.txt")):
            # Tools such as LabelImg leave the list of the classes among the labels.
            if path in used or path.name == "classes.txt":
                continue
            image = folder / path.relative_to(labels)
            heic = [file for file in image.parent.glob("*") if file.stem == image.stem and is_heic(file)]
            lone = f"labels without an image of that name in {folder}"
            faults.add(path, "", f"its photo {heic[0]} {NOT_SUPPORTED}" if heic else lone)


def _rows(path: Path, lines: list[str], config: YOLOConfig, faults: Faults) -> Iterator[tuple[int, _Row]]:
    for number, line in enumerate(lines, start=1):
        if fields := line.split():
            try:
                yield number, _row(fields, config)
            except InputError as error:
                faults.add(path, f"line {number}", str(error))


def _row(fields: list[str], config: YOLOConfig) -> _Row:
    """Label, x1, y1, x2, y2 and the box's width and height, as fractions of the image's width and height."""
    count, keypoints = len(fields), config.keypoint_fields
    if not (count == 5 + keypoints or (not keypoints and count >= 7 and count % 2 == 1)):
        hint = "; the sixth of a detection is its score, but a detection is not a label" if count == 6 else ""
        expected = f"5 and {keypoints} of keypoints" if keypoints else "5, or 7 and more of an outline"
        raise InputError(f"has {count} fields, expected {expected}{hint}")
    label = _number("class", fields[0])
    if label not in range(len(config.class_names)):
        raise InputError(f"field class is {fields[0]}, expected a whole number in 0..{len(config.class_names) - 1}")
    if keypoints or count == 5:
        cx, cy, width, height = map(_number, ("cx", "cy", "w", "h"), fields[1:5])
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
        InputError: the file cannot be read, is not YAML, or a key is missing or wrong.
    """
    try:
        content = msgspec.convert(parse_yaml(read_content(path)), _DataYAML)
    except InputError:
        raise
    except ValueError as error:  # YAML reads a class called no or on as a boolean
        raise InputError(f"{path}: {error}; give a data.yaml with names, in quotes, and train, val or test") from None
    root = path.parent / (content.path or ".")
    if not os.path.isdir(root):
        raise InputError(f"{path}: key path leads to {root}, which is not a folder; give it relative to {path.name}")
    splits = {key: getattr(content, key) for key in ("train", "val", "test")}
    given: str | list[str] | None = splits.get(split)
    if given is None:
        known = ", ".join(key for key, sources in splits.items() if sources) or "none"
        raise InputError(f"{path}: key {split} is missing, expected a folder, or a list of them; there are: {known}")
    names = dict(enumerate(content.names)) if isinstance(content.names, list) else content.names
    if not names or sorted(names) != list(range(len(names))):
        raise InputError(f"{path}: key names has the numbers {list(names)}, expected 0, 1, 2 and so on, each once")
    class_names = tuple(str(names[number]) for number in range(len(names)))
    for number, first in repeated(class_names):
        raise InputError(f"{path}: key names, {number}: is '{class_names[number]}', as is {first}")
    if content.nc not in (None, len(class_names)):
        raise InputError(f"{path}: key nc is {content.nc}, but there are {len(class_names)} names")
    return YOLOConfig(
        root=root,
        sources=tuple(_source(root, name) for name in ([given] if isinstance(given, str) else given)),
        class_names=class_names,
        keypoint_fields=math.prod(content.kpt_shape) if content.kpt_shape else 0,
    )


def _source(root: Path, name: str) -> Path:
    inside = root / name.removeprefix("../")
    return inside if not os.path.exists(root / name) and os.path.exists(inside) else root / name
