from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from proposals.config import SIMILARITIES
from proposals.features import COLOR_BINS, ORIENTATIONS, feature_bins
from proposals.grouping import group
from proposals.regions import Superpixels, measure_regions


def whole_similarity(base: Superpixels, counts: np.ndarray, size: np.ndarray, boxes: np.ndarray, letters: str) -> int:
    """Similarity of two regions, rows of the arrays, in the whole numbers that decide which pair comes first."""
    pixels, split = base.labels.size, base.channels * COLOR_BINS
    shares = np.floor(counts * (65535 / size)[:, None])
    common, union = np.minimum(*shares), int(size.sum())
    value = 0.0
    if "C" in letters:
        value += 1 / (65535 * base.channels) * common[:split].sum()
    if "T" in letters:
        value += 1 / (65535 * base.channels * ORIENTATIONS) * common[split:].sum()
    if "S" in letters:
        value += 1 - 1 / pixels * union
    if "F" in letters:
        around = int((boxes[:, 2:].max(axis=0) - boxes[:, :2].min(axis=0)).prod())
        value += 1 - 1 / pixels * (around - union)
    return int(value * 2**28)


def merges_by_hand(base: Superpixels, letters: str) -> list[tuple[int, int, float]]:
    """The pairs and their similarities by the algorithm of the paper, with a search over all pairs for every union."""
    n = len(base.sizes)
    counts, sizes, boxes = list(base.counts), list(base.sizes), list(base.boxes)

    def value(pair: tuple[int, int]) -> int:
        one, other = pair
        arrays = [np.array([field[one], field[other]]) for field in (counts, sizes, boxes)]
        return whole_similarity(base, *arrays, letters)

    values = {pair: value(pair) for pair in map(tuple, base.neighbors.tolist())}
    merges = []
    for union in range(n, 2 * n - 1):
        a, b = max(values, key=lambda pair: (values[pair], -pair[0], -pair[1]))
        merges.append((a, b, values[a, b] / 2**28))
        counts.append(counts[a] + counts[b])
        sizes.append(sizes[a] + sizes[b])
        boxes.append(np.concatenate([np.minimum(boxes[a], boxes[b])[:2], np.maximum(boxes[a], boxes[b])[2:]]))
        around = {other for pair in values if {a, b} & set(pair) for other in pair} - {a, b}
        values = {pair: kept for pair, kept in values.items() if not {a, b} & set(pair)}
        values |= {(other, union): value((other, union)) for other in around}
    return merges


@st.composite
def measured(draw: st.DrawFn) -> Superpixels:
    """A few superpixels of any shape, so that many pairs are equally similar."""
    shape = draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    field = draw(arrays(np.int64, shape, elements=st.integers(0, 11)))
    names, labels = np.unique(field, return_inverse=True)
    planes = draw(arrays(np.uint8, (draw(st.integers(1, 3)), *shape), elements=st.sampled_from([0, 60, 255])))
    return measure_regions([(labels.reshape(shape).astype(np.int32), len(names))], feature_bins(planes))[0]


@settings(max_examples=40, deadline=None)
@given(base=measured(), similarity=st.sampled_from(SIMILARITIES))
def test_equals_the_slow_algorithm(base: Superpixels, similarity: str) -> None:
    hierarchy = group(base, similarity)
    assert [(*pair, value) for pair, value in zip(hierarchy.merges.tolist(), hierarchy.similarities, strict=True)] == (
        merges_by_hand(base, similarity)
    )


def row_of(n: int, size: tuple[int, int] | None = None, **changes: Any) -> Superpixels:
    """`n` alike regions of one pixel in a row, in an image of `size` (width, height)."""
    width, height = size or (n, 1)
    labels = np.full(width * height, n - 1, np.int32)
    labels[:n] = np.arange(n)
    fields: dict[str, Any] = {
        "labels": labels.reshape(height, width),
        "counts": np.tile(np.eye(1, 315, dtype=np.int32), (n, 1)),
        "sizes": np.ones(n, np.int32),
        "boxes": np.array([(i, 0, i + 1, 1) for i in range(n)], np.int32),
        "neighbors": np.array([(i, i + 1) for i in range(n - 1)], np.int32).reshape(-1, 2),
        "channels": 3,
    }
    return Superpixels(**(fields | changes))


def test_the_smallest_are_joined_first_by_size() -> None:
    sizes = np.array([5, 1, 2, 9, 1], np.int32)
    hierarchy = group(row_of(5, (6, 3), sizes=sizes), "S")
    assert hierarchy.merges.tolist() == [[1, 2], [0, 5], [3, 4], [6, 7]]
    assert hierarchy.similarities.tolist() == pytest.approx([15 / 18, 10 / 18, 8 / 18, 0], abs=1e-6)


def test_regions_that_fill_their_box_are_joined_first_by_fill() -> None:
    # 0 and 1 make a square; 2 leaves two pixels of its box with them to 3, as many as 3 leaves to 2, and is older.
    labels = np.array([[0, 0, 2, 2], [1, 1, 3, 3], [3, 3, 3, 3]], np.int32)
    base = measure_regions([(labels, 4)], feature_bins(np.zeros((1, 3, 4), np.uint8)))[0]
    hierarchy = group(base, "F")
    assert hierarchy.merges.tolist() == [[0, 1], [2, 4], [3, 5]]
    assert hierarchy.similarities.tolist() == pytest.approx([1, 10 / 12, 1], abs=1e-6)


def test_a_region_with_many_neighbors_overflows_the_heap() -> None:
    # A star: each union meets all the others again, far more pairs than the heap starts with.
    n = 400
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 50, (n, 315)).astype(np.int32)
    star = row_of(n, counts=counts, neighbors=np.array([(0, i) for i in range(1, n)], np.int32))
    hierarchy = group(star, "CTSF")
    assert sorted(hierarchy.merges.ravel().tolist()) == list(range(2 * n - 2))
    # The center takes part in every union: afterwards it is the union made last.
    assert hierarchy.merges[:, 1].tolist()[1:] == list(range(n, 2 * n - 2))
    np.testing.assert_array_equal(hierarchy.counts[-1], counts.sum(axis=0))
