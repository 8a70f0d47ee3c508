"""Runs with Ray, of which one is started for all of them."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from detector.bulk.network import DetectorSettings
from detector.cli import main
from tests.detector.run_tools import Told

ray = pytest.importorskip("ray")
pytest.importorskip("ray.data")

from detector.bulk.pipeline import detect_many  # noqa: E402
from detector.bulk.ray_data import Cluster  # noqa: E402

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module", autouse=True)
def started() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")  # on a busy machine Ray's workers would wait for all others
        patch.setenv("RAY_BACKEND_LOG_LEVEL", "fatal")
        ray.init("local", num_cpus=1, object_store_memory=200 << 20, include_dashboard=False, log_to_driver=False)
        yield
        ray.shutdown()


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
                and b"NetworkActor" in (entry / "cmdline").read_bytes()
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


def same(found: dict[str, Any], alone: dict[str, Any], folder: Path) -> None:
    found = dict(found)
    assert found.pop(str(folder / "cut.jpg"))["error"].startswith(f"{folder}/cut.jpg: damaged or cut short")
    assert found == alone


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="processes are found in /proc")
def test_a_worker_is_killed_and_nothing_is_lost_or_doubled(folder, alone, results, tmp_path):
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
    same(results(tmp_path / "out"), alone, folder)


class Deadly(DetectorSettings):
    """The process that judges below/7.jpg dies of it."""

    def load(self, device: str | None = None) -> Any:
        detector = super().load(device)
        judge = detector.judge

        def deadly(images: Any) -> Any:
            if any(one.image.name.endswith("7.jpg") for one in images):
                os._exit(9)
            return judge(images)

        detector.judge = deadly  # type: ignore[method-assign]
        return detector


def test_a_photo_that_kills_its_process_is_given_up_alone(folder, alone, results, tmp_path, monkeypatch):
    monkeypatch.setattr("detector.bulk.ray_data.RETRIES", 0)
    monkeypatch.setattr("detector.bulk.pipeline.RETRIES", 0)
    told = Watching()
    outcome = detect_many([str(folder)], tmp_path / "out", Deadly(device="cpu"), told, shard=4)
    assert (outcome.images, outcome.done, outcome.failed) == (11, 11, 2)
    deadly = f"{folder}/below/7.jpg"
    message = f"{deadly}: detection failed (its process died of it 2 times)"
    assert f"error: {message}" in told.errors
    found = results(tmp_path / "out")
    assert found.pop(deadly) == {"image": deadly, "error": message}
    same(found, {name: entry for name, entry in alone.items() if name != deadly}, folder)


def test_the_whole_run_is_killed_and_goes_on(folder, alone, results, tmp_path, capsys):
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
    with pytest.raises(SystemExit) as caught:
        main(command)
    assert caught.value.code == 2, "one is cut short"
    captured = capsys.readouterr()
    assert "11 of 11 photos are done, 1 of them failed" in captured.out
    assert {path: path.stat().st_mtime_ns for path in before} == before
    same(results(out), alone, folder)
    shards = [path.read_text().splitlines() for path in sorted(out.glob("shard-*.jsonl"))]
    listed = list(map(json.loads, (out / "images.jsonl").read_text().splitlines()))
    assert [json.loads(line)["image"] for lines in shards for line in lines] == listed
    with pytest.raises(SystemExit):
        main(command)
    assert "11 of 11 are done already" in capsys.readouterr().out


def test_more_workers_than_cores_and_an_address_without_a_cluster(folder, tmp_path):
    with pytest.raises(SystemExit) as caught:
        main(["bulk", str(folder), "--out", str(tmp_path), "--workers", "2", "--device", "cpu"])
    assert caught.value.code == 2
    with pytest.raises(Exception, match="Ray has 1 cores, and a worker takes one"):
        detect_many([str(folder)], tmp_path, DetectorSettings(device="cpu"), Told(), Cluster(workers=2))
