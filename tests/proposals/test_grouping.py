from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import proposals.grouping as grouping
from proposals.color import color_planes
from proposals.config import SIMILARITIES
from proposals.features import COLOR_BINS, ORIENTATIONS, feature_bins
from proposals.grouping import group
from proposals.hierarchy import Hierarchy
from proposals.regions import Superpixels, measure_regions
from proposals.segmentation import segment, sorted_edges

SIZE = (160, 120)


@pytest.fixture(scope="module")
def superpixels(photo: np.ndarray) -> tuple[np.ndarray, Superpixels]:
    """Bins and measured superpixels of a piece of a photo."""
    planes = color_planes(np.ascontiguousarray(photo[90:210, 150:310]), "Lab")
    labels, count = segment(sorted_edges(planes, 0.8), SIZE, 20, 20)
    assert count > 60
    bins = feature_bins(planes)
    return bins, measure_regions([(labels, count)], bins)[0]


def leaves(hierarchy: Hierarchy) -> list[set[int]]:
    members = [{region} for region in range(hierarchy.superpixels)]
    for a, b in hierarchy.merges.tolist():
        members.append(members[a] | members[b])
    return members


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_every_merge_joins_two_unmerged_neighbors(superpixels: tuple[np.ndarray, Superpixels], similarity: str) -> None:
    _, base = superpixels
    n = len(base.sizes)
    hierarchy = group(base, similarity)
    assert hierarchy.superpixels == n
    assert hierarchy.merges.shape == (n - 1, 2)
    assert len(hierarchy) == len(hierarchy.boxes) == len(hierarchy.sizes) == len(hierarchy.counts) == 2 * n - 1
    # Every region but the last is merged exactly once, and only after it was created.
    assert sorted(hierarchy.merges.ravel().tolist()) == list(range(2 * n - 2))
    assert (hierarchy.merges < np.arange(n, 2 * n - 1)[:, None]).all()
    assert hierarchy.boxes[-1].tolist() == [0, 0, *SIZE]
    assert hierarchy.sizes[-1] == SIZE[0] * SIZE[1]

    touching = {frozenset(pair) for pair in base.neighbors.tolist()}
    members = leaves(hierarchy)
    for a, b in hierarchy.merges.tolist():
        assert any(frozenset((i, j)) in touching for i in members[a] for j in members[b])


def test_features_of_unions_equal_features_from_pixels(superpixels: tuple[np.ndarray, Superpixels]) -> None:
    bins, base = superpixels
    hierarchy = group(base, "CTSF")
    for region, members in enumerate(leaves(hierarchy)):
        mask = np.isin(base.labels, list(members))
        whole = measure_regions([(np.where(mask, 0, 1).astype(np.int32), 2)], bins)[0]
        assert hierarchy.sizes[region] == mask.sum()
        np.testing.assert_array_equal(hierarchy.boxes[region], whole.boxes[0])
        np.testing.assert_array_equal(hierarchy.counts[region], whole.counts[0])


def test_input_is_not_modified(superpixels: tuple[np.ndarray, Superpixels]) -> None:
    _, base = superpixels
    names = ("labels", "counts", "sizes", "boxes", "neighbors")
    before = {name: getattr(base, name).copy() for name in names}
    hierarchy = group(base, "CTSF")
    for array in (hierarchy.counts, hierarchy.sizes, hierarchy.boxes):
        array[:] = -1
    for name in names:
        np.testing.assert_array_equal(getattr(base, name), before[name])


def similarity_by_hand(hierarchy: Hierarchy, counts: np.ndarray, a: int, b: int, letters: str) -> float:
    """Equations 2 to 6 of the paper, with the histograms `counts` of three channels."""
    sizes, split, total = hierarchy.sizes, 3 * COLOR_BINS, hierarchy.labels.size
    value = 0.0
    for letter, part in (("C", slice(0, split)), ("T", slice(split, None))):
        if letter in letters:
            normed = [counts[r, part] / counts[r, part].sum() for r in (a, b)]
            value += np.minimum(*normed).sum()
    if "S" in letters:
        value += 1 - (sizes[a] + sizes[b]) / total
    if "F" in letters:
        low = np.minimum(hierarchy.boxes[a, :2], hierarchy.boxes[b, :2])
        high = np.maximum(hierarchy.boxes[a, 2:], hierarchy.boxes[b, 2:])
        value += 1 - ((high - low).prod() - sizes[a] - sizes[b]) / total
    return value


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_the_most_similar_neighbors_are_joined(superpixels: tuple[np.ndarray, Superpixels], similarity: str) -> None:
    _, base = superpixels
    n = len(base.sizes)
    hierarchy = group(base, similarity)
    # Fractions are rounded down to 1/65535: 315 of them may lose 0.005 in all, hardly ever 0.002.
    tolerance = 0.002 if set("CT") & set(similarity) else 1e-6
    neighbors: dict[int, set[int]] = {region: set() for region in range(n)}
    for a, b in base.neighbors.tolist():
        neighbors[a].add(b)
        neighbors[b].add(a)

    def value(a: int, b: int) -> float:
        return similarity_by_hand(hierarchy, hierarchy.counts, a, b, similarity)

    values = {(a, b): value(a, b) for a, b in base.neighbors.tolist()}
    for i, (a, b) in enumerate(hierarchy.merges.tolist()):
        assert values[a, b] >= max(values.values()) - tolerance
        assert hierarchy.similarities[i] == pytest.approx(values[a, b], abs=tolerance)
        union = n + i
        neighbors[union] = (neighbors.pop(a) | neighbors.pop(b)) - {a, b}
        values = {pair: value for pair, value in values.items() if a not in pair and b not in pair}
        for other in neighbors[union]:
            neighbors[other] -= {a, b}
            neighbors[other].add(union)
            values[other, union] = value(other, union)


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


def merges_by_hand(base: Superpixels, letters: str) -> list[tuple[int, int]]:
    """The algorithm of the paper, with a search over all pairs for every union."""
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
        merges.append((a, b))
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
    assert group(base, similarity).merges.tolist() == [list(pair) for pair in merges_by_hand(base, similarity)]


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


def test_equal_pairs_are_merged_in_order_of_their_indices() -> None:
    # By color alone all pairs are always equal; the unions are 5 = 0 1, 6 = 2 3, 7 = 4 6.
    assert group(row_of(5), "C").merges.tolist() == [[0, 1], [2, 3], [4, 6], [5, 7]]


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


def test_one_region_needs_no_grouping() -> None:
    hierarchy = group(row_of(1), "CTSF")
    assert hierarchy.merges.shape == (0, 2)
    assert hierarchy.similarities.shape == (0,)
    assert hierarchy.boxes.tolist() == [[0, 0, 1, 1]]


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


def test_the_sum_of_measures_does_not_overflow() -> None:
    # Four measures near their maximum of 1 each.
    near = row_of(3, (1000, 1000), sizes=np.array([1, 1, 10**6], np.int32))
    hierarchy = group(near, "CTSF")
    assert hierarchy.merges[0].tolist() == [0, 1]
    assert grouping._ONE * 24 < 2**32
