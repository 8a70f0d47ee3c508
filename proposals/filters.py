"""Separable filters with the same result on every machine.

Kernel weights are multiples of 1/256. For 8-bit planes every sum along x and then y is therefore a multiple of 1/65536
below 2^24 units, which float32 represents exactly, whatever the order and the instructions of OpenCV's additions.
"""

import math

import cv2
import numpy as np

_KERNEL_UNIT = 256


def gaussian_kernel(sigma: float) -> np.ndarray:
    """Returns a Gaussian of `sigma` pixels, (2 r + 1,) float32 with sum 1, r <= ceil(4 sigma), no zeros at its ends."""
    if sigma == 0:
        return np.ones(1, np.float32)
    weights = _gaussian(sigma)
    # The cumulative sums are rounded rather than each weight, so that a wide kernel keeps its shape.
    sums = np.rint(np.cumsum(weights[: len(weights) // 2]) * _KERNEL_UNIT)
    side = np.diff(sums, prepend=0)
    units = np.concatenate([side, [_KERNEL_UNIT - 2 * sums[-1]], side[::-1]])
    return _without_ends(units)


def gaussian_derivative_kernel(sigma: float) -> np.ndarray:
    """Returns the derivative of a Gaussian of `sigma` pixels, (2 r + 1,) float32, r <= ceil(4 sigma).

    Correlating a ramp of slope 1 with it gives about 1.
    """
    weights = _gaussian(sigma)
    x = np.arange(len(weights)) - len(weights) // 2
    return _without_ends(np.rint(x / sigma**2 * weights * _KERNEL_UNIT))


def _gaussian(sigma: float) -> np.ndarray:
    radius = math.ceil(4 * sigma)
    weights = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * sigma**2))
    return np.asarray(weights / weights.sum())


def _without_ends(units: np.ndarray) -> np.ndarray:
    first = np.flatnonzero(units)[0]
    return (units[first : len(units) - first] / _KERNEL_UNIT).astype(np.float32)


def correlate(planes: np.ndarray, kernel_x: np.ndarray, kernel_y: np.ndarray) -> np.ndarray:
    """Correlates (C, H, W) uint8 planes with odd kernels along x and y to (C, H, W) float32; borders are replicated."""
    out = np.empty(planes.shape, np.float32)
    for plane, result in zip(planes, out, strict=True):
        cv2.sepFilter2D(plane, cv2.CV_32F, kernel_x, kernel_y, dst=result, borderType=cv2.BORDER_REPLICATE)
    return out
