"""Region features of Selective Search: colour and texture histograms, sizes, boxes, neighbours."""

from dataclasses import dataclass

import numpy as np
from numba import njit

from proposals.filters import correlate, gaussian_derivative_kernel, gaussian_kernel

COLOUR_BINS = 25
TEXTURE_BINS = 10
ORIENTATIONS = 8
_TEXTURE_SIGMA = 1.0
_TEXTURE_RANGE = 92.0


@dataclass(frozen=True, eq=False)
class Regions:
    """The superpixels of one segmentation.

    Attributes:
        counts: (N, C * 25 + C * 8 * 10) int32, pixels in every bin: the colour histogram of each channel,
            then the texture histograms of each channel and orientation.
        sizes: (N,) int32 pixels.
        boxes: (N, 4) int32 xyxy pixels, right and bottom exclusive.
        neighbours: (P, 2) int32, every pair a < b of regions that touch (8-connected), once.
        channels: C.
    """

    counts: np.ndarray
    sizes: np.ndarray
    boxes: np.ndarray
    neighbours: np.ndarray
    channels: int


def feature_bins(planes: np.ndarray) -> np.ndarray:
    """The histogram bins that every pixel falls into.

    Texture: Gaussian derivatives (sigma 1) in 8 orientations 45 degrees apart, negative responses cut to 0
    (section 3.2 of the paper). A response and its opposite are never both positive, so the larger of the
    two is stored and the other one is known to lie in bin 0.

    Args:
        planes: (C, H, W) uint8, C at most 3.

    Returns:
        (H, W, 5 * C) uint8: C colour bins (channel * 25 + bin), then 4 texture bins a channel
        ((channel * 8 + orientation) * 10 + bin).
    """
    smooth, derivative = gaussian_kernel(_TEXTURE_SIGMA), gaussian_derivative_kernel(_TEXTURE_SIGMA)
    dx = correlate(planes, derivative, smooth)
    dy = correlate(planes, smooth, derivative)
    return _feature_bins(planes, dx, dy, np.float32(TEXTURE_BINS / _TEXTURE_RANGE))


def regions(labels: np.ndarray, count: int, bins: np.ndarray) -> Regions:
    """Measure the `count` superpixels of `labels` (H, W) int32 with the `bins` of `feature_bins`."""
    counts, sizes, boxes = _measure(labels, count, bins)
    return Regions(counts, sizes, boxes, _neighbours(labels, count), bins.shape[2] // 5)


@njit(cache=True, nogil=True)
def _feature_bins(planes, dx, dy, scale):  # type: ignore[no-untyped-def]
    channels, height, width = planes.shape
    bins = np.empty((height, width, 5 * channels), np.uint8)
    diagonal = np.float32(0.70710678)
    for y in range(height):
        for c in range(channels):
            for x in range(width):
                bins[y, x, c] = c * 25 + ((planes[c, y, x] * 25) >> 8)
            base = c * 80
            at = channels + 4 * c
            for x in range(width):
                across = dx[c, y, x] * scale
                down = dy[c, y, x] * scale
                for o in range(4):
                    if o == 0:
                        v = across
                    elif o == 1:
                        v = (across + down) * diagonal
                    elif o == 2:
                        v = down
                    else:
                        v = (down - across) * diagonal
                    offset = base + 10 * o
                    if v < 0:
                        v = -v
                        offset += 40
                    bins[y, x, at + o] = offset + min(int(v), 9)
    return bins


@njit(cache=True, nogil=True)
def _measure(labels, count, bins):  # type: ignore[no-untyped-def]
    height, width, entries = bins.shape
    channels = entries // 5
    colour = channels * 25
    counts = np.zeros((count, channels * 105), np.int32)
    sizes = np.zeros(count, np.int32)
    boxes = np.empty((count, 4), np.int32)
    boxes[:, 0] = width
    boxes[:, 1] = height
    boxes[:, 2:] = 0
    for y in range(height):
        for x in range(width):
            region = labels[y, x]
            sizes[region] += 1
            box = boxes[region]
            box[0] = min(box[0], x)
            box[1] = min(box[1], y)
            box[2] = max(box[2], x + 1)
            box[3] = y + 1
            row = counts[region]
            for i in range(channels):
                row[bins[y, x, i]] += 1
            for i in range(channels, entries):
                row[colour + bins[y, x, i]] += 1
    # Of two opposite orientations only the positive response was counted: the other pixels are in bin 0.
    for region in range(count):
        row = counts[region]
        for start in range(colour, row.size, 10):
            others = 0
            for i in range(start + 1, start + 10):
                others += row[i]
            row[start] = sizes[region] - others
    return counts, sizes, boxes


@njit(cache=True, nogil=True)
def _neighbours(labels, count):  # type: ignore[no-untyped-def]
    height, width = labels.shape
    starts = np.zeros(count + 1, np.int64)
    for fill in range(2):
        if fill:
            for region in range(count):
                starts[region + 1] += starts[region]
            others = np.empty(starts[count], np.int32)
            ends = starts.copy()
        for y in range(height):
            for x in range(width):
                here = labels[y, x]
                for direction in range(4):
                    nx = x + (1 if direction == 0 or direction == 2 else (-1 if direction == 3 else 0))
                    ny = y + (0 if direction == 0 else 1)
                    if nx < 0 or nx >= width or ny >= height:
                        continue
                    there = labels[ny, nx]
                    if there == here:
                        continue
                    a, b = min(here, there), max(here, there)
                    if fill:
                        others[ends[a]] = b
                        ends[a] += 1
                    else:
                        starts[a + 1] += 1
    pairs = np.empty((others.size, 2), np.int32)
    seen = np.full(count, -1, np.int32)
    n = 0
    for a in range(count):
        for i in range(starts[a], starts[a + 1]):
            b = others[i]
            if seen[b] != a:
                seen[b] = a
                pairs[n, 0] = a
                pairs[n, 1] = b
                n += 1
    return pairs[:n].copy()
