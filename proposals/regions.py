"""Measurements of superpixels: color and texture histograms, sizes, boxes and neighbors."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from proposals.compilation import kernel
from proposals.features import COLOR_BINS, ORIENTATIONS, STORED_BINS, TEXTURE_BINS


@dataclass(frozen=True, eq=False)
class Superpixels:
    """The superpixels of one segmentation.

    Attributes:
        labels: (H, W) int32, the superpixel of every pixel, 0 .. N - 1.
        counts: (N, C * 25 + C * 8 * 10) int32, number of pixels in every bin: the color histogram of each channel, then
            the texture histograms of each channel and orientation.
        sizes: (N,) int32 areas in pixels.
        boxes: (N, 4) int32 xyxy pixels, right and bottom exclusive.
        neighbors: (P, 2) int32, the pairs a < b of 8-connected superpixels, each once.
        channels: number of color channels, C.
    """

    labels: np.ndarray
    counts: np.ndarray
    sizes: np.ndarray
    boxes: np.ndarray
    neighbors: np.ndarray
    channels: int


def measure_regions(segmentations: Sequence[tuple[np.ndarray, int]], bins: np.ndarray) -> list[Superpixels]:
    """Measures the superpixels of one or more segmentations of an image.

    Pixels are counted only once, for the parts into which all segmentations together cut the image. Superpixels are
    then sums of parts.

    Args:
        segmentations: for each the labels, (H, W) int32, 0 .. count - 1, and the count.
        bins: the pixels' histogram bins from `feature_bins`.
    """
    parts, count = segmentations[0]
    owners = [np.arange(count, dtype=np.int32)]  # for each segmentation the superpixel of every part
    for labels, _ in segmentations[1:]:
        parts, previous_part, owner = _intersect(parts, labels)
        count = len(owner)
        owners = [*(previous[previous_part] for previous in owners), owner]
    counts, sizes, boxes = _measure(parts, count, bins)
    touching = _neighbors(parts)
    channels = len(bins) // STORED_BINS
    measured = []
    for (labels, n), owner in zip(segmentations, owners, strict=True):
        joined_counts, joined_sizes, joined_boxes = _join(owner, n, counts, sizes, boxes)
        neighbors = _join_neighbors(owner, touching)
        measured.append(Superpixels(labels, joined_counts, joined_sizes, joined_boxes, neighbors, channels))
    return measured


@kernel
def _slot(keys, key):  # type: ignore[no-untyped-def]
    """Returns the slot of a key in a hash table of 2^n keys (-1: free), or the free slot where it belongs."""
    mask = np.uint64(keys.size - 1)
    slot = ((np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)) & mask
    while keys[slot] != key and keys[slot] != -1:
        slot = (slot + np.uint64(1)) & mask
    return slot


@kernel
def _reserve(keys, values, used, more):  # type: ignore[no-untyped-def]
    """Returns the hash table, enlarged if `more` entries would fill more than half of it."""
    if 2 * (used + more) <= keys.size:
        return keys, values
    size = keys.size
    while 2 * (used + more) > size:
        size *= 2
    new_keys, new_values = np.full(size, -1, np.int64), np.empty(size, np.int32)
    for old in range(keys.size):
        if keys[old] != -1:
            slot = _slot(new_keys, keys[old])
            new_keys[slot], new_values[slot] = keys[old], values[old]
    return new_keys, new_values


@kernel
def _intersect(labels1, labels2):  # type: ignore[no-untyped-def]
    """Returns the parts of equal pairs of labels, (H, W) int32, and the two labels of every part."""
    height, width = labels1.shape
    parts = np.empty((height, width), np.int32)
    keys, values = np.full(1024, -1, np.int64), np.empty(1024, np.int32)  # pair of labels -> part
    n = 0
    for y in range(height):
        keys, values = _reserve(keys, values, n, width)
        start = 0
        while start < width:
            a, b = labels1[y, start], labels2[y, start]
            end = start + 1
            while end < width and labels1[y, end] == a and labels2[y, end] == b:
                end += 1
            key = np.int64(a) << 32 | b
            slot = _slot(keys, key)
            if keys[slot] == -1:
                keys[slot], values[slot] = key, n
                n += 1
            parts[y, start:end] = values[slot]
            start = end
    first, second = np.empty(n, np.int32), np.empty(n, np.int32)
    for slot in range(keys.size):
        if keys[slot] != -1:
            first[values[slot]], second[values[slot]] = keys[slot] >> 32, keys[slot] & 0xFFFFFFFF
    return parts, first, second


@kernel
def _measure(labels, count, bins):  # type: ignore[no-untyped-def]
    stored, height, width = bins.shape
    channels = stored // STORED_BINS
    axes = STORED_BINS - 1
    color = channels * COLOR_BINS
    counts = np.zeros((count, color + channels * ORIENTATIONS * TEXTURE_BINS), np.int32)
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
                            row[color + (c * ORIENTATIONS + axis) * TEXTURE_BINS + bins[first + axis, y, x]] += 1
            start = end
    # Of two opposite orientations only the one that responds was counted; all other pixels are in bin 0.
    for region in range(count):
        row = counts[region]
        for start in range(color, row.size, TEXTURE_BINS):
            counted = 0
            for i in range(start + 1, start + TEXTURE_BINS):
                counted += row[i]
            row[start] = sizes[region] - counted
    return counts, sizes, boxes


@kernel
def _add_pair(keys, a, b):  # type: ignore[no-untyped-def]
    """Adds two labels to a hash table of pairs; returns 1 if they differ and the pair is new, else 0."""
    if a == b:
        return 0
    key = np.int64(min(a, b)) << 32 | max(a, b)
    slot = _slot(keys, key)
    if keys[slot] == key:
        return 0
    keys[slot] = key
    return 1


@kernel
def _pairs(keys, n):  # type: ignore[no-untyped-def]
    """Returns the n pairs in a hash table, (n, 2) int32."""
    pairs = np.empty((n, 2), np.int32)
    i = 0
    for key in keys:
        if key != -1:
            pairs[i, 0], pairs[i, 1] = key >> 32, key & 0xFFFFFFFF
            i += 1
    return pairs


@kernel
def _neighbors(labels):  # type: ignore[no-untyped-def]
    """Returns the pairs a < b of 8-connected labels, (P, 2) int32, each once."""
    height, width = labels.shape
    keys, values = np.full(1024, -1, np.int64), np.empty(1024, np.int32)
    n = 0
    for y in range(height):
        keys, values = _reserve(keys, values, n, 4 * width)
        start = 0
        while start < width:
            label = labels[y, start]
            end = start + 1
            while end < width and labels[y, end] == label:
                end += 1
            if end < width:
                n += _add_pair(keys, label, labels[y, end])
            if y + 1 < height:  # below the run and on its diagonals
                last = label
                for x in range(max(start - 1, 0), min(end + 1, width)):
                    below = labels[y + 1, x]
                    if below != last:
                        n += _add_pair(keys, label, below)
                        last = below
            start = end
    return _pairs(keys, n)


@kernel
def _join(owner, count, counts, sizes, boxes):  # type: ignore[no-untyped-def]
    """Returns the histograms, sizes and boxes of superpixels, computed from those of their parts."""
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
def _join_neighbors(owner, touching):  # type: ignore[no-untyped-def]
    """Returns the neighbors of superpixels, computed from those of their parts."""
    keys, _ = _reserve(np.full(1024, -1, np.int64), np.empty(1024, np.int32), 0, len(touching))
    n = 0
    for i in range(len(touching)):
        n += _add_pair(keys, owner[touching[i, 0]], owner[touching[i, 1]])
    return _pairs(keys, n)
