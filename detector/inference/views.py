"""The crops of an image that are classified: 1, 10, or the 144 of the GoogLeNet paper (section 7).

144: the image is resized to short sides of 256, 288, 320 and 352; of each the left, center and right square are taken
(top, center and bottom of a portrait); of each square the four corners and the center at 224 and the whole square
resized to 224; each also mirrored: 4 x 3 x 6 x 2.

10: four corners and center of the center square of short side 256, each also mirrored (Krizhevsky et al., 2012).
1: the center.
"""

from collections.abc import Iterator

import numpy as np

from detector.ops.transforms import resize

CROPS = (1, 10, 144)
SHORT_SIDES = (256, 288, 320, 352)
"""For inputs of 224 pixels; they grow and shrink with the input."""


def views(pixels: np.ndarray, crops: int, size: int = 224) -> Iterator[np.ndarray]:
    """The crops of an image.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        crops: 1, 10 or 144.
        size: pixels of a side of a crop.

    Yields:
        (size, size, 3) uint8.

    Raises:
        ValueError: another number of crops.
    """
    if crops not in CROPS:
        raise ValueError(f"crops is {crops}; known are {', '.join(map(str, CROPS))}")
    sides = SHORT_SIDES if crops == 144 else SHORT_SIDES[:1]
    for side in (round(side * size / 224) for side in sides):
        image = resize_short_side(pixels, side)
        squares = _squares(image)
        for square in squares if crops == 144 else squares[1:2]:
            if crops == 1:
                yield _center(square, size)
                continue
            parts = [*_corners(square, size), _center(square, size)]
            if crops == 144:
                parts.append(resize(square, (size, size)))
            for part in parts:
                yield part
                yield part[:, ::-1]


def resize_short_side(pixels: np.ndarray, side: int) -> np.ndarray:
    """The image resized so that its short side is `side` pixels."""
    height, width = pixels.shape[:2]
    factor = side / min(height, width)
    return resize(pixels, (max(side, round(width * factor)), max(side, round(height * factor))))


def _squares(image: np.ndarray) -> list[np.ndarray]:
    """Left, center and right square; top, center and bottom of a portrait."""
    height, width = image.shape[:2]
    side, room = min(height, width), abs(height - width)
    starts = (0, room // 2, room)
    return [image[:, s : s + side] if width >= height else image[s : s + side] for s in starts]


def _center(square: np.ndarray, size: int) -> np.ndarray:
    start = (len(square) - size) // 2
    return square[start : start + size, start : start + size]


def _corners(square: np.ndarray, size: int) -> list[np.ndarray]:
    return [square[:size, :size], square[:size, -size:], square[-size:, :size], square[-size:, -size:]]
