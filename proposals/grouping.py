"""Hierarchical grouping of superpixels (Selective Search, algorithm 1)."""

import numpy as np

from proposals.compilation import kernel
from proposals.features import COLOR_BINS, ORIENTATIONS
from proposals.hierarchy import Hierarchy
from proposals.regions import Superpixels

# Histograms are compared as 16-bit fractions, because sums of integers do not depend on their order.
_ONE = 65535
# Similarities are compared as integer multiples of 1 / _SIMILARITY_UNIT, so that ties are the same on every machine.
_SIMILARITY_UNIT = 2.0**28


def group(superpixels: Superpixels, similarity: str) -> Hierarchy:
    """Merges the two most similar neighbors until one region is left.

    Of equally similar pairs, the one with the lowest region indices is merged first.

    Args:
        superpixels: the initial regions.
        similarity: letters of the measures to sum (equations 2 to 6 of the paper): C color, T texture, S size, F fill.
    """
    n = len(superpixels.sizes)
    # Only color and texture need histograms.
    bins = superpixels.counts.shape[1] if set("CT") & set(similarity) else 0
    counts = np.zeros((2 * n - 1, bins), np.int32)
    sizes = np.zeros(2 * n - 1, np.int32)
    boxes = np.zeros((2 * n - 1, 4), np.int32)
    counts[:n], sizes[:n], boxes[:n] = superpixels.counts[:, :bins], superpixels.sizes, superpixels.boxes
    # The value of each measure that amounts to a similarity of 1.
    pixels = superpixels.labels.size
    units = {
        "C": _ONE * superpixels.channels,
        "T": _ONE * superpixels.channels * ORIENTATIONS,
        "S": pixels,
        "F": pixels,
    }
    weights = np.array([1 / unit if letter in similarity else 0.0 for letter, unit in units.items()])
    merges, keys = _group(counts, sizes, boxes, superpixels.neighbors, superpixels.channels * COLOR_BINS, weights)
    return Hierarchy(superpixels.labels, merges, keys / _SIMILARITY_UNIT, boxes, sizes, counts)


@kernel
def _normalize(counts, size, out):  # type: ignore[no-untyped-def]
    """Writes histograms of pixel counts, each with the sum `size`, as fractions of _ONE."""
    scale = _ONE / size
    for i in range(counts.size):
        out[i] = np.uint16(counts[i] * scale)


@kernel
def _intersection(a, b):  # type: ignore[no-untyped-def]
    total = np.uint32(0)
    for i in range(a.size):
        total += np.uint32(min(a[i], b[i]))
    return total


@kernel
def _similarity(a, b, fractions, sizes, boxes, color_bins, weights):  # type: ignore[no-untyped-def]
    """Returns the sum of the measures in units of 1 / _SIMILARITY_UNIT."""
    color, texture, size, fill = weights[0], weights[1], weights[2], weights[3]
    value = 0.0
    if color > 0:
        value += color * _intersection(fractions[a, :color_bins], fractions[b, :color_bins])
    if texture > 0:
        value += texture * _intersection(fractions[a, color_bins:], fractions[b, color_bins:])
    union = sizes[a] + sizes[b]
    if size > 0:
        value += 1.0 - size * union
    if fill > 0:
        box_width = max(boxes[a, 2], boxes[b, 2]) - min(boxes[a, 0], boxes[b, 0])
        box_height = max(boxes[a, 3], boxes[b, 3]) - min(boxes[a, 1], boxes[b, 1])
        value += 1.0 - fill * (box_width * box_height - union)
    return int(value * _SIMILARITY_UNIT)


@kernel
def _before(key, pair, other_key, other_pair):  # type: ignore[no-untyped-def]
    return key > other_key or (key == other_key and pair < other_pair)


@kernel
def _sift_up(keys, pairs, i):  # type: ignore[no-untyped-def]
    key, pair = keys[i], pairs[i]
    while i > 0:
        parent = (i - 1) >> 1
        if not _before(key, pair, keys[parent], pairs[parent]):
            break
        keys[i], pairs[i] = keys[parent], pairs[parent]
        i = parent
    keys[i], pairs[i] = key, pair


@kernel
def _sift_down(keys, pairs, length, i):  # type: ignore[no-untyped-def]
    key, pair = keys[i], pairs[i]
    while 2 * i + 1 < length:
        child = 2 * i + 1
        if child + 1 < length and _before(keys[child + 1], pairs[child + 1], keys[child], pairs[child]):
            child += 1
        if not _before(keys[child], pairs[child], key, pair):
            break
        keys[i], pairs[i] = keys[child], pairs[child]
        i = child
    keys[i], pairs[i] = key, pair


@kernel
def _group(counts, sizes, boxes, neighbors, color_bins, weights):  # type: ignore[no-untyped-def]
    """Groups regions; fills in the unions in counts, sizes and boxes, whose first n rows describe the superpixels."""
    n = (sizes.size + 1) // 2
    merges = np.empty((n - 1, 2), np.int32)
    merged_keys = np.empty(n - 1, np.int64)
    fractions = np.empty(counts.shape, np.uint16)
    for region in range(n):
        _normalize(counts[region], sizes[region], fractions[region])

    # The neighbors of a region are a linked list of arcs; merging two regions links their lists. If the target of an
    # arc has been merged since, `owner` leads to the union that contains it.
    n_pairs = len(neighbors)
    target = np.empty(2 * n_pairs, np.int32)
    following = np.full(2 * n_pairs, -1, np.int64)
    head = np.full(sizes.size, -1, np.int64)
    tail = np.full(sizes.size, -1, np.int64)
    owner = np.arange(sizes.size)
    linked_to = np.full(sizes.size, -1, np.int64)  # the last union that a region became a neighbor of
    # Heap of pairs, most similar first. Pairs with a merged region are dropped when they reach the top.
    keys = np.empty(max(4 * n_pairs, 16), np.int64)
    pairs = np.empty(keys.size, np.int64)
    length = 0
    for p in range(n_pairs):
        for side in range(2):
            arc = 2 * p + side
            start = neighbors[p, side]
            target[arc] = neighbors[p, 1 - side]
            if head[start] < 0:
                head[start] = arc
            else:
                following[tail[start]] = arc
            tail[start] = arc
        a, b = np.int64(neighbors[p, 0]), np.int64(neighbors[p, 1])
        keys[length] = _similarity(a, b, fractions, sizes, boxes, color_bins, weights)
        pairs[length] = (a << 32) | b
        length += 1
    for i in range(length // 2 - 1, -1, -1):
        _sift_down(keys, pairs, length, i)

    for union in range(n, 2 * n - 1):
        while True:
            key, pair = keys[0], pairs[0]
            a, b = pair >> 32, pair & 0xFFFFFFFF
            length -= 1
            keys[0], pairs[0] = keys[length], pairs[length]
            _sift_down(keys, pairs, length, 0)
            if owner[a] == a and owner[b] == b:
                break
        merges[union - n, 0] = a
        merges[union - n, 1] = b
        merged_keys[union - n] = key
        owner[a] = owner[b] = union
        for i in range(counts.shape[1]):
            counts[union, i] = counts[a, i] + counts[b, i]
        sizes[union] = sizes[a] + sizes[b]
        boxes[union, 0] = min(boxes[a, 0], boxes[b, 0])
        boxes[union, 1] = min(boxes[a, 1], boxes[b, 1])
        boxes[union, 2] = max(boxes[a, 2], boxes[b, 2])
        boxes[union, 3] = max(boxes[a, 3], boxes[b, 3])
        _normalize(counts[union], sizes[union], fractions[union])

        following[tail[a]] = head[b]
        arc = head[a]
        last = -1
        while arc >= 0:
            neighbor = np.int64(target[arc])
            while owner[neighbor] != neighbor:
                owner[neighbor] = owner[owner[neighbor]]
                neighbor = owner[neighbor]
            if neighbor != union and linked_to[neighbor] != union:
                linked_to[neighbor] = union
                target[arc] = neighbor
                if last < 0:
                    head[union] = arc
                else:
                    following[last] = arc
                last = arc
                if length == keys.size:
                    keys, pairs, length = _compact(keys, pairs, owner)
                keys[length] = _similarity(neighbor, union, fractions, sizes, boxes, color_bins, weights)
                pairs[length] = (neighbor << 32) | union
                _sift_up(keys, pairs, length)
                length += 1
            arc = following[arc]
        if last >= 0:
            following[last] = -1
        tail[union] = last
    return merges, merged_keys


@kernel
def _compact(keys, pairs, owner):  # type: ignore[no-untyped-def]
    """Drops the pairs with merged regions from a full heap and doubles it if more than half is still in use."""
    length = 0
    for i in range(keys.size):
        a, b = pairs[i] >> 32, pairs[i] & 0xFFFFFFFF
        if owner[a] == a and owner[b] == b:
            keys[length] = keys[i]
            pairs[length] = pairs[i]
            length += 1
    if 2 * length > keys.size:
        larger_keys = np.empty(2 * keys.size, np.int64)
        larger_pairs = np.empty(2 * keys.size, np.int64)
        for i in range(length):
            larger_keys[i] = keys[i]
            larger_pairs[i] = pairs[i]
        keys, pairs = larger_keys, larger_pairs
    for i in range(length // 2 - 1, -1, -1):
        _sift_down(keys, pairs, length, i)
    return keys, pairs, length
