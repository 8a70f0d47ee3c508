import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from proposals import Hierarchy, SelectiveSearch, SelectiveSearchConfig
from proposals.config import SIMILARITIES
from proposals.features import COLOR_BINS, ORIENTATIONS, TEXTURE_BINS, feature_bins
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


@pytest.fixture(scope="module")
def of_photo(photo: np.ndarray) -> Hierarchy:
    return SelectiveSearch(SelectiveSearchConfig.preset("single")).hierarchies(photo)[0]


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
def test_every_cut_is_a_partition_that_refines_coarser_cuts(case: tuple[Hierarchy, np.ndarray]) -> None:
    hierarchy, _ = case
    n = hierarchy.superpixels
    np.testing.assert_array_equal(hierarchy.segmentation(n), hierarchy.labels)
    assert (hierarchy.segmentation(1) == len(hierarchy) - 1).all()
    finer = None
    for count in range(n, 0, -1):
        cut = hierarchy.segmentation(count)
        assert cut.dtype == np.int32
        names = np.unique(cut).tolist()
        assert len(names) == count
        # The regions that have not been merged yet.
        made = 2 * n - count
        assert names == [region for region in range(made) if hierarchy.parents[region] in (-1, *range(made, 2 * n))]
        for region in names:
            np.testing.assert_array_equal(cut == region, hierarchy.mask(region))
        if finer is not None:
            joined = finer != cut
            # Only the two regions of one merge differ.
            assert set(np.unique(finer[joined]).tolist()) == set(hierarchy.merges[n - count - 1].tolist())
            assert (cut[joined] == made - 1).all()
        finer = cut


def test_regions_and_cuts_out_of_range(of_photo: Hierarchy) -> None:
    for hierarchy in (of_photo, of_one_color()):
        n = hierarchy.superpixels
        for region in (-1, 2 * n - 1):
            with pytest.raises(ValueError, match=rf"^region {region} .* 0 to {2 * n - 2}$"):
                hierarchy.mask(region)
        for count in (0, -1, n + 1):
            with pytest.raises(ValueError, match=rf" 1 to {n} regions, not {count}$"):
                hierarchy.segmentation(count)
        assert hierarchy.mask(2 * n - 2).all()


def of_one_color() -> Hierarchy:
    return SelectiveSearch(SelectiveSearchConfig.preset("single")).hierarchies(np.full((4, 6, 3), 9, np.uint8))[0]


def test_one_superpixel_is_the_whole_hierarchy() -> None:
    hierarchy = of_one_color()
    assert (len(hierarchy), hierarchy.superpixels) == (1, 1)
    assert hierarchy.merges.shape == (0, 2)
    assert hierarchy.similarities.shape == (0,)
    assert hierarchy.parents.tolist() == [-1]
    assert hierarchy.levels.tolist() == [0]
    assert hierarchy.boxes.tolist() == [[0, 0, 6, 4]]
    assert hierarchy.mask(0).all()
    assert not hierarchy.segmentation(1).any()


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_histograms_exist_only_if_the_similarity_needs_them(photo: np.ndarray, similarity: str) -> None:
    config = SelectiveSearchConfig(color_spaces=("rgI",), similarities=(similarity,), ks=(20,))
    hierarchy = SelectiveSearch(config).hierarchies(photo[:100, :150])[0]
    bins = 3 * (COLOR_BINS + ORIENTATIONS * TEXTURE_BINS) if set("CT") & set(similarity) else 0
    assert hierarchy.counts.shape == (len(hierarchy), bins)
    assert hierarchy.similarities.shape == (hierarchy.superpixels - 1,)
    assert hierarchy.similarities.dtype == np.float64
    assert len(hierarchy) > 20
    # Each of the measures lies in 0..1.
    assert hierarchy.similarities.min() >= 0
    assert hierarchy.similarities.max() <= len(similarity)
    assert hierarchy.similarities.max() > 0.5 * len(similarity)


def test_a_photo_has_a_tree_of_many_levels(of_photo: Hierarchy, photo: np.ndarray) -> None:
    n = of_photo.superpixels
    assert of_photo.labels.shape == photo.shape[:2]
    assert np.log2(n) <= of_photo.levels[-1] == of_photo.levels.max() < n
    # Up the tree regions only grow.
    child = np.arange(2 * n - 2)
    parent = of_photo.parents[child]
    assert (of_photo.sizes[parent] > of_photo.sizes[child]).all()
    assert (of_photo.boxes[parent, :2] <= of_photo.boxes[child, :2]).all()
    assert (of_photo.boxes[parent, 2:] >= of_photo.boxes[child, 2:]).all()
    assert len(np.unique(of_photo.segmentation(7))) == 7
