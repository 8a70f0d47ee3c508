"""Short form of `python -m tests.reliability.disk`."""

from pathlib import Path

import pytest

from tests.reliability.disk import Case, ends_well, quick_cases, small_disk
from tests.reliability.nursery import Ended, Nursery


@pytest.mark.parametrize("case", quick_cases(), ids=lambda case: case.name)
def test_a_bad_disk_ends_in_a_clear_line(case: Case, nursery: Nursery, tmp_path: Path):
    assert case.run(nursery, tmp_path) == []


def test_what_does_not_end_well_is_seen():
    good = Ended(2, 0.1, "", "error: a.jpg: no such file; check the path\n1 of 2 sources failed\n")
    assert ends_well(good, "a.jpg: no such file") == []
    assert len(ends_well(good, "b.jpg")) == 1
    assert len(ends_well(Ended(1, 0.1, "", "Traceback (most recent call last):\nKeyError"))) == 2


def test_a_small_disk_is_small(tmp_path: Path):
    with small_disk(tmp_path / "disk", 65536) as enlarge:
        if enlarge is None:
            pytest.skip("nothing may be mounted here")
        with pytest.raises(OSError, match="No space left"):
            (tmp_path / "disk/a").write_bytes(bytes(100_000))
        enlarge()
        (tmp_path / "disk/a").write_bytes(bytes(100_000))
