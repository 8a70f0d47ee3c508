"""Graph-based segmentation (Felzenszwalb and Huttenlocher, IJCV 2004)."""

import numpy as np

from proposals.compilation import kernel
from proposals.filters import correlate, gaussian_kernel

# Edge weights are sorted as whole numbers of 1/128 grey level: the largest, 255 * sqrt(3), fits 16 bits.
WEIGHT_UNIT = 128


def sorted_edges(planes: np.ndarray, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """The edges of the 8-connected pixel graph, smoothed by `sigma`, in ascending weight.

    Args:
        planes: (C, H, W) uint8, C at most 3.
        sigma: Gaussian smoothing in pixels.

    Returns:
        codes: (E,) uint32, pixel index * 4 + direction (0 right, 1 down, 2 down right, 3 down left); of
            equal weights the smaller code first.
        starts: (65537,) int64: codes[starts[w]:starts[w + 1]] weigh w / WEIGHT_UNIT.
    """
    kernel = gaussian_kernel(sigma)
    return _sorted_edges(correlate(planes, kernel, kernel), np.float32(WEIGHT_UNIT))


def segment(
    edges: tuple[np.ndarray, np.ndarray], image_size: tuple[int, int], k: float, minimum_size: float
) -> tuple[np.ndarray, int]:
    """Superpixels of the graph.

    Args:
        edges: result of `sorted_edges`.
        image_size: (width, height) in pixels.
        k: threshold of the segmentation in grey levels * pixels.
        minimum_size: components of fewer pixels are joined to a neighbour, least weight first.

    Returns:
        labels: (H, W) int32, 0 .. count - 1 in order of the first pixel in raster order.
        count: number of superpixels.
    """
    codes, starts = edges
    width, height = image_size
    labels, count = _segment(codes, starts, width, height, float(k) * WEIGHT_UNIT, float(minimum_size))
    return labels, count


@kernel
def _sorted_edges(planes, unit):  # type: ignore[no-untyped-def]
    channels, height, width = planes.shape
    weights = np.empty((height, 4, width), np.uint16)
    starts = np.zeros(65537, np.int64)
    squares = np.empty(width, np.float32)
    for y in range(height):
        for direction in range(4):
            if direction > 0 and y + 1 == height:
                continue
            first = 1 if direction == 3 else 0
            last = width - 1 if direction == 0 or direction == 2 else width
            step = 1 if direction == 0 or direction == 2 else (-1 if direction == 3 else 0)
            squares[:] = np.float32(0)
            for c in range(channels):
                here = planes[c, y]
                there = planes[c, y if direction == 0 else y + 1]
                for x in range(first, last):
                    difference = here[x] - there[x + step]
                    squares[x] += difference * difference
            row = weights[y, direction]
            for x in range(first, last):
                row[x] = np.uint16(np.sqrt(squares[x]) * unit)
            for x in range(first, last):
                starts[row[x] + 1] += 1
    for w in range(65536):
        starts[w + 1] += starts[w]
    codes = np.empty(starts[65536], np.uint32)
    ends = starts.copy()
    for y in range(height):
        for x in range(width):
            for direction in range(4):
                if direction > 0 and y + 1 == height:
                    continue
                if x + 1 == width and (direction == 0 or direction == 2):
                    continue
                if x == 0 and direction == 3:
                    continue
                w = weights[y, direction, x]
                codes[ends[w]] = (y * width + x) * 4 + direction
                ends[w] += 1
    return codes, starts


@kernel
def _root(parents, node):  # type: ignore[no-untyped-def]
    parent = parents[node]
    while parent != node:
        grandparent = parents[parent]
        parents[node] = grandparent
        node = grandparent
        parent = parents[node]
    return node


@kernel
def _ends(parents, code, steps):  # type: ignore[no-untyped-def]
    """The components that an edge touches."""
    pixel = np.uint32(code >> np.uint32(2))
    return _root(parents, pixel), _root(parents, np.uint32(pixel + steps[code & np.uint32(3)]))


@kernel
def _segment(codes, starts, width, height, k, minimum_size):  # type: ignore[no-untyped-def]
    pixels = width * height
    # Unsigned indices spare the test for negative ones, a quarter of the time.
    steps = np.array([1, width, width + 1, width - 1], np.uint32)
    parents = np.arange(pixels).astype(np.uint32)
    sizes = np.ones(pixels, np.int32)
    thresholds = np.full(pixels, k, np.float32)  # of a root: largest weight inside + k / size
    kept = np.empty(codes.size, np.uint32)  # edges between components, for the pass over small ones
    n_kept = 0
    for w in range(65536):
        for e in range(starts[w], starts[w + 1]):
            a, b = _ends(parents, codes[e], steps)
            if a == b:
                continue
            if w <= thresholds[a] and w <= thresholds[b]:
                if sizes[a] < sizes[b]:
                    a, b = b, a
                parents[b] = a
                sizes[a] += sizes[b]
                thresholds[a] = w + k / sizes[a]
            else:
                kept[n_kept] = codes[e]
                n_kept += 1
    for e in range(n_kept):
        a, b = _ends(parents, kept[e], steps)
        if a != b and (sizes[a] < minimum_size or sizes[b] < minimum_size):
            if sizes[a] < sizes[b]:
                a, b = b, a
            parents[b] = a
            sizes[a] += sizes[b]
    labels = np.empty((height, width), np.int32)
    flat = labels.reshape(-1)
    names = np.full(pixels, -1, np.int32)
    count = 0
    for pixel in range(pixels):
        root = _root(parents, np.uint32(pixel))
        if names[root] < 0:
            names[root] = count
            count += 1
        flat[pixel] = names[root]
    return labels, count
