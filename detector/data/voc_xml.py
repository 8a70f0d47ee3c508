"""An image's annotation in PASCAL VOC's XML.

This is the one place where VOC's boxes (1-based, both ends inclusive) become the boxes used everywhere else
(0-based, right and bottom exclusive): (xmin - 1, ymin - 1, xmax, ymax).
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from detector.data.faults import Faults
from detector.data.ground_truth import LARGEST, repeated
from detector.errors import InputError
from detector.io.lfs import NOT_FETCHED, is_pointer
from detector.io.text import ENCODING

VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
"""The 20 classes of PASCAL VOC 2007 to 2012, in alphabetical order; labels index into it."""

Box = tuple[float, float, float, float]

# Published annotations, and tools that count from 0, leave coordinates one pixel outside the image. Those are
# clipped; anything further out means a wrong file or image size, which clipping would hide.
_CLIPPED_PIXELS = 1.0


class VOCObject(NamedTuple):
    """An object: its box x1, y1, x2, y2 in pixels, 0-based, right and bottom exclusive, its label and its flag.

    `number` is its position among the annotation's objects, from 1.
    """

    box: Box
    label: int
    difficult: bool
    number: int


def parse_annotation(
    content: bytes,
    file: str,
    labels: Mapping[str, int],
    faults: Faults,
    *,
    on_other_class: Callable[[str], None] | None = None,
    inside: bool = True,
) -> tuple[tuple[int, int], list[VOCObject]]:
    """The size of the image and its objects without faulty ones, which go to `faults`.

    Args:
        content: the XML.
        file: its name in faults.
        labels: the label of each class.
        faults: of the objects.
        on_other_class: called with the name of each class that is not in `labels`; by default it is a fault.
        inside: clip boxes that leave the image by a pixel, and report those that leave it by more. Otherwise boxes
            stay as written, as in the development kit's evaluation.

    Raises:
        InputError: it is not an annotation or lacks the size of the image.
    """
    root = parse_xml(content)
    sides = []
    for field in ("size/width", "size/height"):
        number = _number(root, field)
        if not 1 <= number < 2**31 or number != int(number):
            raise InputError(f"field {field} is {number:g}, expected a positive whole number")
        sides.append(int(number))
    size = (sides[0], sides[1])
    objects = []
    for position, element in enumerate(root.iterfind("object"), start=1):
        record = f"object {position}"
        try:
            name = _text(element, "name")
            if name in labels:
                box = _box(element, size if inside else None)
                objects.append(VOCObject(box, labels[name], _difficult(element), position))
            elif on_other_class is None:
                known = ", ".join(labels)
                faults.unknown_classes.add(file, record, f"unknown class '{name}', known are {known}")
            else:
                on_other_class(name)
        except InputError as error:
            faults.add(file, record, str(error))
    return size, objects


def parse_xml(content: bytes) -> Element:
    """The root of an annotation.

    Raises:
        InputError: the XML is not well-formed or not an annotation, or it has a document type declaration, which could
            define entities (expansion, other files).
    """
    try:
        root = fromstring(content, forbid_dtd=True)
    except DefusedXmlException:
        raise InputError(
            "has a document type declaration (<!DOCTYPE>), which may name other files; remove it"
        ) from None
    except (ParseError, ValueError, LookupError) as error:
        raise InputError(NOT_FETCHED if is_pointer(content) else f"is not well-formed XML: {error}") from None
    if root.tag != "annotation":
        raise InputError(f"the root element is <{root.tag}>, expected <annotation>")
    return root


def _text(element: Element, field: str) -> str:
    text = (element.findtext(field) or "").strip()
    if not text:
        raise InputError(f"field {field} is missing")
    return text


def _number(element: Element, field: str) -> float:
    text = _text(element, field)
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not abs(number) <= LARGEST:  # false for NaN too
        raise InputError(f"field {field} is '{text[:40]}', expected a number")
    return number


def _difficult(element: Element) -> bool:
    text = (element.findtext("difficult") or "0").strip()  # tools other than VOC's own leave it out
    if text not in ("0", "1"):
        raise InputError(f"field difficult is '{text}', expected 0 or 1")
    return text == "1"


def _box(element: Element, size: tuple[int, int] | None) -> Box:
    xmin, ymin, xmax, ymax = (_number(element, f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax"))
    written = f"bndbox ({xmin:g}, {ymin:g}, {xmax:g}, {ymax:g})"
    x1, y1, x2, y2 = xmin - 1, ymin - 1, xmax, ymax
    if size is not None:
        width, height = size
        for side, value, limit in (("xmin", xmin, width), ("xmax", xmax, width),
                                   ("ymin", ymin, height), ("ymax", ymax, height)):  # fmt: skip
            if not 1 - _CLIPPED_PIXELS <= value <= limit + _CLIPPED_PIXELS:
                raise InputError(f"{written}: {side} is outside the image of {width} x {height} pixels")
        x1, y1, x2, y2 = max(x1, 0.0), max(y1, 0.0), min(x2, width), min(y2, height)
    if xmax < xmin or ymax < ymin or x2 <= x1 or y2 <= y1:
        raise InputError(f"{written} has no area")
    return x1, y1, x2, y2


def parse_split(content: bytes, source: str) -> tuple[str, ...]:
    """The image ids in a list, one a line; InputError that begins with `source` and names the line."""
    try:
        lines = content.decode(ENCODING).splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{source}: cannot be read as a list of image ids: {error}") from None
    numbered = [(number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]
    for number, name in numbered:
        if len(name.split()) > 1:
            raise InputError(
                f"{source}: line {number} has {len(name.split())} fields; a split has one image id a line "
                "(lists such as car_train.txt with a flag for each image are not splits)"
            )
        check_file_name(name, f"{source}: line {number}")
    ids = tuple(name for _, name in numbered)
    for row, first in repeated(ids):
        raise InputError(
            f"{source}: line {numbered[row][0]} lists {ids[row]} again, first on line {numbered[first][0]}"
        )
    if not ids:
        raise InputError(f"{source}: lists no image")
    return ids


def check_file_name(name: str, where: str) -> None:
    """InputError that begins with `where` if a name in a list is not that of a file inside the data set."""
    if not name.isprintable():
        raise InputError(f"{where}: {name!r} is not the name of a file")
    if ".." in Path(name).parts or Path(name).is_absolute():
        raise InputError(f"{where}: '{name}' points outside the data set")
