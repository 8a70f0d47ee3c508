import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from proposals.features import COLOR_BINS, ORIENTATIONS, STORED_BINS, TEXTURE_BINS, feature_bins
from proposals.regions import Superpixels, measure_regions


def numbered(values: np.ndarray) -> tuple[np.ndarray, int]:
    """Labels 0 .. count - 1 for the distinct values, which need not lie together."""
    names, labels = np.unique(values, return_inverse=True)
    return labels.reshape(values.shape).astype(np.int32), len(names)


def pairs(regions: Superpixels) -> list[tuple[int, ...]]:
    return sorted(map(tuple, regions.neighbors.tolist()))


def flat_bins(height: int, width: int) -> np.ndarray:
    return feature_bins(np.zeros((3, height, width), np.uint8))


def pairs_by_hand(labels: np.ndarray) -> list[tuple[int, ...]]:
    height, width = labels.shape
    found = set()
    for (y, x), (dy, dx) in itertools.product(np.ndindex(height, width), itertools.product((-1, 0, 1), repeat=2)):
        if 0 <= y + dy < height and 0 <= x + dx < width and labels[y, x] < labels[y + dy, x + dx]:
            found.add((int(labels[y, x]), int(labels[y + dy, x + dx])))
    return sorted(found)


def histograms_of_bins(bins: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The histograms of the pixels in `mask`, from what `feature_bins` stores."""
    channels = len(bins) // STORED_BINS
    axes = ORIENTATIONS // 2
    color = np.bincount(bins[:channels, mask].ravel(), minlength=channels * COLOR_BINS)
    texture = []
    for channel in range(channels):
        stored = bins[channels + axes * channel :][:axes, mask].astype(int)
        ahead = np.where(stored < axes * TEXTURE_BINS, stored, 0)
        back = np.where(stored >= axes * TEXTURE_BINS, stored - axes * TEXTURE_BINS, 0)
        texture += [np.bincount(row, minlength=TEXTURE_BINS) for row in (*ahead, *back)]
    return np.concatenate([color, *texture])


@st.composite
def segmented(draw: st.DrawFn) -> tuple[list[tuple[np.ndarray, int]], np.ndarray]:
    """One to four segmentations of a small image, and the bins of its pixels."""
    shape = draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    most = draw(st.sampled_from([1, 2, 5, 80]))
    fields = draw(st.lists(arrays(np.int64, shape, elements=st.integers(0, most)), min_size=1, max_size=4))
    planes = draw(arrays(np.uint8, (draw(st.integers(1, 3)), *shape)))
    return [numbered(field) for field in fields], feature_bins(planes)


def assert_same(found: Sequence[Superpixels], expected: Sequence[Superpixels]) -> None:
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        for name in ("labels", "counts", "sizes", "boxes"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
        assert pairs(a) == pairs(b)
        assert a.channels == b.channels


@settings(max_examples=40, deadline=None)
@given(case=segmented())
def test_measuring_together_equals_measuring_alone(case: tuple[list[tuple[np.ndarray, int]], np.ndarray]) -> None:
    segmentations, bins = case
    alone = [measure_regions([one], bins)[0] for one in segmentations]
    assert_same(measure_regions(segmentations, bins), alone)


def test_segmentations_that_cut_each_other_into_many_parts() -> None:
    # Many more parts than superpixels: 900 of 30 rows and 30 columns.
    rows, columns = np.indices((30, 30))
    checks = [numbered(rows), numbered(columns), numbered((rows + columns) % 2)]
    bins = feature_bins(np.random.default_rng(0).integers(0, 256, (3, 30, 30), dtype=np.uint8))
    assert_same(measure_regions(checks, bins), [measure_regions([one], bins)[0] for one in checks])


@settings(max_examples=40, deadline=None)
@given(case=segmented())
def test_measurements_equal_those_of_the_pixels(case: tuple[list[tuple[np.ndarray, int]], np.ndarray]) -> None:
    segmentations, bins = case
    channels = len(bins) // STORED_BINS
    for (labels, count), measured in zip(segmentations, measure_regions(segmentations, bins), strict=True):
        assert measured.labels is labels
        assert measured.channels == channels
        assert measured.counts.shape == (count, channels * (COLOR_BINS + ORIENTATIONS * TEXTURE_BINS))
        assert measured.sizes.tolist() == np.bincount(labels.ravel()).tolist()
        assert pairs(measured) == pairs_by_hand(labels)
        for region in range(count):
            mask = labels == region
            rows, columns = np.nonzero(mask)
            box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert measured.boxes[region].tolist() == box
            np.testing.assert_array_equal(measured.counts[region], histograms_of_bins(bins, mask))
        for array, width in ((measured.counts, None), (measured.sizes, None), (measured.boxes, 4)):
            assert array.dtype == np.int32
            assert width is None or array.shape == (count, width)
        assert measured.neighbors.dtype == np.int32


@pytest.mark.parametrize("step", [2, 3, 4])
def test_background_with_thousands_of_neighbors(step: int) -> None:
    """No pair may be lost or duplicated, even if a second segmentation cuts the regions into parts."""
    height, width, count = 60 * step, 90 * step, 60 * 90 + 1
    labels = np.zeros((height, width), np.int32)
    labels[1::step, 1::step] = np.arange(1, count).reshape(60, 90)
    halves = (np.arange(width) >= width // 2).astype(np.int32)[None].repeat(height, axis=0)
    for segmentations in ([(labels, count)], [(halves, 2), (labels, count)]):
        measured = measure_regions(segmentations, flat_bins(height, width))
        assert pairs(measured[-1]) == [(0, region) for region in range(1, count)]
    assert pairs(measured[0]) == [(0, 1)]
    assert measured[0].sizes.tolist() == [height * (width // 2), height * (width - width // 2)]
