"""The annotation of one image in PASCAL VOC's XML.

This is the one place where VOC's boxes (1-based, both ends inclusive) become the boxes used everywhere else
(0-based, right and bottom exclusive): (xmin - 1, ymin - 1, xmax, ymax).
"""

from collections import Counter
from collections.abc import Mapping
from xml.etree import ElementTree

import defusedxml.ElementTree
import numpy as np
from defusedxml import DefusedXmlException

from detector.data.annotations import Annotations
from detector.errors import InputError

# Published annotations, and tools that count from 0, leave coordinates one pixel outside the image. Those are
# clipped; anything further out means a wrong file or a wrong image size, which clipping would hide.
_CLIPPED_PIXELS = 1.0


def parse_annotation(
    content: bytes, labels: Mapping[str, int], others: Counter[str] | None = None
) -> Annotations:
    """The annotated objects of an image.

    Args:
        labels: label of each class by its name.
        others: objects of other classes are left out and counted in it; None: they are an error.

    Raises:
        InputError: not well-formed, or a missing or wrong field; names the object and the field.
    """
    root = _parse_xml(content)
    size = (_size(root, "width"), _size(root, "height"))
    boxes, found, difficult = [], [], []
    for number, element in enumerate(root.iterfind("object"), start=1):
        try:
            name = _text(element, "name")
            if name not in labels:
                if others is not None:
                    others[name] += 1
                    continue
                raise InputError(f"unknown class '{name}', known are {', '.join(labels)}")
            boxes.append(_box(element, size))
            found.append(labels[name])
            difficult.append(_difficult(element))
        except InputError as error:
            raise InputError(f"object {number}: {error}") from error
    return Annotations(np.array(boxes, np.float32), np.array(found), np.array(difficult), size)


def _parse_xml(content: bytes) -> ElementTree.Element:
    """The root <annotation>; a document type is refused, and with it every entity (expansion, other files)."""
    try:
        root = defusedxml.ElementTree.fromstring(content, forbid_dtd=True)
    except DefusedXmlException:
        raise InputError(
            "has a document type declaration (<!DOCTYPE>), which may name other files; remove it"
        ) from None
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise InputError(f"is not well-formed XML: {error}") from error
    if root.tag != "annotation":
        raise InputError(f"the root element is <{root.tag}>, expected <annotation>")
    return root


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
