"""Separable filters whose result is the same on every machine.

Kernels are rounded to multiples of 1/4096 and every output pixel is summed in one fixed order without
fused operations; OpenCV's float filters promise neither.
"""

import math

import numpy as np

from proposals.compilation import kernel

_KERNEL_UNIT = 4096


def gaussian_kernel(sigma: float) -> np.ndarray:
    """Gaussian of `sigma` pixels as (2 r + 1,) float32 with sum 1, r = ceil(4 sigma)."""
    if sigma == 0:
        return np.ones(1, np.float32)
    radius = math.ceil(4 * sigma)
    x = np.arange(-radius, radius + 1)
    weights = np.exp(-(x**2) / (2 * sigma**2))
    units = np.rint(weights * (_KERNEL_UNIT / weights.sum()))
    units[radius] += _KERNEL_UNIT - units.sum()
    return (units / _KERNEL_UNIT).astype(np.float32)


def gaussian_derivative_kernel(sigma: float) -> np.ndarray:
    """First derivative of the Gaussian of `sigma` pixels as (2 r + 1,) float32, r = ceil(4 sigma).

    Correlated with a ramp of slope 1 it gives about 1.
    """
    radius = math.ceil(4 * sigma)
    x = np.arange(-radius, radius + 1)
    weights = np.exp(-(x**2) / (2 * sigma**2))
    units = np.rint(x / sigma**2 * weights * (_KERNEL_UNIT / weights.sum()))
    return (units / _KERNEL_UNIT).astype(np.float32)


@kernel
def correlate(planes, kernel_x, kernel_y):  # type: ignore[no-untyped-def]
    """Correlate (C, H, W) uint8 planes with an odd kernel along x and one along y, borders repeated.

    Returns (C, H, W) float32.
    """
    channels, height, width = planes.shape
    radius_x, radius_y = kernel_x.size // 2, kernel_y.size // 2
    out = np.zeros((channels, height, width), np.float32)
    padded = np.empty(width + 2 * radius_x, np.float32)
    rows = np.empty((height, width), np.float32)
    for c in range(channels):
        for y in range(height):
            for x in range(width):
                padded[radius_x + x] = planes[c, y, x]
            padded[:radius_x] = planes[c, y, 0]
            padded[radius_x + width :] = planes[c, y, width - 1]
            row = rows[y]
            row[:] = np.float32(0)
            for t in range(kernel_x.size):
                weight = kernel_x[t]
                if weight != 0:
                    source = padded[t : t + width]
                    for x in range(width):
                        row[x] += weight * source[x]
        for y in range(height):
            row = out[c, y]
            for t in range(kernel_y.size):
                weight = kernel_y[t]
                if weight != 0:
                    source = rows[min(max(y + t - radius_y, 0), height - 1)]
                    for x in range(width):
                        row[x] += weight * source[x]
    return out
