from typing import Any

import numpy as np
import pytest

import proposals.grouping as grouping
from proposals.colour import colour_planes
from proposals.features import COLOUR_BINS, Regions, feature_bins, regions
from proposals.grouping import Hierarchy, group
from proposals.segmentation import segment, sorted_edges

SIZE = (160, 120)


@pytest.fixture(scope="module")
def superpixels(photo: np.ndarray) -> tuple[np.ndarray, np.ndarray, Regions]:
    """Labels, bins and measured superpixels of a piece of a photo."""
    planes = colour_planes(np.ascontiguousarray(photo[90:210, 150:310]), "Lab")
    labels, count = segment(sorted_edges(planes, 0.8), SIZE, 20, 20)
    assert count > 60
    bins = feature_bins(planes)
    return labels, bins, regions(labels, count, bins)


def leaves(hierarchy: Hierarchy, n: int) -> list[set[int]]:
    members = [{region} for region in range(n)]
    for a, b in hierarchy.merges.tolist():
        members.append(members[a] | members[b])
    return members


@pytest.mark.parametrize("similarity", ["CTSF", "TSF", "C", "SF"])
def test_every_union_joins_two_living_neighbours(
    superpixels: tuple[np.ndarray, np.ndarray, Regions], similarity: str
) -> None:
    _, _, base = superpixels
    n = len(base.sizes)
    hierarchy = group(base, similarity, SIZE)
    assert hierarchy.merges.shape == (n - 1, 2)
    assert len(hierarchy.boxes) == len(hierarchy.sizes) == len(hierarchy.counts) == 2 * n - 1
    # Every region but the last is joined exactly once, and only after it was made.
    assert sorted(hierarchy.merges.ravel().tolist()) == list(range(2 * n - 2))
    assert (hierarchy.merges < np.arange(n, 2 * n - 1)[:, None]).all()
    assert hierarchy.boxes[-1].tolist() == [0, 0, *SIZE]
    assert hierarchy.sizes[-1] == SIZE[0] * SIZE[1]

    touching = {frozenset(pair) for pair in base.neighbours.tolist()}
    members = leaves(hierarchy, n)
    for a, b in hierarchy.merges.tolist():
        assert any(frozenset((i, j)) in touching for i in members[a] for j in members[b])


def test_features_handed_on_equal_features_from_pixels(
    superpixels: tuple[np.ndarray, np.ndarray, Regions],
) -> None:
    labels, bins, base = superpixels
    n = len(base.sizes)
    hierarchy = group(base, "CTSF", SIZE)
    for region, members in enumerate(leaves(hierarchy, n)):
        mask = np.isin(labels, list(members))
        whole = regions(np.where(mask, 0, 1).astype(np.int32), 2, bins)
        assert hierarchy.sizes[region] == mask.sum()
        np.testing.assert_array_equal(hierarchy.boxes[region], whole.boxes[0])
        np.testing.assert_array_equal(hierarchy.counts[region], whole.counts[0])


def similarity_by_hand(hierarchy: Hierarchy, a: int, b: int, letters: str) -> float:
    """Equations 2 to 6 of the paper in plain numbers."""
    sizes, split, total = hierarchy.sizes, 3 * COLOUR_BINS, SIZE[0] * SIZE[1]
    value = 0.0
    for letter, part in (("C", slice(0, split)), ("T", slice(split, None))):
        if letter in letters:
            normed = [hierarchy.counts[r, part] / hierarchy.counts[r, part].sum() for r in (a, b)]
            value += np.minimum(*normed).sum()
    if "S" in letters:
        value += 1 - (sizes[a] + sizes[b]) / total
    if "F" in letters:
        low = np.minimum(hierarchy.boxes[a, :2], hierarchy.boxes[b, :2])
        high = np.maximum(hierarchy.boxes[a, 2:], hierarchy.boxes[b, 2:])
        value += 1 - ((high - low).prod() - sizes[a] - sizes[b]) / total
    return value


@pytest.mark.parametrize("similarity", ["CTSF", "TSF", "CT", "C", "T", "S", "F"])
def test_the_most_similar_neighbours_are_joined(
    superpixels: tuple[np.ndarray, np.ndarray, Regions], similarity: str
) -> None:
    _, _, base = superpixels
    n = len(base.sizes)
    hierarchy = group(base, similarity, SIZE)
    neighbours: dict[int, set[int]] = {region: set() for region in range(n)}
    for a, b in base.neighbours.tolist():
        neighbours[a].add(b)
        neighbours[b].add(a)
    values = {(a, b): similarity_by_hand(hierarchy, a, b, similarity) for a, b in base.neighbours.tolist()}
    for i, (a, b) in enumerate(hierarchy.merges.tolist()):
        best = max(values.values())
        # Fractions are rounded down to 1/65535: 315 of them may lose 0.005 in all, hardly ever 0.002.
        assert values[min(a, b), max(a, b)] >= best - 0.002
        union = n + i
        neighbours[union] = (neighbours.pop(a) | neighbours.pop(b)) - {a, b}
        values = {pair: value for pair, value in values.items() if a not in pair and b not in pair}
        for other in neighbours[union]:
            neighbours[other] -= {a, b}
            neighbours[other].add(union)
            values[other, union] = similarity_by_hand(hierarchy, other, union, similarity)


def row_of(n: int, **changes: Any) -> Regions:
    """`n` alike regions of one pixel in a row."""
    fields: dict[str, Any] = {
        "counts": np.tile(np.eye(1, 315, dtype=np.int32), (n, 1)),
        "sizes": np.ones(n, np.int32),
        "boxes": np.array([(i, 0, i + 1, 1) for i in range(n)], np.int32),
        "neighbours": np.array([(i, i + 1) for i in range(n - 1)], np.int32).reshape(-1, 2),
        "channels": 3,
    }
    return Regions(**(fields | changes))


def test_equal_pairs_are_joined_in_order_of_age() -> None:
    # Colour alone: all pairs are alike for ever.
    # The unions are 5 = 0 1, 6 = 2 3, 7 = 4 6.
    assert group(row_of(5), "C", (5, 1)).merges.tolist() == [[0, 1], [2, 3], [4, 6], [5, 7]]


def test_one_region_needs_no_grouping() -> None:
    hierarchy = group(row_of(1), "CTSF", (1, 1))
    assert hierarchy.merges.shape == (0, 2)
    assert hierarchy.boxes.tolist() == [[0, 0, 1, 1]]


def test_a_region_with_many_neighbours_overflows_the_heap() -> None:
    # A star: each union meets all the others again, far more pairs than the heap starts with.
    n = 400
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 50, (n, 315)).astype(np.int32)
    star = row_of(n, counts=counts, neighbours=np.array([(0, i) for i in range(1, n)], np.int32))
    hierarchy = group(star, "CTSF", (n, 1))
    assert sorted(hierarchy.merges.ravel().tolist()) == list(range(2 * n - 2))
    # The centre takes part in every union: afterwards it is the union made last.
    assert hierarchy.merges[:, 1].tolist()[1:] == list(range(n, 2 * n - 2))
    np.testing.assert_array_equal(hierarchy.counts[-1], counts.sum(axis=0))


def test_the_sum_of_measures_does_not_overflow() -> None:
    # Four measures near their maximum of 1 each.
    near = row_of(3, sizes=np.array([1, 1, 10**6], np.int32))
    assert group(near, "CTSF", (1000, 1000)).merges[0].tolist() == [0, 1]
    assert grouping._WHOLE * 24 < 2**32
