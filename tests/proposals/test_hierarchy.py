import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from proposals import Hierarchy, SelectiveSearch, SelectiveSearchConfig
from proposals.config import SIMILARITIES
from proposals.features import feature_bins
from proposals.grouping import group
from proposals.regions import measure_regions


@st.composite
def grouped(draw: st.DrawFn) -> tuple[Hierarchy, np.ndarray]:
    """The grouping of a small image with superpixels of any shape, and the bins of its pixels."""
    shape = draw(st.tuples(st.integers(1, 8), st.integers(1, 8)))
    field = draw(arrays(np.int64, shape, elements=st.integers(0, draw(st.sampled_from([0, 3, 40])))))
    names, labels = np.unique(field, return_inverse=True)
    planes = draw(arrays(np.uint8, (draw(st.integers(1, 3)), *shape)))
    bins = feature_bins(planes)
    regions = measure_regions([(labels.reshape(shape).astype(np.int32), len(names))], bins)[0]
    return group(regions, draw(st.sampled_from(SIMILARITIES))), bins


def pixels(hierarchy: Hierarchy) -> list[np.ndarray]:
    """(H, W) bool of every region, as the union of its two children."""
    masks = [hierarchy.labels == region for region in range(hierarchy.superpixels)]
    for a, b in hierarchy.merges.tolist():
        masks.append(masks[a] | masks[b])
    return masks


@settings(max_examples=40, deadline=None)
@given(case=grouped())
def test_regions_equal_measurements_of_their_pixels(case: tuple[Hierarchy, np.ndarray]) -> None:
    hierarchy, bins = case
    masks = pixels(hierarchy)
    assert len(hierarchy) == len(masks) == 2 * hierarchy.superpixels - 1
    assert hierarchy.superpixels == hierarchy.labels.max() + 1
    assert masks[-1].all()
    for a, b in hierarchy.merges.tolist():
        assert a < b
        assert not (masks[a] & masks[b]).any()
    for region, expected in enumerate(masks):
        mask = hierarchy.mask(region)
        assert mask.dtype == bool
        np.testing.assert_array_equal(mask, expected)
        rows, columns = np.nonzero(mask)
        assert hierarchy.sizes[region] == len(rows)
        box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert hierarchy.boxes[region].tolist() == box
        if hierarchy.counts.shape[1]:
            labels = np.where(mask, 0, 1).astype(np.int32)
            again = measure_regions([(labels, int(labels.max()) + 1)], bins)[0]
            np.testing.assert_array_equal(hierarchy.counts[region], again.counts[0])


@settings(max_examples=40, deadline=None)
@given(case=grouped())
def test_parents_and_levels_follow_from_the_merges(case: tuple[Hierarchy, np.ndarray]) -> None:
    hierarchy, _ = case
    n = hierarchy.superpixels
    children = {n + i: pair for i, pair in enumerate(hierarchy.merges.tolist())}

    def level(region: int) -> int:
        return 0 if region < n else 1 + max(level(child) for child in children[region])

    assert hierarchy.levels.tolist() == [level(region) for region in range(len(hierarchy))]
    parents = hierarchy.parents
    assert parents.dtype == hierarchy.levels.dtype == np.int32
    assert parents[-1] == -1
    for region in range(len(hierarchy) - 1):
        assert region in children[parents[region]]
        assert parents[region] > region
        assert hierarchy.levels[parents[region]] > hierarchy.levels[region]


@settings(max_examples=40, deadline=None)
@given(case=grouped())
def test_a_cut_has_the_regions_after_the_first_merges(case: tuple[Hierarchy, np.ndarray]) -> None:
    hierarchy, _ = case
    n = hierarchy.superpixels
    for count in range(1, n + 1):
        cut = hierarchy.segmentation(count)
        names = np.unique(cut).tolist()
        assert len(names) == count
        assert names[-1] < 2 * n - count
        for region in names:
            np.testing.assert_array_equal(cut == region, hierarchy.mask(region))


def test_regions_and_cuts_out_of_range() -> None:
    search = SelectiveSearch(SelectiveSearchConfig.preset("single"))
    hierarchy = search.hierarchies(np.full((4, 6, 3), 9, np.uint8))[0]  # of one superpixel
    for region in (-1, 1):
        with pytest.raises(ValueError, match=rf"^region {region} .* 0 to 0$"):
            hierarchy.mask(region)
    for count in (0, 2):
        with pytest.raises(ValueError, match=rf" 1 to 1 regions, not {count}$"):
            hierarchy.segmentation(count)
