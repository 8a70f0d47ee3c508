"""Boxes and labels drawn on a photo, readable at any size of it."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

if TYPE_CHECKING:
    from detector.detections import Detections

PALETTE = (
    *("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7"),
    *("#332288", "#882255", "#DDDDDD", "#999933"),
)
"""Colour of class `i`: entry `i % 11`. The first seven are Okabe and Ito's (jfly.uni-koeln.de/color), the
others from Paul Tol's "muted" scheme: both are made for colour-blind readers too."""

_Rectangle = tuple[int, int, int, int]


Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Mark:
    """A box (x1, y1, x2, y2) to draw, in pixels, right and bottom exclusive; its label and its colour "#RRGGBB"."""

    box: Box
    text: str
    colour: str


def draw_detections(pixels: np.ndarray, detections: "Detections") -> np.ndarray:
    """A copy of `pixels`, (H, W, 3) uint8 RGB, with the box, label and score of each detection, the best on top."""
    marks = [Mark(found.box, f"{found.label} {found.score:.2f}", _colour(found.category_id)) for found in detections]
    return draw_marks(pixels, marks)


def draw_marks(pixels: np.ndarray, marks: Sequence[Mark]) -> np.ndarray:
    """A copy of `pixels`, (H, W, 3) uint8 RGB, with boxes and their labels.

    Lines and letters grow with the photo. Labels stay inside it and avoid each other where there is room; the
    first marks choose first and lie on top.
    """
    picture = PillowImage.fromarray(pixels)
    draw = ImageDraw.Draw(picture)
    unit = (picture.width * picture.height) ** 0.5
    line = max(2, round(unit / 200))
    font_size = max(11, round(unit / 30))
    for mark in reversed(marks):
        _draw_box(draw, mark.box, mark.colour, line)
    taken: list[_Rectangle] = []
    labels = []
    for mark in marks:
        font = _fitting_font(mark.text, font_size, picture.width)
        place = _place(mark.box, _label_size(mark.text, font), picture.size, taken)
        taken.append(place)
        labels.append((mark.text, font, place, mark.colour))
    for text, font, place, colour in reversed(labels):
        x1, y1, x2, y2 = place
        draw.rectangle((x1, y1, x2 - 1, y2 - 1), fill=colour)
        draw.text(((x1 + x2) / 2, (y1 + y2) / 2), text, _contrast(colour), font, anchor="mm")
    return np.array(picture)


def _colour(category_id: int) -> str:
    return PALETTE[(category_id - 1) % len(PALETTE)]


def _contrast(colour: str) -> str:
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 128 else "white"


def _draw_box(draw: ImageDraw.ImageDraw, box: Box, colour: str, line: int) -> None:
    """The frame lies on the inner edge of the box; thin lines of contrast show it on any background."""
    x1, y1, x2, y2 = round(box[0]), round(box[1]), round(box[2]) - 1, round(box[3]) - 1
    x2, y2 = max(x1, x2), max(y1, y2)
    draw.rectangle((x1, y1, x2, y2), outline=colour, width=line)
    if min(x2 - x1, y2 - y1) > 4 * line:
        edge = max(1, line // 3)
        inner = (x1 + line, y1 + line, x2 - line, y2 - line)
        draw.rectangle(inner, outline=_contrast(colour), width=edge)


def _fitting_font(text: str, size: int, width: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font at `size`, or smaller (not below 8) where the label would be wider than the photo."""
    font = ImageFont.load_default(size)
    label_width = _label_size(text, font)[0]
    if label_width <= width or size <= 8:
        return font
    return ImageFont.load_default(max(8, int(size * width / label_width)))


def _label_size(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> tuple[int, int]:
    # The height of "Ag" serves every label, so that all are alike whatever letters they have.
    _, top, _, bottom = font.getbbox("Ag")
    margin = max(2, round((bottom - top) / 4))
    return round(font.getbbox(text)[2]) + 2 * margin, round(bottom - top) + 2 * margin


def _place(
    box: Box,
    size: tuple[int, int],
    photo: tuple[int, int],
    taken: list[_Rectangle],
) -> _Rectangle:
    """The first free place for a label of `size` above, inside or below the box, or else the first."""
    x1, y1, x2, y2 = (round(value) for value in box)
    width, height = size
    columns = (x1, x2 - width)
    rows = (y1 - height, y1, y2, y2 - height)
    places = [_moved_inside(x, y, size, photo) for y, x in itertools.product(rows, columns)]
    free = (place for place in places if not any(_overlap(place, other) for other in taken))
    return next(free, places[0])


def _moved_inside(x: int, y: int, size: tuple[int, int], photo: tuple[int, int]) -> _Rectangle:
    x = max(0, min(x, photo[0] - size[0]))
    y = max(0, min(y, photo[1] - size[1]))
    return x, y, x + size[0], y + size[1]


def _overlap(a: _Rectangle, b: _Rectangle) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
