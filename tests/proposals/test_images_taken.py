"""What Selective Search takes as an image, and that whatever it takes gives valid boxes."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from proposals import SelectiveSearch, SelectiveSearchConfig
from proposals.config import COLOR_SPACES, SIMILARITIES


def test_a_gray_image_is_taken_as_three_equal_channels(photo: np.ndarray, assert_equal: Callable) -> None:
    gray = np.ascontiguousarray(photo[:, :, 1])
    search = SelectiveSearch(SelectiveSearchConfig(("HSV", "I"), ks=(80,)))
    expected = search(np.dstack([gray, gray, gray]))
    assert len(expected) > 100
    assert_equal(search(gray), expected)
    assert_equal(search(gray[:, :, None]), expected)
    assert_equal(search(photo[:, :, 1]), expected)
    assert [one.superpixels for one in search.hierarchies(gray)] == [
        one.superpixels for one in search.hierarchies(np.dstack([gray] * 3))
    ]


@pytest.mark.parametrize(
    "view",
    [
        lambda image: image[::-1, ::2],
        lambda image: image[:, ::-1],
        lambda image: image[:, :, ::-1],
        lambda image: image[40:240, 30:330],
        lambda image: image.transpose(1, 0, 2),
        np.asfortranarray,
        lambda image: image[::-1, ::-2, 1],
        lambda image: np.broadcast_to(image[:1], image.shape),
    ],
    ids=["upside_down", "mirrored", "bgr", "cut_out", "transposed", "fortran", "gray", "broadcast"],
)
def test_strides_and_write_protection_do_not_matter(
    photo: np.ndarray, view: Callable[[np.ndarray], np.ndarray], assert_equal: Callable
) -> None:
    search = SelectiveSearch(SelectiveSearchConfig(("HSV", "RGB", "C"), ("CTSF",), (60,)))
    image = photo.copy()
    expected = search(np.ascontiguousarray(view(image)))
    assert_equal(search(view(image)), expected)
    image.setflags(write=False)
    assert_equal(search(view(image)), expected)
    np.testing.assert_array_equal(image, photo)


@pytest.mark.parametrize("working_width", [None, 100, 900])
def test_the_image_is_left_as_it_was(photo: np.ndarray, working_width: int | None) -> None:
    image = photo.copy()
    SelectiveSearch(SelectiveSearchConfig(COLOR_SPACES, ("S",), (100,), working_width=working_width))(image)
    np.testing.assert_array_equal(image, photo)


NOT_AN_IMAGE = r"must be an \(H, W, 3\) RGB or \(H, W\) gray uint8 array, not "


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((10, 10, 4), np.uint8), r"\(10, 10, 4\) uint8; drop the alpha channel: image\[:, :, :3\]$"),
        (np.zeros((10, 10, 2), np.uint8), r"\(10, 10, 2\) uint8$"),
        (np.zeros((3, 10, 10), np.uint8), r"\(3, 10, 10\) uint8$"),
        (np.zeros((1, 10, 10, 3), np.uint8), r"\(1, 10, 10, 3\) uint8$"),
        (np.zeros(10, np.uint8), r"\(10,\) uint8$"),
        (np.array(3, np.uint8), r"\(\) uint8$"),
        (np.zeros((10, 10, 3), np.float32), r"\(10, 10, 3\) float32$"),
        (np.full((10, 10, 3), np.nan), r"\(10, 10, 3\) float64$"),
        (np.zeros((10, 10), bool), r"\(10, 10\) bool$"),
        (np.zeros((10, 10, 3), np.int8), r"\(10, 10, 3\) int8$"),
        (np.zeros((10, 10, 3), np.uint16), r"\(10, 10, 3\) uint16$"),
        (np.zeros((10, 10, 3), object), r"\(10, 10, 3\) object$"),
    ],
)
def test_arrays_of_another_kind_are_refused(image: np.ndarray, message: str) -> None:
    assert_refused(image, NOT_AN_IMAGE + message)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((0, 10, 3), np.uint8), "must have at least one pixel, not 10x0$"),
        (np.zeros((10, 0, 3), np.uint8), "must have at least one pixel, not 0x10$"),
        (np.zeros((0, 0), np.uint8), "must have at least one pixel, not 0x0$"),
        ([[[0, 0, 0]]], "must be a numpy array, not list$"),
        ("cat.jpg", "must be a numpy array, not str$"),
        (None, "must be a numpy array, not NoneType$"),
        (Image.new("RGB", (9, 9)), "must be a numpy array, not Image$"),
    ],
)
def test_what_is_no_image_is_refused(image: Any, message: str) -> None:
    assert_refused(image, message)


def assert_refused(image: Any, message: str) -> None:
    search = SelectiveSearch()
    for call in (search, search.hierarchies):
        with pytest.raises(ValueError, match=f"^an image {message}") as error:
            call(image)
        assert "\n" not in str(error.value)


SIDES = st.one_of(st.sampled_from([1, 2]), st.integers(1, 70))


@settings(max_examples=60, deadline=None)
@given(
    width=SIDES,
    height=SIDES,
    seed=st.integers(0, 2**32 - 1),
    levels=st.sampled_from([1, 2, 3, 256]),
    gray=st.booleans(),
    side=st.integers(1, 20),
    working_width=st.sampled_from([None, 16, 50, 90]),
    enlarge=st.booleans(),
    space=st.sampled_from(COLOR_SPACES),
    similarity=st.sampled_from(SIMILARITIES),
    k=st.sampled_from([5, 50, 500]),
)
def test_boxes_of_any_image_are_valid(
    width: int,
    height: int,
    seed: int,
    levels: int,
    gray: bool,
    side: int,
    working_width: int | None,
    enlarge: bool,
    space: str,
    similarity: str,
    k: float,
    assert_equal: Callable,
) -> None:
    shape = (height, width) if gray else (height, width, 3)
    values = np.random.default_rng(seed).integers(0, levels, shape)
    image = (values * (255 // max(levels - 1, 1))).astype(np.uint8)
    config = SelectiveSearchConfig(
        (space, "RGB" if space == "HSV" else "HSV"),  # type: ignore[arg-type]
        (similarity,),
        (k,),
        minimum_box_side=side,
        working_width=working_width,
        enlarge=enlarge,
        minimum_size=0.1 * k,
        seed=seed,
    )
    found = SelectiveSearch(config)(image)
    assert len(found) >= 1
    assert found.image_size == (width, height)
    left, top, right, bottom = found.boxes.T
    assert (left >= 0).all()
    assert (top >= 0).all()
    assert (right <= width).all()
    assert (bottom <= height).all()
    assert (right > left).all()
    assert (bottom > top).all()
    assert (found.boxes == np.rint(found.boxes)).all()
    assert len(np.unique(found.boxes, axis=0)) == len(found)
    assert (np.diff(found.scores) <= 0).all()
    assert ((found.scores > 0) & (found.scores <= 1)).all()
    assert ((found.sources >= 0) & (found.sources < 2)).all()
    if min(width, height) >= side:
        assert (right - left).min() >= side
        assert (bottom - top).min() >= side
    # The whole image belongs to every hierarchy.
    assert [0, 0, width, height] in found.boxes.tolist()
    assert levels > 1 or len(found) == 1
    assert_equal(SelectiveSearch(config, threads=2)(image), found)
