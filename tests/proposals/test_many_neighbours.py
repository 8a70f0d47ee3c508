"""A background that touches thousands of regions: no pair may be lost, and none doubled."""

import numpy as np
import pytest

from proposals.regions import measure_regions


@pytest.mark.parametrize("step", [3, 4])
def test_a_background_with_thousands_of_neighbors(step: int) -> None:
    height, width = 60 * step, 90 * step
    labels = np.zeros((height, width), np.int32)
    dots = np.arange(1, 60 * 90 + 1, dtype=np.int32).reshape(60, 90)
    labels[1::step, 1::step] = dots
    bins = np.zeros((5, height, width), np.uint8)
    alone = measure_regions([(labels, dots.size + 1)], bins)[0]
    assert sorted(map(tuple, alone.neighbors.tolist())) == [(0, int(dot)) for dot in dots.ravel()]

    # Cut by a second segmentation into left and right, the parts are joined to the same superpixels again.
    halves = np.zeros_like(labels)
    halves[:, width // 2 :] = 1
    together = measure_regions([(labels, dots.size + 1), (halves, 2)], bins)
    assert sorted(map(tuple, together[0].neighbors.tolist())) == sorted(map(tuple, alone.neighbors.tolist()))
    assert together[1].neighbors.tolist() == [[0, 1]]
    assert together[1].sizes.tolist() == [height * (width // 2), height * (width - width // 2)]
