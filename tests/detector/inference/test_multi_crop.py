"""The crops of section 7, each compared with the rectangle of the image that it has to show.

The images encode their coordinates: red grows to the right, green downwards. The tests derive the source of each pixel
of a crop from the paper's words, independently of the code, and interpolate there.
"""

from collections.abc import Iterator

import numpy as np
import pytest

from detector.inference.multi_crop import multi_crop

Rectangle = tuple[float, float, float]  # left, top and side in the resized image


def picture(width: int, height: int) -> np.ndarray:
    red, green = (np.round(np.arange(n) * 255 / max(1, n - 1)).astype(np.uint8) for n in (width, height))
    blue = np.full((height, width), 77, np.uint8)
    return np.dstack((np.tile(red, (height, 1)), np.tile(green[:, None], (1, width)), blue))


def squares(width: int, height: int, short: int) -> tuple[int, int, list[tuple[int, int]]]:
    """Size of the resized image, and the corners of its three squares."""
    long = round(max(width, height) * short / min(width, height))
    starts = [0, (long - short) // 2, long - short]
    if width >= height:
        return long, short, [(s, 0) for s in starts]
    return short, long, [(0, s) for s in starts]


def paper_crops(width: int, height: int, size: int = 224) -> Iterator[tuple[int, int, Rectangle]]:
    """Width and height of the resized image and a rectangle in it, in the order: scale, square, position."""
    for scale in (256, 288, 320, 352):
        side = round(scale * size / 224)
        new_width, new_height, corners = squares(width, height, side)
        for x, y in corners:
            slack = side - size
            offsets = [(0, 0), (slack, 0), (0, slack), (slack, slack), (slack // 2, slack // 2)]
            for dx, dy in offsets:
                yield new_width, new_height, (x + dx, y + dy, size)
            yield new_width, new_height, (x, y, side)


def expected(image: np.ndarray, new_width: int, new_height: int, rectangle: Rectangle, size: int) -> np.ndarray:
    """(size, size, 2) red and green where the crop's pixels come from."""
    left, top, side = rectangle
    height, width = image.shape[:2]
    inside = (np.arange(size) + 0.5) * side / size
    x = (left + inside) * width / new_width - 0.5
    y = (top + inside) * height / new_height - 0.5
    red, green = np.interp(x, np.arange(width), image[0, :, 0]), np.interp(y, np.arange(height), image[:, 0, 1])
    return np.dstack((np.tile(red, (size, 1)), np.tile(green[:, None], (1, size))))


def assert_shows(crop: np.ndarray, image: np.ndarray, *rectangle, size: int = 224) -> None:
    assert (crop.shape, crop.dtype) == ((size, size, 3), np.uint8)
    difference = crop[:, :, :2] - expected(image, *rectangle, size)
    assert abs(difference).max() <= 3
    assert abs(difference.mean(axis=(0, 1))).max() < 0.3
    assert (crop[:, :, 2] == 77).all()


SHAPES = {
    "landscape": (500, 375),
    "portrait": (341, 510),
    "square": (300, 300),
    "of the first scale": (311, 256),
    "a pixel": (1, 1),
    "wide": (1200, 60),
    "tall": (40, 700),
}


@pytest.mark.parametrize("crops", [1, 10, 144])
@pytest.mark.parametrize(
    ("shape", "size"), [*((shape, 224) for shape in SHAPES.values()), ((200, 150), 64)], ids=[*SHAPES, "other size"]
)
def test_crops_show_the_papers_rectangles(shape: tuple[int, int], size: int, crops: int):
    """The 144 of the paper; the center square of the first scale: corners and center, each mirrored; the center."""
    image, rectangles = picture(*shape), [*paper_crops(*shape, size)]
    chosen = {1: rectangles[10:11], 10: rectangles[6:11], 144: rectangles}[crops]
    found = [*multi_crop(image, crops, size)]
    assert len(found) == crops
    for crop, rectangle in zip(found[:: 2 if crops > 1 else 1], chosen, strict=True):
        assert_shows(crop, image, *rectangle, size=size)
    for crop, flipped in zip(found[::2], found[1::2], strict=crops > 1):
        np.testing.assert_array_equal(flipped, crop[:, ::-1])
