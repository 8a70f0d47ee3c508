"""Boxes and labels drawn on a photo, readable at any size of it."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

PALETTE = (
    *("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7"),
    *("#332288", "#882255", "#DDDDDD", "#999933"),
)
"""The first seven are Okabe and Ito's (jfly.uni-koeln.de/color), the others from Paul Tol's "muted" scheme: both are
made for color-blind readers too."""

_SMALLEST_FONT = 10
# Labels get smaller where all together would cover more of the photo than this,
_LABELS_SHARE = 0.12
# and are left out where they would cover more than this.
_MOST_LABELS = 0.3
# What a label may do where it finds no room: shrink by these factors, then tell the score alone.
_SHRINKING = (1.0, 0.8, 0.64)

_Rectangle = tuple[int, int, int, int]
_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True)
class _Label:
    text: str
    font: _Font
    place: _Rectangle
    color: str


@dataclass(frozen=True)
class Mark:
    """A box to draw, (x1, y1, x2, y2) in pixels, right and bottom exclusive; its label, and its color "#RRGGBB".

    Where there is no room for the whole label, its last word is told: of "cat 0.97" the score.
    """

    box: tuple[float, float, float, float]
    text: str
    color: str


def draw_marks(pixels: np.ndarray, marks: Sequence[Mark]) -> np.ndarray:
    """A copy of `pixels`, (H, W, 3) uint8 RGB, with boxes and their labels, the first on top.

    Lines and letters grow with the photo. Labels stay inside it and never overlap; they hide as little of the objects
    as they can. The first marks choose first; where there is no room, a label gets smaller, tells its last word alone,
    or is left out.
    """
    picture = PillowImage.fromarray(draw_boxes(pixels, [m.box for m in marks], [m.color for m in marks]))
    draw = ImageDraw.Draw(picture)
    unit = (picture.width * picture.height) ** 0.5
    for label in _labels(marks, max(11, round(unit / 30)), picture.size):
        x1, y1, x2, y2 = label.place
        draw.rectangle((x1, y1, x2 - 1, y2 - 1), fill=label.color)
        draw.text(((x1 + x2) / 2, (y1 + y2) / 2), label.text, _contrast(label.color), label.font, anchor="mm")
    return np.array(picture)


def draw_boxes(pixels: np.ndarray, boxes: Iterable[Sequence[float]], colors: Iterable[str]) -> np.ndarray:
    """A copy of `pixels`, (H, W, 3) uint8 RGB, with the frames of boxes (xyxy pixels), the first on top, each in its
    color, "#RRGGBB"."""
    picture = PillowImage.fromarray(pixels)
    draw = ImageDraw.Draw(picture)
    unit = (picture.width * picture.height) ** 0.5
    line = max(1 if unit < 150 else 2, round(unit / 200))
    for box, color in reversed(list(zip(boxes, colors, strict=True))):
        _draw_box(draw, box, color, line)
    return np.array(picture)


def class_color(number: int) -> str:
    """The color of a class by its place among all, from 1 on, the same in every picture: "#E69F00".

    After the palette's 11 come darker and lighter shades of them: first towards black or white, whichever is further
    away, then towards the other, and so on by ever more.

    >>> class_color(1), class_color(12), class_color(23)
    ('#E69F00', '#674800', '#EEBC4D')
    """
    turn, index = divmod(number - 1, len(PALETTE))
    color = PALETTE[index]
    if not turn:
        return color
    to_black = (_contrast(color) == "black") == bool(turn % 2)
    share = 1 - (0.45 if turn % 2 else 0.7) ** ((turn + 1) // 2)
    end = 0 if to_black else 255
    return "#" + "".join(f"{round(value + (end - value) * share):02X}" for value in _parts(color))


def _parts(color: str) -> tuple[int, int, int]:
    red, green, blue = (int(color[start : start + 2], 16) for start in (1, 3, 5))
    return red, green, blue


def _contrast(color: str) -> str:
    red, green, blue = _parts(color)
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 128 else "white"


def _draw_box(draw: ImageDraw.ImageDraw, box: Sequence[float], color: str, line: int) -> None:
    """The frame lies on the inner edge of the box; thin lines of contrast show it on any background."""
    x1, y1, x2, y2 = round(box[0]), round(box[1]), round(box[2]) - 1, round(box[3]) - 1
    x2, y2 = max(x1, x2), max(y1, y2)
    draw.rectangle((x1, y1, x2, y2), outline=color, width=line)
    if min(x2 - x1, y2 - y1) > max(16, 4 * line):
        edge = max(1, line // 3)
        inner = (x1 + line, y1 + line, x2 - line, y2 - line)
        draw.rectangle(inner, outline=_contrast(color), width=edge)


def _labels(marks: Sequence[Mark], font_size: int, photo: tuple[int, int]) -> list[_Label]:
    """The labels that have room, in the order of the marks."""
    texts = [mark.text for mark in marks]
    boxes = np.array([mark.box for mark in marks], np.float64).reshape(-1, 4)
    sizes = [_label_size(text, _font(text, font_size, photo[0])) for text in texts]
    area = sum(width * height for width, height in sizes)
    crowding = min(1.0, (_LABELS_SHARE * photo[0] * photo[1] / area) ** 0.5) if area else 1.0
    labels: list[_Label] = []
    taken = np.zeros((0, 4), np.int64)
    room = _MOST_LABELS * photo[0] * photo[1]
    for index, (mark, text) in enumerate(zip(marks, texts, strict=True)):
        attempts = [(text, factor) for factor in _SHRINKING]
        if index:  # the first has all the room there is, and is told in full however small that is
            attempts.append((text.rpartition(" ")[2], _SHRINKING[-1]))
        tried: set[tuple[str, int]] = set()
        for written, factor in attempts:
            size = max(_SMALLEST_FONT, round(font_size * crowding * factor))
            if (written, size) in tried:
                continue
            tried.add((written, size))
            font = _font(written, size, photo[0])
            width, height = _label_size(written, font)
            if index and width * height > room:
                continue
            place = _place(index, boxes, (width, height), photo, taken)
            if place is not None:
                room -= width * height
                labels.append(_Label(written, font, place, mark.color))
                taken = np.concatenate([taken, [place]])
                break
    return labels


def _font(text: str, size: int, width: int) -> _Font:
    """The font at `size`, or smaller (not below 8) where the label would be wider than the photo."""
    font = _load(size)
    label_width = _label_size(text, font)[0]
    if label_width <= width or size <= 8:
        return font
    return _load(max(8, int(size * width / label_width)))


@lru_cache(maxsize=64)
def _load(size: int) -> _Font:
    return ImageFont.load_default(size)


def _label_size(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> tuple[int, int]:
    # The height of "Ag" serves every label, so that all are alike whatever letters they have.
    _, top, _, bottom = font.getbbox("Ag")
    margin = max(2, round((bottom - top) / 4))
    return round(font.getbbox(text)[2]) + 2 * margin, round(bottom - top) + 2 * margin


def _place(
    index: int, boxes: np.ndarray, size: tuple[int, int], photo: tuple[int, int], taken: np.ndarray
) -> _Rectangle | None:
    """A place for a label of `size` above, inside or below box `index`, or beside it; None if all are taken.

    Of the free ones that which hides least of the objects, counted in tenths, and of equal ones the first.
    """
    x1, y1, x2, y2 = (round(value) for value in boxes[index].tolist())
    width, height = size
    columns = (x1, x2 - width, (x1 + x2 - width) // 2)
    rows = (y1 - height, y1, y2, y2 - height)
    corners = [(x, y) for y, x in itertools.product(rows, columns)]
    corners += [(x, y) for x, y in itertools.product((x2, x1 - width), (y1, y2 - height))]
    places = np.array([_moved_inside(x, y, size, photo) for x, y in corners])
    apart = taken + np.array([-1, -1, 1, 1])  # a gap, by which labels of one color are told apart
    free = places[~(_overlaps(places, apart) > 0).any(axis=1)]
    if not len(free):
        return None
    hidden = _overlaps(free, boxes) / (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    a, b, c, d = free[int(np.argmin(np.round(hidden.sum(axis=1), 1)))].tolist()
    return a, b, c, d


def _moved_inside(x: int, y: int, size: tuple[int, int], photo: tuple[int, int]) -> _Rectangle:
    x = max(0, min(x, photo[0] - size[0]))
    y = max(0, min(y, photo[1] - size[1]))
    return x, y, x + size[0], y + size[1]


def _overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(A, B) square pixels that the rectangles (A, 4) and (B, 4) have in common."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    return np.maximum(high - low, 0).prod(axis=2)
