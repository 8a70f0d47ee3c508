"""Reader of data sets in PASCAL VOC's layout.

This is the one place where VOC's boxes (1-based, both ends inclusive) become the boxes used everywhere else
(0-based, right and bottom exclusive): (xmin - 1, ymin - 1, xmax, ymax).
"""

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree
from xml.parsers import expat

import numpy as np

from detector.data.annotations import Annotations, Sample
from detector.data.ground_truth import GroundTruth
from detector.errors import InputError

#: The 20 classes of PASCAL VOC 2007 to 2012, in alphabetical order; labels index into it.
VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip

_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG")

# Published annotations, and tools that count from 0, leave coordinates one pixel outside the image. Those are
# clipped; anything further out means a wrong file or a wrong image size, which clipping would hide.
_CLIPPED_PIXELS = 1.0


class VOCDataset:
    """The images of one split of a data set in PASCAL VOC's layout.

    Only the list of the split is read here; an image's annotations are read when they are asked for.

    Args:
        root: the folder that holds `JPEGImages`, `Annotations` and `ImageSets/Main`.
        split: name of the list, `ImageSets/Main/<split>.txt`: one image id a line.
        class_names: the classes; labels are 0-based indices into it.
        ignore_other_classes: leave out objects of classes that are not in `class_names`. Without it such an
            object is an error, because a misspelt class would otherwise vanish in silence.

    Raises:
        InputError: the folder or the split is missing, or the split is empty or malformed.
    """

    def __init__(
        self,
        root: str | Path,
        split: str,
        class_names: Sequence[str] = VOC_CLASSES,
        *,
        ignore_other_classes: bool = False,
    ) -> None:
        self.root = Path(root)
        self.split = split
        self.class_names = tuple(class_names)
        self.ignore_other_classes = ignore_other_classes
        if not self.class_names or len(set(self.class_names)) != len(self.class_names):
            raise InputError(f"class names must be given, each once: {', '.join(self.class_names) or 'none'}")
        _check_layout(self.root)
        self.ids = _read_split(self.root / "ImageSets" / "Main", split)
        self._labels = {name: label for label, name in enumerate(self.class_names)}

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        """The sample at `index`, with its annotations read from the file.

        Raises:
            InputError: the image is missing, or its annotation is missing or wrong.
            IndexError: `index` is outside the data set.
        """
        return Sample(self.ids[index], self.image_path(index), self.annotations(index))

    def __iter__(self) -> Iterator[Sample]:
        return (self[index] for index in range(len(self)))

    def first(self, count: int) -> "VOCDataset":
        """The data set of the first `count` images (all of them where there are fewer)."""
        if count < 1:
            raise InputError(f"a data set of {count} images was asked for, at least 1 is needed")
        part = copy.copy(self)
        part.ids = self.ids[:count]
        return part

    def image_path(self, index: int) -> Path:
        """The image file at `index`; raises InputError where there is none."""
        stem = self.root / "JPEGImages" / self.ids[index]
        for suffix in _IMAGE_SUFFIXES:
            # Not with_suffix: an id may hold a dot of its own.
            path = stem.with_name(stem.name + suffix)
            if path.is_file():
                return path
        raise InputError(f"{stem}.jpg: no such image, but split '{self.split}' lists {self.ids[index]}")

    def annotations(self, index: int) -> Annotations:
        """The annotated objects of the image at `index`.

        Raises:
            InputError: the file is missing, is not well-formed, or holds a wrong field; the message names the
                file, the object and the field.
        """
        image_id = self.ids[index]
        path = self.root / "Annotations" / f"{image_id}.xml"
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise InputError(
                f"{path}: no such annotation, but split '{self.split}' lists {image_id}"
            ) from None
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from error
        try:
            return self._parse(_parse_xml(content))
        except InputError as error:
            raise InputError(f"{path}: {error}") from error

    def ground_truth(self) -> GroundTruth:
        """The objects of all images, for an evaluation; the images' files are relative to `JPEGImages`.

        Raises:
            InputError: an annotation is missing or wrong.
        """
        files = []
        for index, image_id in enumerate(self.ids):
            try:
                files.append(self.image_path(index).name)
            except InputError:  # whoever needs the photo will say so
                files.append(f"{image_id}.jpg")
        annotations = [self.annotations(index) for index in range(len(self))]
        return GroundTruth.from_annotations(self.ids, annotations, self.class_names, files)

    def _parse(self, root: ElementTree.Element) -> Annotations:
        if root.tag != "annotation":
            raise InputError(f"the root element is <{root.tag}>, expected <annotation>")
        size = (_size(root, "width"), _size(root, "height"))
        boxes, labels, difficult = [], [], []
        for number, element in enumerate(root.iterfind("object"), start=1):
            try:
                name = _text(element, "name")
                if name not in self._labels:
                    if self.ignore_other_classes:
                        continue
                    raise InputError(f"unknown class '{name}', known are {', '.join(self.class_names)}")
                boxes.append(_box(element, size))
                labels.append(self._labels[name])
                difficult.append(_difficult(element))
            except InputError as error:
                raise InputError(f"object {number}: {error}") from error
        return Annotations(np.array(boxes, np.float32), np.array(labels), np.array(difficult), size)


def _check_layout(root: Path) -> None:
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; give the folder that holds JPEGImages")
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        if (root / name).is_dir():
            continue
        inner = sorted(path.parent for path in (*root.glob("*/JPEGImages"), *root.glob("*/*/JPEGImages")))
        hint = f"; {inner[0]} holds it" if name == "JPEGImages" and inner else ""
        raise InputError(f"{root}: holds no folder {name}; give the folder that holds JPEGImages{hint}")


def _read_split(folder: Path, split: str) -> tuple[str, ...]:
    path = folder / f"{split}.txt"
    if not path.is_file():
        known = ", ".join(sorted(path.stem for path in folder.glob("*.txt"))) or "none"
        raise InputError(f"{path}: no such split; there are: {known}")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as a list of image ids: {error}") from error
    ids: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) > 1:
            raise InputError(
                f"{path}: line {number} has {len(fields)} fields; a split has one image id a line "
                "(lists such as car_train.txt with a flag for each image are not splits)"
            )
        if fields[0] in ids:
            raise InputError(f"{path}: line {number} lists {fields[0]} again, first on line {ids[fields[0]]}")
        ids[fields[0]] = number
    if not ids:
        raise InputError(f"{path}: lists no image")
    return tuple(ids)


def _parse_xml(content: bytes) -> ElementTree.Element:
    """Parse an annotation; a document type is refused, and with it every entity (expansion, other files)."""
    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = _refuse_document_type
    try:
        parser.Parse(content, True)
        return ElementTree.fromstring(content)
    except (expat.ExpatError, ElementTree.ParseError, ValueError, LookupError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"is not well-formed XML: {error}") from error


def _refuse_document_type(*_: object) -> None:
    raise InputError("has a document type declaration (<!DOCTYPE>), which may name other files; remove it")


def _text(element: ElementTree.Element, field: str) -> str:
    text = (element.findtext(field) or "").strip()
    if not text:
        raise InputError(f"field {field} is missing")
    return text


def _number(element: ElementTree.Element, field: str) -> float:
    text = _text(element, field)
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not np.isfinite(number):
        raise InputError(f"field {field} is '{text}', expected a number")
    return number


def _size(root: ElementTree.Element, side: str) -> int:
    number = _number(root, f"size/{side}")
    if number < 1 or number != int(number):
        raise InputError(f"field size/{side} is {number:g}, expected a positive whole number")
    return int(number)


def _difficult(element: ElementTree.Element) -> bool:
    """The flag `difficult`; annotation tools other than VOC's own leave it out, which means 0."""
    text = (element.findtext("difficult") or "0").strip()
    if text not in ("0", "1"):
        raise InputError(f"field difficult is '{text}', expected 0 or 1")
    return text == "1"


def _box(element: ElementTree.Element, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """The box in pixels, 0-based, right and bottom exclusive, from VOC's 1-based inclusive one."""
    width, height = size
    xmin, ymin, xmax, ymax = (_number(element, f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax"))
    given = f"bndbox ({xmin:g}, {ymin:g}, {xmax:g}, {ymax:g})"
    for side, value, limit in (("xmin", xmin, width), ("xmax", xmax, width),
                               ("ymin", ymin, height), ("ymax", ymax, height)):  # fmt: skip
        if not 1 - _CLIPPED_PIXELS <= value <= limit + _CLIPPED_PIXELS:
            raise InputError(f"{given}: {side} is outside the image of {width} x {height} pixels")
    x1, y1, x2, y2 = max(xmin - 1, 0.0), max(ymin - 1, 0.0), min(xmax, width), min(ymax, height)
    if x2 <= x1 or y2 <= y1:
        raise InputError(f"{given} has no area")
    return x1, y1, x2, y2
