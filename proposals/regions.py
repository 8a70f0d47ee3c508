"""Superpixels measured: their colour and texture histograms, sizes, boxes and neighbours."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from proposals.compilation import kernel
from proposals.features import COLOUR_BINS, ORIENTATIONS, STORED_BINS, TEXTURE_BINS


@dataclass(frozen=True, eq=False)
class Regions:
    """The superpixels of one segmentation.

    Attributes:
        labels: (H, W) int32, the superpixel that a pixel belongs to, 0 .. N - 1.
        counts: (N, C * 25 + C * 8 * 10) int32, pixels in every bin: the colour histogram of each channel,
            then the texture histograms of each channel and orientation.
        sizes: (N,) int32 pixels.
        boxes: (N, 4) int32 xyxy pixels, right and bottom exclusive.
        neighbours: (P, 2) int32, every pair a < b of regions that touch (8-connected), once.
        channels: C.
    """

    labels: np.ndarray
    counts: np.ndarray
    sizes: np.ndarray
    boxes: np.ndarray
    neighbours: np.ndarray
    channels: int

    @property
    def image_size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.labels.shape[1], self.labels.shape[0]


def measure_regions(segmentations: Sequence[tuple[np.ndarray, int]], bins: np.ndarray) -> list[Regions]:
    """Measure the superpixels of one or more segmentations of an image.

    The pixels are counted once, for the parts into which all the segmentations together cut the image; a superpixel
    is the sum of its parts.

    Args:
        segmentations: of each the labels (H, W) int32, 0 .. count - 1, and the count.
        bins: of every pixel, as `feature_bins` gives them.
    """
    parts, count = segmentations[0]
    owners = [np.arange(count, dtype=np.int32)]  # of each segmentation: which superpixel a part belongs to
    for labels, _ in segmentations[1:]:
        parts, former, owner = _intersect(parts, count, labels)
        count = len(owner)
        owners = [*(known[former] for known in owners), owner]
    counts, sizes, boxes = _measure(parts, count, bins)
    touching = _neighbours(parts, count)
    channels = len(bins) // STORED_BINS
    measured = []
    for (labels, n), owner in zip(segmentations, owners, strict=True):
        own_counts, own_sizes, own_boxes = _join(owner, n, counts, sizes, boxes)
        neighbours = _join_neighbours(owner, n, touching)
        measured.append(Regions(labels, own_counts, own_sizes, own_boxes, neighbours, channels))
    return measured


@kernel
def _intersect(labels, count, others):  # type: ignore[no-untyped-def]
    """Parts of equal pairs of labels: (H, W) int32, and of each part its two labels."""
    height, width = labels.shape
    parts = np.empty((height, width), np.int32)
    newest = np.full(count, -1, np.int32)  # of each label its newest part, then `older` ones
    room = 2 * count + 64
    older, first, second = np.empty(room, np.int32), np.empty(room, np.int32), np.empty(room, np.int32)
    n = 0
    for y in range(height):
        start = 0
        while start < width:
            a, b = labels[y, start], others[y, start]
            end = start + 1
            while end < width and labels[y, end] == a and others[y, end] == b:
                end += 1
            part = newest[a]
            while part >= 0 and second[part] != b:
                part = older[part]
            if part < 0:
                if n == room:
                    room *= 2
                    older, first, second = _longer(older, room), _longer(first, room), _longer(second, room)
                part = n
                older[part], first[part], second[part] = newest[a], a, b
                newest[a] = part
                n += 1
            parts[y, start:end] = part
            start = end
    return parts, first[:n].copy(), second[:n].copy()


@kernel
def _longer(array, length):  # type: ignore[no-untyped-def]
    longer = np.empty(length, array.dtype)
    longer[: array.size] = array
    return longer


@kernel
def _measure(labels, count, bins):  # type: ignore[no-untyped-def]
    stored, height, width = bins.shape
    channels = stored // STORED_BINS
    axes = STORED_BINS - 1
    colour = channels * COLOUR_BINS
    counts = np.zeros((count, colour + channels * ORIENTATIONS * TEXTURE_BINS), np.int32)
    sizes = np.zeros(count, np.int32)
    boxes = np.empty((count, 4), np.int32)
    boxes[:, 0] = width
    boxes[:, 1] = height
    boxes[:, 2:] = 0
    for y in range(height):
        start = 0
        while start < width:
            region = labels[y, start]
            end = start + 1
            while end < width and labels[y, end] == region:
                end += 1
            sizes[region] += end - start
            box = boxes[region]
            box[0] = min(box[0], start)
            box[1] = min(box[1], y)
            box[2] = max(box[2], end)
            box[3] = y + 1
            row = counts[region]
            for c in range(channels):
                for x in range(start, end):
                    row[bins[c, y, x]] += 1
                first = channels + axes * c
                for x in range(start, end):
                    if bins[first, y, x] | bins[first + 1, y, x] | bins[first + 2, y, x] | bins[first + 3, y, x]:
                        for axis in range(axes):
                            row[colour + (c * ORIENTATIONS + axis) * TEXTURE_BINS + bins[first + axis, y, x]] += 1
            start = end
    # Of two opposite orientations only the one that responds was counted: all other pixels belong in bin 0.
    for region in range(count):
        row = counts[region]
        for start in range(colour, row.size, TEXTURE_BINS):
            others = 0
            for i in range(start + 1, start + TEXTURE_BINS):
                others += row[i]
            row[start] = sizes[region] - others
    return counts, sizes, boxes


@kernel
def _add_pair(pairs, n, newest, here, there):  # type: ignore[no-untyped-def]
    """The number of pairs with this one; a row of `pairs` is a < b and the number of the pair of a before it."""
    a, b = min(here, there), max(here, there)
    pair = newest[a]
    while pair >= 0 and pairs[pair, 1] != b:
        pair = pairs[pair, 2]
    if pair < 0 and a != b:
        pairs[n, 0], pairs[n, 1], pairs[n, 2] = a, b, newest[a]
        newest[a] = n
        n += 1
    return n


@kernel
def _neighbours(labels, count):  # type: ignore[no-untyped-def]
    """Pairs a < b of labels that touch, (P, 2) int32, each once."""
    height, width = labels.shape
    newest = np.full(count, -1, np.int32)
    a_row = 4 * width  # the most pairs that a row can add
    pairs = np.empty((4 * count + a_row, 3), np.int32)
    n = 0
    for y in range(height):
        if n + a_row > len(pairs):
            longer = np.empty((2 * len(pairs), 3), np.int32)
            longer[:n] = pairs[:n]
            pairs = longer
        start = 0
        while start < width:
            here = labels[y, start]
            end = start + 1
            while end < width and labels[y, end] == here:
                end += 1
            if end < width:
                n = _add_pair(pairs, n, newest, here, labels[y, end])
            if y + 1 < height:  # below the run and on its diagonals
                last = here
                for x in range(max(start - 1, 0), min(end + 1, width)):
                    there = labels[y + 1, x]
                    if there != last:
                        n = _add_pair(pairs, n, newest, here, there)
                        last = there
            start = end
    return pairs[:n, :2].copy()


@kernel
def _join(owner, count, counts, sizes, boxes):  # type: ignore[no-untyped-def]
    """Histograms, sizes and boxes of superpixels from those of their parts."""
    joint_counts = np.zeros((count, counts.shape[1]), np.int32)
    joint_sizes = np.zeros(count, np.int32)
    joint_boxes = np.empty((count, 4), np.int32)
    for part in range(owner.size):
        region = owner[part]
        if joint_sizes[region] == 0:
            joint_boxes[region] = boxes[part]
        for i in range(2):
            joint_boxes[region, i] = min(joint_boxes[region, i], boxes[part, i])
            joint_boxes[region, 2 + i] = max(joint_boxes[region, 2 + i], boxes[part, 2 + i])
        joint_sizes[region] += sizes[part]
        for i in range(counts.shape[1]):
            joint_counts[region, i] += counts[part, i]
    return joint_counts, joint_sizes, joint_boxes


@kernel
def _join_neighbours(owner, count, touching):  # type: ignore[no-untyped-def]
    """Neighbours of superpixels from those of their parts."""
    newest = np.full(count, -1, np.int32)
    pairs = np.empty((len(touching), 3), np.int32)
    n = 0
    for i in range(len(touching)):
        n = _add_pair(pairs, n, newest, owner[touching[i, 0]], owner[touching[i, 1]])
    return pairs[:n, :2].copy()
