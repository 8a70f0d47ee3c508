"""Runs with Ray in which processes die; some minutes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from detector.bulk.network import DetectorSettings
from detector.cli import main
from tests.detector.run_tools import Told

pytest.importorskip("ray.data")

from detector.bulk.pipeline import detect_many

ROOT = Path(__file__).parents[3]


pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("ray_here")]


class Watching(Told):
    """Calls `at_first` when the first photo is done, and counts the photos."""

    def __init__(self, at_first: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self.at_first, self.photos = at_first, 0

    def progress(self, items: Iterable[Any], unit: str, total: int | None = None) -> Iterable[Any]:
        self.totals.append(total)
        for item in items:
            self.photos += 1
            if self.photos == 1:
                self.at_first()
            yield item


def networks() -> list[int]:
    """Process ids of the workers that hold a network, among those of this test's Ray."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if (
                entry.name.isdigit()
                and b"MapWorker(MapBatches(Network)" in (entry / "cmdline").read_bytes()
                and is_ours(int(entry.name))
            ):
                found.append(int(entry.name))
        except OSError:
            pass  # it has ended
    return found


def is_ours(process: int) -> bool:
    while process > 1:
        if process == os.getpid():
            return True
        process = int(Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[1])
    return False


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="processes are found in /proc")
def test_a_worker_is_killed_and_nothing_is_lost_or_doubled(folder, alone, results, same_as, tmp_path):
    killed = []

    def kill() -> None:
        for process in networks():
            os.kill(process, signal.SIGKILL)
            killed.append(process)

    told = Watching(kill)
    outcome = detect_many([str(folder)], tmp_path / "out", DetectorSettings(device="cpu"), told, shard=2)
    assert killed
    assert (outcome.images, outcome.done, outcome.failed) == (11, 11, 1)
    assert told.photos == 11
    assert len(told.errors) == 1
    same_as(results(tmp_path / "out"), alone)


class Deadly(DetectorSettings):
    """The process that judges below/7.jpg dies of it."""

    def load(self, device: str | None = None) -> Any:
        detector = super().load(device)
        judge = detector.score_batch

        def deadly(images: Any) -> Any:
            if any(one.image.name.endswith("7.jpg") for one in images):
                os._exit(9)
            return judge(images)

        detector.score_batch = deadly  # type: ignore[method-assign]
        return detector


def test_a_photo_that_kills_its_process_is_given_up_alone(folder, alone, results, same_as, tmp_path, monkeypatch):
    monkeypatch.setattr("detector.bulk.ray_data.RETRIES", 0)
    monkeypatch.setattr("detector.bulk.pipeline.RETRIES", 0)
    told = Watching()
    outcome = detect_many([str(folder)], tmp_path / "out", Deadly(device="cpu"), told, shard=4)
    assert (outcome.images, outcome.done, outcome.failed) == (11, 11, 2)
    deadly = f"{folder}/below/7.jpg"
    message = f"{deadly}: detection failed (its process died 2 times)"
    assert f"error: {message}" in told.errors
    found = results(tmp_path / "out")
    assert found.pop(deadly) == {"image": deadly, "error": message}
    same_as(found, {name: entry for name, entry in alone.items() if name != deadly})


def test_the_whole_run_is_killed_and_goes_on(folder, alone, results, same_as, tmp_path, capsys):
    out = tmp_path / "out"
    command = ["bulk", str(folder), "--out", str(out), "--shard", "2", "--device", "cpu", "--workers", "1"]
    process = subprocess.Popen([sys.executable, "tools/bulk.py", *command[1:]], cwd=ROOT, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(out.glob("shard-*.jsonl")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.wait()
    before = {path: path.stat().st_mtime_ns for path in out.glob("shard-*.jsonl")}
    command.append("--resume")
    with pytest.raises(SystemExit) as caught:
        main(command)
    assert caught.value.code == 2, "one is cut short"
    captured = capsys.readouterr()
    assert "11 of 11 photos are done, 1 of them failed" in captured.out
    assert {path: path.stat().st_mtime_ns for path in before} == before
    same_as(results(out), alone)
    shards = [path.read_text().splitlines() for path in sorted(out.glob("shard-*.jsonl"))]
    listed = list(map(json.loads, (out / "images.jsonl").read_text().splitlines()[1:]))
    assert [json.loads(line)["image"] for lines in shards for line in lines] == listed
    with pytest.raises(SystemExit):
        main(command)
    assert "11 of 11 are done already" in capsys.readouterr().out
