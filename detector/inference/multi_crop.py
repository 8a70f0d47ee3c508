"""Multi-crop testing of classifiers: 1, 10 or the 144 crops of an image of the GoogLeNet paper (section 7).

144: resize the image to short sides of 256, 288, 320 and 352. Take the left, center and right square of each (top,
center and bottom in portraits). From each square take the four corners and the center at 224, and the whole square
resized to 224. Add the mirror image of each crop: 4 x 3 x 6 x 2 in all.

10: the four corners and the center of the center square at short side 256, each also mirrored (Krizhevsky et al.,
2012). 1: the center alone.
"""

from collections.abc import Iterator

import numpy as np

from detector.ops.transforms import resize

CROPS = (1, 10, 144)
"""The supported numbers of crops."""
SHORT_SIDES = (256, 288, 320, 352)
"""Short sides in pixels for 224-pixel inputs; they scale with the input size."""


def multi_crop(pixels: np.ndarray, crops: int, size: int = 224) -> Iterator[np.ndarray]:
    """The crops of an image.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        crops: 1, 10 or 144.
        size: side of a crop in pixels.

    Yields:
        (size, size, 3) uint8 RGB.
    """
    height, width = pixels.shape[:2]
    for side in (round(side * size / 224) for side in (SHORT_SIDES if crops == 144 else SHORT_SIDES[:1])):
        factor = side / min(height, width)
        squares = _squares(resize(pixels, (max(side, round(width * factor)), max(side, round(height * factor)))))
        for square in squares if crops == 144 else squares[1:2]:
            start = (len(square) - size) // 2
            center = square[start : start + size, start : start + size]
            if crops == 1:
                yield center
                continue
            ends = (slice(size), slice(-size, None))
            corners = [square[y, x] for y in ends for x in ends]
            whole = [resize(square, (size, size))] if crops == 144 else []
            for crop in (*corners, center, *whole):
                yield crop
                yield crop[:, ::-1]


def _squares(image: np.ndarray) -> list[np.ndarray]:
    """The left, center and right square of a landscape; the top, center and bottom one of a portrait."""
    height, width = image.shape[:2]
    side, slack = min(height, width), abs(height - width)
    starts = (0, slack // 2, slack)
    return [image[:, s : s + side] if width >= height else image[s : s + side] for s in starts]
