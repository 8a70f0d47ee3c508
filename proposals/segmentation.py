"""Graph-based segmentation (Felzenszwalb and Huttenlocher, IJCV 2004)."""

import numpy as np

from proposals.compilation import kernel
from proposals.filters import correlate, gaussian_kernel

# Edge weights are sorted as whole numbers of 1/128 grey level: the largest, 255 * sqrt(3), fits 16 bits.
WEIGHT_UNIT = 128
# Edges looked at in one go.
_SIEVED = 256
# A bound that no weight exceeds.
_HIGHEST = np.float32(65535)


def sorted_edges(planes: np.ndarray, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """The edges of the 8-connected pixel graph, smoothed by `sigma`, in ascending weight.

    Args:
        planes: (C, H, W) uint8, C at most 3.
        sigma: Gaussian smoothing in pixels.

    Returns:
        codes: (E,) uint32, pixel index * 4 + direction (0 right, 1 down, 2 down right, 3 down left); of
            equal weights the upper rows first, in a row the smaller direction, then the smaller column.
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
    labels, count = _segment(codes, starts, width, height, np.float32(k * WEIGHT_UNIT), float(minimum_size))
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
            # Slices rather than offsets: so the compiler sees that it may do many at a time.
            sums = squares[first:last]
            sums[:] = np.float32(0)
            for c in range(channels):
                here = planes[c, y, first:last]
                there = planes[c, y if direction == 0 else y + 1, first + step : last + step]
                for x in range(sums.size):
                    difference = here[x] - there[x]
                    sums[x] += difference * difference
            row = weights[y, direction, first:last]
            for x in range(sums.size):
                row[x] = np.uint16(np.sqrt(sums[x]) * unit)
            for x in range(sums.size):
                starts[row[x] + 1] += 1
    for w in range(65536):
        starts[w + 1] += starts[w]
    codes = np.empty(starts[65536], np.uint32)
    ends = starts.astype(np.int32)
    for y in range(height):
        for direction in range(1 if y + 1 == height else 4):
            first = 1 if direction == 3 else 0
            last = width - 1 if direction == 0 or direction == 2 else width
            row = weights[y, direction]
            for x in range(first, last):
                codes[ends[row[x]]] = (y * width + x) * 4 + direction
                ends[row[x]] += 1
    return codes, starts


@kernel
def _root(parents, node):  # type: ignore[no-untyped-def]
    # Two steps without asking reach nearly every root: branches that cannot be foreseen are what takes time here.
    root = parents[parents[node]]
    while parents[root] != root:
        root = parents[root]
    parents[node] = root
    return root


@kernel
def _pixels(code, steps):  # type: ignore[no-untyped-def]
    """The two pixels of an edge."""
    pixel = np.uint32(code >> np.uint32(2))
    return pixel, np.uint32(pixel + steps[code & np.uint32(3)])


@kernel
def _join(parents, sizes, a, b):  # type: ignore[no-untyped-def]
    """Put the smaller of two components under the larger, which is returned."""
    total = sizes[a] + sizes[b]
    larger = b if sizes[a] < sizes[b] else a
    parents[a + b - larger] = larger
    sizes[larger] = total
    return larger


@kernel
def _segment(codes, starts, width, height, k, minimum_size):  # type: ignore[no-untyped-def]
    pixels = width * height
    # Unsigned indices spare the test for negative ones, a quarter of the time.
    steps = np.array([1, width, width + 1, width - 1], np.uint32)
    parents = np.arange(pixels).astype(np.uint32)
    sizes = np.ones(pixels, np.int32)
    # Of a component: its largest weight inside + k / size. Cut to a whole number, as weights are, it lets the same
    # edges through, and fits a fast cache.
    bounds = np.full(pixels, np.uint16(min(k, _HIGHEST)), np.uint16)
    kept = np.empty(codes.size + 1, np.uint32)  # edges of small components, for the pass over these
    n_kept = 0
    # Most edges lie inside a component. They are sieved out beforehand by a loop without branches, which notes how far
    # it came towards the roots of the others.
    between, first, second = np.empty(_SIEVED, np.uint32), np.empty(_SIEVED, np.uint32), np.empty(_SIEVED, np.uint32)
    for w in range(65536):
        weight = np.float32(w)
        for start in range(starts[w], starts[w + 1], _SIEVED):
            n = 0
            for e in range(start, min(start + _SIEVED, starts[w + 1])):
                x, y = _pixels(codes[e], steps)
                a, b = parents[parents[x]], parents[parents[y]]
                parents[x], parents[y] = a, b
                between[n], first[n], second[n] = codes[e], a, b
                n += np.int64(a != b)
            for i in range(n):
                a, b = first[i], second[i]
                while parents[a] != a:
                    a = parents[a]
                while parents[b] != b:
                    b = parents[b]
                if w <= min(bounds[a], bounds[b]):
                    if a != b:
                        larger = _join(parents, sizes, a, b)
                        bounds[larger] = np.uint16(min(weight + k / np.float32(sizes[larger]), _HIGHEST))
                else:
                    kept[n_kept] = between[i]
                    n_kept += np.int64(min(sizes[a], sizes[b]) < minimum_size)  # sizes only grow
    for e in range(n_kept):
        x, y = _pixels(kept[e], steps)
        a, b = _root(parents, x), _root(parents, y)
        if a != b and min(sizes[a], sizes[b]) < minimum_size:
            _join(parents, sizes, a, b)
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
