from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from proposals.color import color_planes
from proposals.config import COLOR_SPACES, ColorSpace

CHANNELS: dict[ColorSpace, int] = {"RGB": 3, "I": 1, "Lab": 3, "rgI": 3, "HSV": 3, "rgb": 3, "C": 2, "H": 1}
assert tuple(CHANNELS) == COLOR_SPACES


def skimage_color() -> Any:
    return pytest.importorskip("skimage.color")


def luma(image: np.ndarray) -> np.ndarray:
    return image @ np.array([0.299, 0.587, 0.114])


def shares(image: np.ndarray) -> np.ndarray:
    """Each channel divided by the sum of the three; a third for black."""
    total = image.sum(axis=2, keepdims=True, dtype=float)
    return np.divide(image, total, out=np.full(image.shape, 1 / 3), where=total > 0)


def by_hand(image: np.ndarray, space: ColorSpace) -> np.ndarray:
    """(H, W, channels) floats of 0..255."""
    if space == "RGB":
        return image.astype(float)
    if space == "I":
        return luma(image)[:, :, None]
    if space == "Lab":
        return skimage_color().rgb2lab(image) * (255 / 100, 1, 1) + (0, 128, 128)
    if space == "HSV":
        return skimage_color().rgb2hsv(image) * (256, 255, 255)
    if space == "H":
        return by_hand(image, "HSV")[:, :, :1]
    if space == "rgb":
        return 255 * shares(image)
    if space == "rgI":
        return np.dstack([255 * shares(image)[:, :, :2], luma(image)])
    r, g, b = np.moveaxis(shares(image), 2, 0)
    return 255 * np.dstack([(r - g + 1) / 2, (r + g - 2 * b + 2) / 3])


def distance(planes: np.ndarray, expected: np.ndarray, space: ColorSpace) -> np.ndarray:
    """(channels,) largest difference; hue 255 is next to hue 0."""
    difference = np.abs(planes.transpose(1, 2, 0) - expected)
    if space in ("HSV", "H"):
        difference[:, :, 0] = np.minimum(difference[:, :, 0], 256 - difference[:, :, 0])
    return difference.max(axis=(0, 1))


@pytest.fixture(scope="module")
def many_colors() -> np.ndarray:
    """Every color whose channels are multiples of five, 140,608 in all."""
    steps = np.arange(0, 256, 5, dtype=np.uint8)
    return np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=3).reshape(52 * 26, -1, 3)


@pytest.mark.parametrize(
    ("space", "rounding"),
    [
        ("RGB", 0),
        ("rgb", 0.5),
        ("C", 0.5),
        ("I", 0.51),
        ("rgI", 0.51),
        ("HSV", 0.65),
        ("H", 0.65),
        ("Lab", 2.2),  # OpenCV looks up rounded values of the cube root
    ],
)
def test_the_conversion_equals_the_formula(many_colors: np.ndarray, space: ColorSpace, rounding: float) -> None:
    planes = color_planes(many_colors, space)
    assert planes.dtype == np.uint8
    assert distance(planes, by_hand(many_colors, space), space).max() <= rounding + 1e-6


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        ("RGB", lambda v: (v, v, v)),
        ("I", lambda v: (v,)),
        ("rgI", lambda v: (85, 85, v)),
        ("HSV", lambda v: (0, 0, v)),
        ("rgb", lambda v: (85, 85, 85)),
        ("C", lambda v: (128, 170)),
        ("H", lambda v: (0,)),
    ],
)
def test_gray_and_black_have_no_color(space: ColorSpace, expected: Callable[[int], tuple[int, ...]]) -> None:
    grays = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    found = color_planes(grays, space).reshape(CHANNELS[space], 256)
    assert found.T.tolist() == [list(expected(value)) for value in range(256)]
