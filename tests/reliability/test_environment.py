"""Short form of `python -m tests.reliability.environment`."""

import sys
from pathlib import Path

import pytest

from tests.reliability.environment import all_surroundings, everything_at_once, try_one

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the surroundings are made by Linux' means")


def test_without_home_network_and_utf_8(tmp_path: Path):
    assert try_one(everything_at_once(tmp_path), tmp_path).findings == []


def test_imported_in_a_thread(tmp_path: Path):
    (one,) = (one for one in all_surroundings(tmp_path) if one.name == "imported in a thread")
    assert try_one(one, tmp_path).findings == []
