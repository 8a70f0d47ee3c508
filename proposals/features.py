"""Pixel features of Selective Search: the bins of the color and texture histograms."""

import numpy as np

from proposals.compilation import kernel
from proposals.filters import correlate, gaussian_derivative_kernel, gaussian_kernel

COLOR_BINS = 25
TEXTURE_BINS = 10
ORIENTATIONS = 8
_TEXTURE_SIGMA = 1.0
# The directions of the stored orientations: to the right, down to the right, down, down to the left.
_ACROSS = np.array([1, 0.70710678, 0, -0.70710678], np.float32)
_DOWN = np.array([0, 0.70710678, 1, 0.70710678], np.float32)
# The response to a step from 0 to 255, the upper end of the texture bins.
_TEXTURE_RANGE = 92.0
# Bins stored per pixel and channel: one of color, one for each pair of opposite orientations.
STORED_BINS = 1 + ORIENTATIONS // 2


def feature_bins(planes: np.ndarray) -> np.ndarray:
    """Computes the histogram bins of every pixel.

    Texture consists of Gaussian derivatives (sigma 1) in 8 orientations 45 degrees apart, with negative responses set
    to 0 (section 3.2 of the paper). Of two opposite orientations at most one responds, so only that one is stored; the
    other is in bin 0.

    Args:
        planes: (C, H, W) uint8, C at most 3.

    Returns:
        (5 * C, H, W) uint8: C color bins (channel * 25 + bin), then 4 texture bins per channel, one for each pair of
        opposite orientations: bin 0 to 9, plus 40 if the second orientation of the pair responds.
    """
    smooth, derivative = gaussian_kernel(_TEXTURE_SIGMA), gaussian_derivative_kernel(_TEXTURE_SIGMA)
    dx = correlate(planes, derivative, smooth)
    dy = correlate(planes, smooth, derivative)
    return _feature_bins(planes, dx, dy, np.float32(TEXTURE_BINS / _TEXTURE_RANGE))


@kernel
def _feature_bins(planes, dx, dy, scale):  # type: ignore[no-untyped-def]
    channels, height, width = planes.shape
    bins = np.empty((STORED_BINS * channels, height, width), np.uint8)
    opposite = ORIENTATIONS // 2 * TEXTURE_BINS
    for c in range(channels):
        for y in range(height):
            for x in range(width):
                bins[c, y, x] = c * COLOR_BINS + ((planes[c, y, x] * COLOR_BINS) >> 8)
            for axis in range(ORIENTATIONS // 2):
                across, down = _ACROSS[axis], _DOWN[axis]
                row = bins[channels + (STORED_BINS - 1) * c + axis, y]
                for x in range(width):
                    response = (dx[c, y, x] * across + dy[c, y, x] * down) * scale
                    strength = min(np.int32(abs(response)), TEXTURE_BINS - 1)
                    row[x] = strength + (opposite if response < 0 and strength > 0 else 0)
    return bins
