"""Region features of Selective Search: colour and texture histograms, sizes, boxes, neighbours."""

from dataclasses import dataclass

import numpy as np

from proposals.compilation import kernel
from proposals.filters import correlate, gaussian_derivative_kernel, gaussian_kernel

COLOUR_BINS = 25
TEXTURE_BINS = 10
ORIENTATIONS = 8
_TEXTURE_SIGMA = 1.0
# The response to a step from 0 to 255; the texture bins divide 0 up to it evenly.
_TEXTURE_RANGE = 92.0
# Bins stored for a pixel and channel: one of colour, one for each pair of opposite orientations.
_STORED = 1 + ORIENTATIONS // 2


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
    return Regions(counts, sizes, boxes, _neighbours(labels, count).copy(), bins.shape[2] // _STORED)


@kernel
def _feature_bins(planes, dx, dy, scale):  # type: ignore[no-untyped-def]
    channels, height, width = planes.shape
    bins = np.empty((height, width, _STORED * channels), np.uint8)
    diagonal = np.float32(0.70710678)
    for y in range(height):
        for c in range(channels):
            for x in range(width):
                bins[y, x, c] = c * COLOUR_BINS + ((planes[c, y, x] * COLOUR_BINS) >> 8)
                across = dx[c, y, x] * scale
                down = dy[c, y, x] * scale
                for axis in range(ORIENTATIONS // 2):
                    if axis == 0:
                        response = across
                    elif axis == 1:
                        response = (across + down) * diagonal
                    elif axis == 2:
                        response = down
                    else:
                        response = (down - across) * diagonal
                    orientation = c * ORIENTATIONS + axis
                    if response < 0:
                        response = -response
                        orientation += ORIENTATIONS // 2
                    bins[y, x, channels + (_STORED - 1) * c + axis] = orientation * TEXTURE_BINS + min(
                        int(response), TEXTURE_BINS - 1
                    )
    return bins


@kernel
def _measure(labels, count, bins):  # type: ignore[no-untyped-def]
    height, width, stored = bins.shape
    channels = stored // _STORED
    colour = channels * COLOUR_BINS
    counts = np.zeros((count, colour + channels * ORIENTATIONS * TEXTURE_BINS), np.int32)
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
            for i in range(channels, stored):
                row[colour + bins[y, x, i]] += 1
    # Of two opposite orientations only one was counted: the pixels that are missing belong in bin 0.
    for region in range(count):
        row = counts[region]
        for start in range(colour, row.size, TEXTURE_BINS):
            others = 0
            for i in range(start + 1, start + TEXTURE_BINS):
                others += row[i]
            row[start] = sizes[region] - others
    return counts, sizes, boxes


@kernel
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
    return pairs[:n]
