"""Short form of `python -m tests.reliability.kill`, without the export, which is slow."""

from pathlib import Path

import pytest

from tests.reliability.kill import half_written, try_kills
from tests.reliability.kill_tasks import Cache, Detect, Evaluate, Task, Train
from tests.reliability.nursery import Nursery


@pytest.mark.parametrize(
    ("task", "times"), [(Detect(6), 3), (Evaluate(4), 2), (Train(4), 2), (Cache(6), 4)], ids=lambda value: str(value)
)
def test_a_killed_command_goes_on_to_the_same_end(task: Task, times: int, nursery: Nursery, tmp_path: Path):
    row = try_kills(task, times, nursery, tmp_path)
    assert row.findings == []
    assert row.tried == times


def test_half_written_files_are_seen(tmp_path: Path):
    (tmp_path / "good.json").write_text("[]")
    (tmp_path / "bad.json").write_text("[")
    (tmp_path / "bad.npz").write_bytes(b"PK")
    (tmp_path / "torn.jsonl").write_text('{"a": 1}\n{"a')
    assert [fault.split(":")[0] for fault in half_written(tmp_path)] == ["bad.json", "bad.npz"]
