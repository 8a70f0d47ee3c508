"""Short form of `python -m tests.reliability.soak`."""

import pytest

from tests.reliability.soak import slope_of, soak


def test_the_same_photo_has_the_same_result_each_time():
    row = soak(60, kinds=6, short_side=128)
    assert row.findings == []
    assert row.tried == 60


def test_the_slope_is_that_of_the_second_half():
    flat = [(i * 100, 500 + min(i, 5) * 1000) for i in range(20)]
    assert slope_of(flat) == pytest.approx(0, abs=1e-6)
    assert slope_of([(i * 100, i * 7) for i in range(20)]) == pytest.approx(70)
    assert slope_of([(0, 1)]) == 0


def test_a_step_is_no_slope():
    assert slope_of([(i * 100, 500 + 14_000 * (i > 12)) for i in range(20)]) == 0
