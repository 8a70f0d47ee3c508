"""An image's annotation in PASCAL VOC's XML.

This is the one place where VOC's boxes (1-based, both ends inclusive) become the boxes used everywhere else
(0-based, right and bottom exclusive): (xmin - 1, ymin - 1, xmax, ymax).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from detector.data.ground_truth import LARGEST
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


@dataclass(frozen=True, kw_only=True)
class VOCObjects:
    """The objects of one annotation.

    Attributes:
        boxes: x1, y1, x2, y2 in pixels, 0-based, right and bottom exclusive, of an area above 0 inside the image.
        labels: of the same length, as the mapping given to the parser has them.
        difficult: of the same length.
        numbers: of the same length, positions among the annotation's objects, from 1.
        image_size: width and height in pixels.
    """

    boxes: tuple[Box, ...]
    labels: tuple[int, ...]
    difficult: tuple[bool, ...]
    numbers: tuple[int, ...]
    image_size: tuple[int, int]


def parse_annotation(
    content: bytes,
    labels: Mapping[str, int],
    on_fault: Callable[[str, str], None],
    *,
    on_other_class: Callable[[str, str], None] | None = None,
    ignore_other_classes: bool = False,
    inside: bool = True,
) -> VOCObjects:
    """The objects in an annotation.

    Args:
        content: the XML file.
        labels: the label of each class.
        on_fault: called with the record ("object 2", or "" for the file) and the fault. If it returns, the parser
            skips the record, so that all faults of a file can be collected.
        on_other_class: called instead of `on_fault` for an object of a class that is not in `labels`.
        ignore_other_classes: leave out objects of classes that are not in `labels`; otherwise they are faults.
        inside: clip boxes that leave the image by a pixel, and report those that leave it by more. Otherwise boxes
            stay as written, as in the development kit's evaluation.
    """
    try:
        root = parse_xml(content)
        size = image_size(root)
    except InputError as error:
        on_fault("", str(error))
        return VOCObjects(boxes=(), labels=(), difficult=(), numbers=(), image_size=(0, 0))
    objects: list[tuple[Box, int, bool, int]] = []
    for number, element in enumerate(root.iterfind("object"), start=1):
        name = (element.findtext("name") or "").strip()
        if name and name not in labels:
            if not ignore_other_classes:
                report = on_other_class or on_fault
                report(f"object {number}", f"unknown class '{name}', known are {', '.join(labels)}")
            continue
        try:
            label = labels[text_of(element, "name")]
            objects.append((box_of(element, size if inside else None), label, _difficult(element), number))
        except InputError as error:
            on_fault(f"object {number}", str(error))
    boxes, labels_, difficult, numbers = zip(*objects, strict=True) if objects else ((),) * 4
    return VOCObjects(boxes=boxes, labels=labels_, difficult=difficult, numbers=numbers, image_size=size)


def parse_xml(content: bytes) -> Element:
    """The root of an annotation.

    Raises:
        InputError: the XML is not well-formed or not an annotation, or it has a document type declaration, which could
            define entities (expansion, other files).
    """
    try:
        root = fromstring(content, forbid_dtd=True)
    except DefusedXmlException as error:
        raise InputError(
            "has a document type declaration (<!DOCTYPE>), which may name other files; remove it"
        ) from error
    except (ParseError, ValueError, LookupError) as error:
        if is_pointer(content):
            raise InputError(NOT_FETCHED) from None
        raise InputError(f"is not well-formed XML: {error}") from error
    if root.tag != "annotation":
        raise InputError(f"the root element is <{root.tag}>, expected <annotation>")
    return root


def image_size(root: Element) -> tuple[int, int]:
    """Width and height of the image in pixels; InputError unless they are positive whole numbers."""
    sides = []
    for side in ("width", "height"):
        number = number_of(root, f"size/{side}")
        if not 1 <= number < 2**31 or number != int(number):
            raise InputError(f"field size/{side} is {number:g}, expected a positive whole number")
        sides.append(int(number))
    return sides[0], sides[1]


def text_of(element: Element, field: str) -> str:
    """The text of a field; InputError if it is missing or empty."""
    text = (element.findtext(field) or "").strip()
    if not text:
        raise InputError(f"field {field} is missing")
    return text


def number_of(element: Element, field: str) -> float:
    """The finite number in a field; InputError if there is no such number."""
    text = text_of(element, field)
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not abs(number) <= LARGEST:  # false for NaN too
        raise InputError(f"field {field} is '{text[:40]}', expected a number")
    return number


def _difficult(element: Element) -> bool:
    """The flag `difficult`; annotation tools other than VOC's own leave it out, which means 0."""
    text = (element.findtext("difficult") or "0").strip()
    if text not in ("0", "1"):
        raise InputError(f"field difficult is '{text}', expected 0 or 1")
    return text == "1"


def box_of(element: Element, size: tuple[int, int] | None) -> Box:
    """The box in pixels, 0-based, right and bottom exclusive, from VOC's 1-based inclusive one.

    Raises:
        InputError: it has no area, or leaves an image of `size` by more than a pixel; by a pixel it is clipped.
    """
    xmin, ymin, xmax, ymax = (number_of(element, f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax"))
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
        raise InputError(f"{source}: cannot be read as a list of image ids: {error}") from error
    ids: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) > 1:
            raise InputError(
                f"{source}: line {number} has {len(fields)} fields; a split has one image id a line "
                "(lists such as car_train.txt with a flag for each image are not splits)"
            )
        if not fields[0].isprintable():
            raise InputError(f"{source}: line {number} is {fields[0]!r}, which is not the name of a file")
        if ".." in Path(fields[0]).parts or Path(fields[0]).is_absolute():
            raise InputError(f"{source}: line {number} is '{fields[0]}', which points outside the data set")
        if fields[0] in ids:
            raise InputError(f"{source}: line {number} lists {fields[0]} again, first on line {ids[fields[0]]}")
        ids[fields[0]] = number
    if not ids:
        raise InputError(f"{source}: lists no image")
    return tuple(ids)
