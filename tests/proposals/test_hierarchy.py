import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proposals import Hierarchy, SelectiveSearch, SelectiveSearchConfig
from proposals.config import SIMILARITIES
from proposals.grouping import group
from tests.proposals.test_grouping import measured

HIERARCHIES = st.builds(group, measured(), st.sampled_from(SIMILARITIES))


@settings(max_examples=40, deadline=None)
@given(hierarchy=HIERARCHIES)
def test_regions_equal_measurements_of_their_pixels(hierarchy: Hierarchy) -> None:
    n = hierarchy.superpixels
    masks = [hierarchy.labels == region for region in range(n)]
    for union, (a, b) in enumerate(hierarchy.merges.tolist(), start=n):
        assert a < b < union
        assert not (masks[a] & masks[b]).any()
        masks.append(masks[a] | masks[b])
        np.testing.assert_array_equal(hierarchy.counts[union], hierarchy.counts[a] + hierarchy.counts[b])
    assert len(hierarchy) == len(masks) == 2 * n - 1
    assert masks[-1].all()
    for region, mask in enumerate(masks):
        np.testing.assert_array_equal(hierarchy.mask(region), mask)
        rows, columns = np.nonzero(mask)
        assert hierarchy.sizes[region] == len(rows)
        box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert hierarchy.boxes[region].tolist() == box


@settings(max_examples=40, deadline=None)
@given(hierarchy=HIERARCHIES)
def test_parents_and_levels_follow_from_the_merges(hierarchy: Hierarchy) -> None:
    n = hierarchy.superpixels
    children = {n + i: pair for i, pair in enumerate(hierarchy.merges.tolist())}

    def level(region: int) -> int:
        return 0 if region < n else 1 + max(level(child) for child in children[region])

    assert hierarchy.levels.tolist() == [level(region) for region in range(len(hierarchy))]
    *parents, last = hierarchy.parents.tolist()
    assert last == -1
    assert all(region in children[parent] for region, parent in enumerate(parents))


@settings(max_examples=40, deadline=None)
@given(hierarchy=HIERARCHIES)
def test_a_cut_has_the_regions_after_the_first_merges(hierarchy: Hierarchy) -> None:
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
