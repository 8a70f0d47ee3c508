import cv2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

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
@given(seed=st.integers(0, 2**32 - 1), channels=st.integers(1, 3), height=st.integers(1, 12), width=st.integers(1, 12))
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


def test_a_step_responds_most_across_itself() -> None:
    step = np.zeros((1, 20, 20), np.uint8)
    step[0, :, 10:] = 255
    texture = texture_of(feature_bins(step), 0)
    # Orientation 0 looks to the right, 1 down to the right, 2 down; the last bin is a step of the whole range.
    assert texture[:, 10, 10].tolist() == [9, 7, 0, 0, 0, 0, 0, 7]
    assert texture[:, 10, 2].tolist() == [0] * 8
    down = texture_of(feature_bins(np.ascontiguousarray(step.transpose(0, 2, 1))), 0)
    assert down[:, 10, 10].tolist() == [0, 7, 9, 7, 0, 0, 0, 0]
