"""Short form of `python -m tests.reliability.concurrency`."""

from pathlib import Path

from tests.reliability import concurrency
from tests.reliability.kill_tasks import Detect
from tests.reliability.nursery import Nursery


def test_processes_share_a_cache(nursery: Nursery, tmp_path: Path):
    assert concurrency.one_cache(nursery, tmp_path, photos=4, rounds=1).findings == []


def test_only_one_process_writes_into_a_folder(nursery: Nursery, tmp_path: Path):
    assert concurrency.one_output(nursery, tmp_path, Detect(2), rounds=1).findings == []


def test_threads_share_a_detector_a_cache_and_a_zip(tmp_path: Path):
    assert concurrency.one_detector(threads=4, times=3).findings == []
    (tmp_path / "cache").mkdir()
    assert concurrency.one_cache_in_threads(tmp_path / "cache", threads=4, times=10).findings == []
    (tmp_path / "zip").mkdir()
    assert concurrency.one_zip_in_threads(tmp_path / "zip", threads=4, times=20).findings == []
