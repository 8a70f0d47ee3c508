from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from proposals.color import color_planes
from proposals.config import COLOR_SPACES, ColorSpace

CHANNELS: dict[ColorSpace, int] = {"RGB": 3, "I": 1, "Lab": 3, "rgI": 3, "HSV": 3, "rgb": 3, "C": 2, "H": 1}
assert tuple(CHANNELS) == COLOR_SPACES
EVERY_SPACE = pytest.mark.parametrize("space", CHANNELS)


def images(highest: int = 255) -> st.SearchStrategy[np.ndarray]:
    shapes = st.tuples(st.integers(1, 6), st.integers(1, 6), st.just(3))
    return shapes.flatmap(lambda shape: arrays(np.uint8, shape, elements=st.integers(0, highest)))


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
    assert distance(planes, by_hand(many_colors, space), space).max() <= rounding + 1e-6


def test_lab_differs_by_more_than_rounding_in_few_colors(many_colors: np.ndarray) -> None:
    difference = np.abs(color_planes(many_colors, "Lab").transpose(1, 2, 0) - by_hand(many_colors, "Lab"))
    assert (difference > 1).mean() < 0.01


@EVERY_SPACE
def test_every_channel_uses_the_range_of_bytes(many_colors: np.ndarray, space: ColorSpace) -> None:
    planes = color_planes(many_colors, space)
    for lowest, highest in zip(planes.min(axis=(1, 2)), planes.max(axis=(1, 2)), strict=True):
        # The a and b of Lab do not reach the ends for colors of sRGB.
        assert (lowest <= 45 and highest >= 220) if space == "Lab" else (lowest == 0 and highest >= 254)


@EVERY_SPACE
@settings(max_examples=25, deadline=None)
@given(image=images())
def test_planes_are_channels_of_bytes(space: ColorSpace, image: np.ndarray) -> None:
    planes = color_planes(image, space)
    assert planes.shape == (CHANNELS[space], *image.shape[:2])
    assert planes.dtype == np.uint8
    assert planes.flags.c_contiguous
    # Each pixel is converted by itself.
    pixel = color_planes(image[-1:, -1:], space)
    np.testing.assert_array_equal(pixel[:, 0, 0], planes[:, -1, -1])


@EVERY_SPACE
def test_any_memory_layout(photo: np.ndarray, space: ColorSpace) -> None:
    image = photo[:40, :60].copy()
    image.setflags(write=False)
    for view in (
        image[::-1, ::-1],
        image[1::2, ::3],
        image.transpose(1, 0, 2),
        np.asfortranarray(image),
        image[:, :, ::-1],
    ):
        np.testing.assert_array_equal(color_planes(view, space), color_planes(np.ascontiguousarray(view), space))


@EVERY_SPACE
def test_the_planes_are_a_copy(space: ColorSpace) -> None:
    image = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    before = image.copy()
    color_planes(image, space)[:] = 0
    np.testing.assert_array_equal(image, before)


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


def test_gray_in_lab_has_lightness_only() -> None:
    grays = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    lightness, a, b = color_planes(grays, "Lab")
    assert (a == 128).all()
    assert (b == 128).all()
    assert (np.diff(lightness.ravel().astype(int)) >= 0).all()
    assert lightness.ravel()[[0, 255]].tolist() == [0, 255]


def test_pure_colors() -> None:
    colors = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [0, 0, 0]]], np.uint8)
    hsv = color_planes(colors, "HSV")
    assert hsv[0, 0, :3].tolist() == [0, 85, 171]  # 0, 120 and 240 degrees of 256 steps
    assert hsv[1, 0].tolist() == [255, 255, 255, 0, 0]
    assert hsv[2, 0].tolist() == [255, 255, 255, 255, 0]
    lab = color_planes(colors, "Lab")
    # CIE L*a*b* of sRGB red is (53.2, 80.1, 67.2).
    assert lab[:, 0, 0].tolist() == [136, 208, 195]
    assert lab[:, 0, 3].tolist() == [255, 128, 128]
    assert color_planes(colors, "rgb")[:, 0, :3].tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
    assert color_planes(colors, "C")[:, 0, :3].tolist() == [[255, 0, 128], [255, 255, 0]]


@pytest.mark.parametrize("space", ["rgb", "C", "H"])
@settings(max_examples=30, deadline=None)
@given(image=images(63), factor=st.integers(2, 4))
def test_invariant_to_brightness(space: ColorSpace, image: np.ndarray, factor: int) -> None:
    dark, bright = color_planes(image, space), color_planes(image * np.uint8(factor), space)
    if space == "H":
        assert distance(bright, dark.transpose(1, 2, 0).astype(float), space) <= 1
    else:
        np.testing.assert_array_equal(bright, dark)


@pytest.mark.parametrize("space", ["RGB", "I", "Lab", "rgI", "HSV"])
def test_other_spaces_depend_on_brightness(space: ColorSpace) -> None:
    image = np.full((2, 2, 3), (60, 90, 40), np.uint8)
    assert (np.abs(color_planes(image, space) - color_planes(image * 2, space).astype(int)).max(axis=0) > 50).all()
