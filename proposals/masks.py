"""Masks of regions in COCO's run lengths (RLE)."""

import numpy as np

from proposals.compilation import compiled
from proposals.hierarchy import Hierarchy


def decode_mask(counts: bytes, image_size: tuple[int, int]) -> np.ndarray:
    """Returns the mask (H, W) bool of COCO's compressed RLE.

    Raises:
        ValueError: the run lengths do not cover an image of this size (width, height).
    """
    width, height = image_size
    mask = np.zeros(width * height, np.bool_)
    if not _decode(np.frombuffer(counts, np.uint8), mask):
        raise ValueError(f"a mask's run lengths do not cover the {width}x{height} image")
    return mask.reshape(width, height).T


def encode_regions(hierarchy: Hierarchy, regions: np.ndarray, image_size: tuple[int, int]) -> list[bytes]:
    """Returns the masks of some regions (R,) of a hierarchy in COCO's compressed RLE, at the size of the image.

    Where the hierarchy has another size, a pixel belongs to the region of the nearest pixel above and to the left.
    """
    height, width = hierarchy.labels.shape
    starts, sizes = _leaf_ranges(hierarchy.merges.astype(np.int64))
    columns = np.ascontiguousarray(starts[: hierarchy.superpixels][hierarchy.labels.T])
    across = (np.arange(image_size[0]) * width // image_size[0]).astype(np.int32)
    down = (np.arange(image_size[1]) * height // image_size[1]).astype(np.int32)
    masks = []
    for region in regions.tolist():
        x1, y1, x2, y2 = hierarchy.boxes[region].tolist()
        xs = np.searchsorted(across, (x1, x2))
        ys = np.searchsorted(down, (y1, y2))
        masks.append(_encode(columns, across, down, xs, ys, starts[region], sizes[region]).tobytes())
    return masks


@compiled
def _leaf_ranges(merges):  # type: ignore[no-untyped-def]
    """Numbers the superpixels so that those of every region are consecutive.

    Returns:
        The first number and the count of superpixels of every region, (2 N - 1,) int32 each.
    """
    n = len(merges) + 1
    starts, sizes = np.zeros(2 * n - 1, np.int32), np.ones(2 * n - 1, np.int32)
    for i in range(n - 1):
        sizes[n + i] = sizes[merges[i, 0]] + sizes[merges[i, 1]]
    for i in range(n - 2, -1, -1):
        a, b = merges[i, 0], merges[i, 1]
        starts[a] = starts[n + i]
        starts[b] = starts[n + i] + sizes[a]
    return starts, sizes


@compiled
def _encode(columns, across, down, xs, ys, start, size):  # type: ignore[no-untyped-def]
    """Returns the mask of the superpixels start .. start + size - 1 as characters, (L,) uint8."""
    height = np.int64(down.size)
    runs = np.empty(64, np.int64)
    n = 0
    end = np.int64(0)  # of the last run inside the region
    for x in range(xs[0], xs[1]):
        column = columns[across[x]]
        y = ys[0]
        while y < ys[1]:
            if np.uint32(column[down[y]] - start) >= np.uint32(size):
                y += 1
                continue
            first = x * height + y
            while y < ys[1] and np.uint32(column[down[y]] - start) < np.uint32(size):
                y += 1
            if first == end and n > 0:  # continues from the bottom of the column before
                runs[n - 1] += x * height + y - first
            else:
                if n + 3 > runs.size:
                    longer = np.empty(2 * runs.size, np.int64)
                    longer[:n] = runs[:n]
                    runs = longer
                runs[n], runs[n + 1] = first - end, x * height + y - first
                n += 2
            end = x * height + y
    if end < across.size * height:
        runs[n] = across.size * height - end
        n += 1
    # COCO's characters: from the fourth run on the difference to the run before the last, in groups of five bits.
    text = np.empty(7 * n, np.uint8)
    length = 0
    for i in range(n):
        value = runs[i] - runs[i - 2] if i > 2 else runs[i]
        more = True
        while more:
            group = value & 31
            value >>= 5
            more = value != (-1 if group & 16 else 0)
            text[length] = (group | 32 if more else group) + 48
            length += 1
    return text[:length]


@compiled
def _decode(text, mask):  # type: ignore[no-untyped-def]
    """Fills a mask, (W * H,) bool by columns; returns whether the run lengths cover it exactly."""
    end, position, i = np.int64(0), 0, 0
    previous, before = np.int64(0), np.int64(0)
    while position < text.size:
        value, shift, more = np.int64(0), 0, True
        while more:
            if position == text.size or shift > 55 or text[position] < 48 or text[position] > 111:
                return False
            group = np.int64(text[position]) - 48
            value |= (group & 31) << shift
            shift += 5
            position += 1
            more = group & 32 != 0
            if not more and group & 16:
                value |= np.int64(-1) << shift
        if i > 2:
            value += before
        if value < 0 or end + value > mask.size:
            return False
        if i % 2:
            mask[end : end + value] = True
        end += value
        before, previous = previous, value
        i += 1
    return end == mask.size
