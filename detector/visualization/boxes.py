"""Boxes and labels drawn on a photo, readable at any size."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

PALETTE = (
    *("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#9933FF", "#333300", "#CCFFCC"),
    *("#660066", "#00FFFF", "#003399", "#99CC66", "#FF0066", "#CC66FF", "#993333", "#3300FF", "#99FF99", "#CCCCCC"),
)
"""The first seven are Okabe and Ito's (jfly.uni-koeln.de/color). Each other is the web color farthest from those before
it in CIELAB, the nearer of its distances for full color vision and, weighted by 1.5, without one kind of cones (Machado
et al., 2009): no two are nearer than 22, and than 15 for color-blind readers."""
_SHADES = 4
"""Shades of a class's color that tell boxes in a crowd apart."""

# Labels shrink if together they would cover more than this share of the photo,
_SHRINK_SHARE = 0.12
# and those beyond this share are left out.
_LARGEST_SHARE = 0.3
# Font sizes that a label tries before it falls back to its last word.
_FACTORS = (1.0, 0.8, 0.64)
_SMALLEST_FONT = 10

_Rectangle = tuple[int, int, int, int]
_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True)
class Mark:
    """A box to draw.

    Attributes:
        box: (x1, y1, x2, y2) in pixels, right and bottom exclusive.
        text: the label; where it does not fit, its last word is drawn (of "cat 0.97" the score).
        color: "#RRGGBB".
    """

    box: tuple[float, float, float, float]
    text: str
    color: str


@dataclass(frozen=True)
class _Label:
    text: str
    font: _Font
    box: _Rectangle
    color: str


def draw_marks(pixels: np.ndarray, marks: Sequence[Mark]) -> np.ndarray:
    """Draws boxes and their labels on a copy of a photo, the first mark on top.

    Lines and letters scale with the photo. Labels stay inside the photo, never overlap each other and hide as little
    of the objects as possible. Earlier marks choose first; a label that does not fit is drawn smaller, reduced to its
    last word, or left out.

    Args:
        pixels: (H, W, 3) uint8 RGB.
    """
    picture = PillowImage.fromarray(draw_boxes(pixels, [m.box for m in marks], [m.color for m in marks]))
    draw = ImageDraw.Draw(picture)
    scale = (picture.width * picture.height) ** 0.5
    for label in _labels(marks, max(11, round(scale / 30)), picture.size):
        x1, y1, x2, y2 = label.box
        draw.rectangle((x1, y1, x2 - 1, y2 - 1), fill=label.color)
        draw.text(((x1 + x2) / 2, (y1 + y2) / 2), label.text, _contrast(label.color), label.font, anchor="mm")
    return np.array(picture)


def draw_boxes(pixels: np.ndarray, boxes: Iterable[Sequence[float]], colors: Iterable[str]) -> np.ndarray:
    """Draws the outlines of boxes on a copy of a photo, the first on top.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        boxes: xyxy in pixels.
        colors: "#RRGGBB" for each box.
    """
    picture = PillowImage.fromarray(pixels)
    draw = ImageDraw.Draw(picture)
    scale = (picture.width * picture.height) ** 0.5
    line = max(1 if scale < 150 else 2, round(scale / 200))
    for box, color in reversed(list(zip(boxes, colors, strict=True))):
        x1, y1, x2, y2 = round(box[0]), round(box[1]), round(box[2]) - 1, round(box[3]) - 1
        x2, y2 = max(x1, x2), max(y1, y2)
        draw.rectangle((x1, y1, x2, y2), outline=color, width=line)
        if min(x2 - x1, y2 - y1) > max(16, 4 * line):  # a thin contrasting line shows it on any background
            inner = (x1 + line, y1 + line, x2 - line, y2 - line)
            draw.rectangle(inner, outline=_contrast(color), width=max(1, line // 3))
    return np.array(picture)


def class_color(number: int) -> str:
    """The color of the class with this 1-based index, as "#RRGGBB".

    After the 20 colors of the palette come darker and lighter shades of them: first towards black or white, whichever
    is further away, then towards the other, then further towards each in turn.

    >>> class_color(1), class_color(21), class_color(41)
    ('#E69F00', '#674800', '#EEBC4D')
    """
    turn, index = divmod(number - 1, len(PALETTE))
    color = PALETTE[index]
    if not turn:
        return color
    to_black = (_contrast(color) == "black") == bool(turn % 2)
    share = 1 - (0.45 if turn % 2 else 0.7) ** ((turn + 1) // 2)
    end = 0 if to_black else 255
    return "#" + "".join(f"{round(value + (end - value) * share):02X}" for value in bytes.fromhex(color[1:]))


def box_colors(boxes: np.ndarray, labels: np.ndarray, margin: float) -> list[str]:
    """The color of each box: that of its class, or a shade of it where a better box of the class is near, so that in a
    crowd a label shows by its color which box it is for.

    Args:
        boxes: (N, 4) xyxy in pixels, best first.
        labels: (N,) 0-based indices of the classes.
        margin: boxes are near if they overlap when each side moves outwards by so many pixels.
    """
    grown = boxes + np.array([-margin, -margin, margin, margin])
    near = (_intersections(grown, grown) > 0) & (labels[:, None] == labels)
    shades: list[int] = []
    for index in range(len(boxes)):
        taken = {shades[other] for other in np.flatnonzero(near[index, :index])}
        shades.append(next((shade for shade in range(_SHADES) if shade not in taken), index % _SHADES))
    return [class_color(label + 1 + shade * len(PALETTE)) for label, shade in zip(labels.tolist(), shades, strict=True)]


def _contrast(color: str) -> str:
    red, green, blue = bytes.fromhex(color[1:])
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 128 else "white"


def _labels(marks: Sequence[Mark], font_size: int, photo: tuple[int, int]) -> list[_Label]:
    """The labels that fit into a photo of (width, height), in the order of the marks."""
    boxes = np.array([mark.box for mark in marks], np.float64).reshape(-1, 4)
    sizes = [_label_size(mark.text, _font(mark.text, font_size, photo[0])) for mark in marks]
    area = sum(width * height for width, height in sizes)
    crowding = min(1.0, (_SHRINK_SHARE * photo[0] * photo[1] / area) ** 0.5) if area else 1.0
    labels: list[_Label] = []
    available = _LARGEST_SHARE * photo[0] * photo[1]
    for index, mark in enumerate(marks):
        attempts = [(mark.text, factor) for factor in _FACTORS]
        if index:  # the best label is always drawn in full, in any space
            attempts.append((mark.text.rpartition(" ")[2], _FACTORS[-1]))
        fonts = ((text, max(_SMALLEST_FONT, round(font_size * crowding * factor))) for text, factor in attempts)
        for text, size in dict.fromkeys(fonts):
            font = _font(text, size, photo[0])
            width, height = _label_size(text, font)
            if index and width * height > available:
                continue
            occupied = np.array([label.box for label in labels], np.int64).reshape(-1, 4)
            box = _position(index, boxes, (width, height), photo, occupied)
            if box is not None:
                available -= width * height
                labels.append(_Label(text, font, box, mark.color))
                break
    return labels


def _font(text: str, size: int, width: int) -> _Font:
    """The font at `size`, or smaller (down to 8) where the label would be wider than the photo."""
    font = _load(size)
    label_width = _label_size(text, font)[0]
    if label_width <= width or size <= 8:
        return font
    return _load(max(8, int(size * width / label_width)))


@lru_cache(maxsize=64)
def _load(size: int) -> _Font:
    return ImageFont.load_default(size)


def _label_size(text: str, font: _Font) -> tuple[int, int]:
    # The height of "Ag" for every label, so that all are equally high whatever their letters.
    _, top, _, bottom = font.getbbox("Ag")
    margin = max(2, round((bottom - top) / 4))
    return round(font.getbbox(text)[2]) + 2 * margin, round(bottom - top) + 2 * margin


def _position(
    index: int, boxes: np.ndarray, size: tuple[int, int], photo: tuple[int, int], occupied: np.ndarray
) -> _Rectangle | None:
    """Where to draw a label of `size`: above, inside, below or beside box `index`; None if all of these are occupied.

    The free position that hides the least of the objects wins, compared in tenths; ties go to the earlier one.
    """
    x1, y1, x2, y2 = (round(value) for value in boxes[index].tolist())
    width, height = size
    rows = (y1 - height, y1, y2, y2 - height)
    corners = [(x, y) for y, x in itertools.product(rows, (x1, x2 - width, (x1 + x2 - width) // 2))]
    corners += itertools.product((x2, x1 - width), (y1, y2 - height))
    low = np.maximum(np.minimum(corners, np.subtract(photo, size)), 0)
    positions = np.concatenate([low, low + size], axis=1)
    with_gap = occupied + np.array([-1, -1, 1, 1])  # so that labels of one color stay distinct
    free = positions[~(_intersections(positions, with_gap) > 0).any(axis=1)]
    if not len(free):
        return None
    hidden = _intersections(free, boxes) / (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    left, top, right, bottom = free[int(np.argmin(np.round(hidden.sum(axis=1), 1)))].tolist()
    return left, top, right, bottom


def _intersections(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(A, B) areas of the intersections of rectangles (A, 4) and (B, 4), in square pixels."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    return np.maximum(high - low, 0).prod(axis=2)
