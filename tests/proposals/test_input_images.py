"""Selective Search accepts arrays of any layout, rejects everything else, and always returns valid boxes."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from proposals import SelectiveSearch, SelectiveSearchConfig
from proposals.config import COLOR_SPACES, SIMILARITIES


def test_gray_images_count_as_three_equal_channels(photo: np.ndarray, assert_equal: Callable) -> None:
    gray = np.ascontiguousarray(photo[:, :, 1])
    search = SelectiveSearch(SelectiveSearchConfig(("HSV", "I"), ks=(80,)))
    expected = search(np.dstack([gray, gray, gray]))
    assert len(expected) > 100
    assert_equal(search(gray), expected)
    assert_equal(search(gray[:, :, None]), expected)
    assert_equal(search(photo[:, :, 1]), expected)


@pytest.mark.parametrize(
    "view",
    [
        lambda image: image[::-1, ::2],
        lambda image: image[40:240, 30:330, ::-1],
        lambda image: image.transpose(1, 0, 2),
        lambda image: image[::-1, ::-2, 1],
        lambda image: np.broadcast_to(image[:1], image.shape),
    ],
    ids=["upside_down", "cut_out", "transposed", "gray", "broadcast"],
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


def test_image_is_not_modified(photo: np.ndarray) -> None:
    image = photo.copy()
    SelectiveSearch(SelectiveSearchConfig(COLOR_SPACES, ("S",), (100,)))(image)
    np.testing.assert_array_equal(image, photo)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        *(
            (np.zeros(shape, dtype), rf"{re.escape(str(shape))} {np.dtype(dtype)}")
            for shape, dtype in (
                ((3, 10, 10), np.uint8),
                ((1, 10, 10, 3), np.uint8),
                ((10,), np.uint8),
                ((10, 10, 3), np.float32),
            )
        ),
        (np.zeros((10, 10, 4), np.uint8), r"\(10, 10, 4\) uint8; .*alpha.* image\[:, :, :3\]"),
        (np.zeros((0, 10, 3), np.uint8), "10x0"),
        (np.zeros((10, 0, 3), np.uint8), "0x10"),
        ("cat.jpg", "str"),
        (Image.new("RGB", (9, 9)), "Image"),
    ],
)
def test_invalid_images(image: Any, message: str) -> None:
    search = SelectiveSearch()
    for method in (search, search.hierarchies):
        with pytest.raises(ValueError, match=f"^an image must .*not {message}$"):
            method(image)


SIDES = st.one_of(st.sampled_from([1, 2]), st.integers(1, 70))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_boxes_are_valid_for_any_image(data: st.DataObject, assert_equal: Callable) -> None:
    width, height, seed = data.draw(SIDES), data.draw(SIDES), data.draw(st.integers(0, 2**32 - 1))
    levels, gray, side = (
        data.draw(st.sampled_from([1, 2, 3, 256])),
        data.draw(st.booleans()),
        data.draw(st.integers(1, 20)),
    )
    space, k = data.draw(st.sampled_from(COLOR_SPACES)), data.draw(st.sampled_from([5, 50, 500]))
    shape = (height, width) if gray else (height, width, 3)
    values = np.random.default_rng(seed).integers(0, levels, shape)
    image = (values * (255 // max(levels - 1, 1))).astype(np.uint8)
    config = SelectiveSearchConfig(
        (space, "RGB" if space == "HSV" else "HSV"),  # type: ignore[arg-type]
        (data.draw(st.sampled_from(SIMILARITIES)),),
        (k,),
        minimum_box_side=side,
        working_width=data.draw(st.sampled_from([None, 16, 50, 90])),
        enlarge=data.draw(st.booleans()),
        minimum_size=0.1 * k,
        seed=seed,
    )
    found = SelectiveSearch(config)(image)
    assert len(found) >= 1
    assert found.image_size == (width, height)
    # `Proposals` itself checks that boxes have an area inside the image and that scores descend.
    assert (found.boxes == np.rint(found.boxes)).all()
    assert len(np.unique(found.boxes, axis=0)) == len(found)
    assert ((found.scores > 0) & (found.scores <= 1)).all()
    if min(width, height) >= side:
        assert (found.boxes[:, 2:] - found.boxes[:, :2]).min() >= side
    assert [0, 0, width, height] in found.boxes.tolist(), "the whole image belongs to every hierarchy"
    assert levels > 1 or len(found) == 1
    assert_equal(SelectiveSearch(config, threads=2)(image), found)
