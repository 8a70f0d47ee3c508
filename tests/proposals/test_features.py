from collections.abc import Callable

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from proposals.color import color_planes
from proposals.config import COLOR_SPACES, ColorSpace
from proposals.features import COLOR_BINS, ORIENTATIONS, STORED_BINS, TEXTURE_BINS, feature_bins

AXES = ORIENTATIONS // 2
OPPOSITE = AXES * TEXTURE_BINS


def responses_by_hand(plane: np.ndarray) -> np.ndarray:
    """(8, H, W) responses of Gaussian derivatives in 8 orientations, in texture bins, negative ones 0."""
    x = np.arange(-4, 5)
    smooth = np.exp(-(x**2) / 2) / np.exp(-(x**2) / 2).sum()
    dx = cv2.sepFilter2D(plane, cv2.CV_64F, x * smooth, smooth, borderType=cv2.BORDER_REPLICATE)
    dy = cv2.sepFilter2D(plane, cv2.CV_64F, smooth, x * smooth, borderType=cv2.BORDER_REPLICATE)
    angles = 2 * np.pi * np.arange(ORIENTATIONS)[:, None, None] / ORIENTATIONS
    return np.maximum(np.cos(angles) * dx + np.sin(angles) * dy, 0) * TEXTURE_BINS / 92


def texture_of(bins: np.ndarray, channel: int) -> np.ndarray:
    """(8, H, W) texture bins of a channel, unpacked from what `feature_bins` stores."""
    channels = len(bins) // STORED_BINS
    stored = bins[channels + AXES * channel :][:AXES].astype(int)
    return np.concatenate([np.where(stored < OPPOSITE, stored, 0), np.where(stored > OPPOSITE, stored - OPPOSITE, 0)])


def planes_of(seed: int, channels: int, height: int, width: int) -> np.ndarray:
    """Noise that varies slowly enough for texture bins of all strengths."""
    noise = np.random.default_rng(seed).normal(128, 128, (height, width, channels))
    smooth = cv2.GaussianBlur(noise, (0, 0), 0.7).reshape(height, width, channels)
    return np.ascontiguousarray(np.clip(smooth, 0, 255).astype(np.uint8).transpose(2, 0, 1))


@settings(max_examples=30, deadline=None)
@given(
    planes=st.tuples(st.integers(1, 3), st.integers(1, 8), st.integers(1, 8)).flatmap(
        lambda shape: arrays(np.uint8, shape)
    )
)
def test_color_bins_divide_the_range_evenly(planes: np.ndarray) -> None:
    channels = len(planes)
    bins = feature_bins(planes)
    assert bins.shape == (STORED_BINS * channels, *planes.shape[1:])
    assert bins.dtype == np.uint8
    for channel in range(channels):
        expected = channel * COLOR_BINS + planes[channel].astype(int) * COLOR_BINS // 256
        np.testing.assert_array_equal(bins[channel], expected)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    channels=st.integers(1, 3),
    height=st.integers(1, 12),
    width=st.integers(1, 12),
)
def test_texture_bins_equal_those_by_hand(seed: int, channels: int, height: int, width: int) -> None:
    planes = planes_of(seed, channels, height, width)
    bins = feature_bins(planes)
    for channel in range(channels):
        expected = responses_by_hand(planes[channel])
        found = texture_of(bins, channel)
        assert ((found >= 0) & (found < TEXTURE_BINS)).all()
        # A response at the border of two bins may be counted in either.
        assert (found >= np.minimum(np.floor(expected - 0.05), TEXTURE_BINS - 1)).all()
        assert (found <= np.minimum(np.floor(expected + 0.05), TEXTURE_BINS - 1)).all()


def test_stored_texture_bins_are_one_of_nineteen() -> None:
    blocks = np.random.default_rng(0).integers(0, 256, (1, 12, 12)).repeat(5, axis=1).repeat(5, axis=2)
    stored = feature_bins(blocks.astype(np.uint8))[1:]
    # Bin 0 of an opposite orientation is bin 0.
    assert set(np.unique(stored).tolist()) == {*range(TEXTURE_BINS), *range(OPPOSITE + 1, OPPOSITE + TEXTURE_BINS)}


@pytest.mark.parametrize("value", [0, 100, 255])
def test_a_flat_image_has_no_texture(value: int) -> None:
    bins = feature_bins(np.full((2, 9, 7), value, np.uint8))
    assert not bins[2:].any()
    assert (bins[:2] == np.array([0, COLOR_BINS])[:, None, None] + value * COLOR_BINS // 256).all()


def test_a_step_responds_most_across_itself() -> None:
    step = np.zeros((1, 20, 20), np.uint8)
    step[0, :, 10:] = 255
    texture = texture_of(feature_bins(step), 0)
    # Orientation 0 looks to the right, 1 down to the right, 2 down; the last bin is a step of the whole range.
    assert texture[:, 10, 10].tolist() == [9, 7, 0, 0, 0, 0, 0, 7]
    assert texture[:, 10, 2].tolist() == [0] * 8
    down = texture_of(feature_bins(np.ascontiguousarray(step.transpose(0, 2, 1))), 0)
    assert down[:, 10, 10].tolist() == [0, 7, 9, 7, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("move", "orientations"),
    [
        (lambda planes: planes[:, :, ::-1], [4, 3, 2, 1, 0, 7, 6, 5]),
        (lambda planes: planes[:, ::-1], [0, 7, 6, 5, 4, 3, 2, 1]),
        (lambda planes: planes.transpose(0, 2, 1), [2, 1, 0, 7, 6, 5, 4, 3]),
    ],
    ids=["mirrored", "upside_down", "transposed"],
)
def test_turned_image_has_turned_textures(move: Callable[[np.ndarray], np.ndarray], orientations: list[int]) -> None:
    planes = planes_of(3, 1, 15, 11)
    found = texture_of(feature_bins(np.ascontiguousarray(move(planes))), 0)
    expected = move(texture_of(feature_bins(planes), 0)[orientations])
    # Sums in another order can move a response over the border of a bin.
    assert (np.abs(found - expected) <= 1).all()
    assert (found != expected).mean() < 0.01
    assert found.any()


@pytest.mark.parametrize("space", COLOR_SPACES)
def test_every_color_space_has_colors_and_textures(photo: np.ndarray, space: ColorSpace) -> None:
    planes = color_planes(photo, space)
    bins = feature_bins(planes)
    for channel in range(len(planes)):
        used = np.unique(bins[channel])
        assert used.min() >= channel * COLOR_BINS
        assert used.max() < (channel + 1) * COLOR_BINS
        assert len(used) >= 5
    # The bins have a fixed range, so the weak colors of this photo have little texture.
    assert bins[len(planes) :].any(axis=0).mean() > 0.005
