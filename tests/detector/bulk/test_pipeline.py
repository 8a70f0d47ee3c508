"""A run without Ray: its stages one after the other in this process."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from detector.bulk.listing import Shard
from detector.bulk.network import Network
from detector.bulk.pipeline import collect
from detector.bulk.ray_data import Shares, Stages, shares_of
from detector.bulk.shards import ShardFolder
from detector.bulk.stages import Proposing, Reading, Row, together
from detector.cli import main
from detector.errors import InputError
from tests.detector.run_tools import Told

NAMES = [f"{number}.jpg" for number in range(10)]


@pytest.fixture
def opened(tmp_path: Path) -> Callable[[], ShardFolder]:
    (tmp_path / "list.txt").write_text("\n".join(NAMES))
    return lambda: ShardFolder(tmp_path / "out", [str(tmp_path / "list.txt")], 3, {})


class Worked:
    """Gives rows of shards as Ray may: blocks of two, in another order; some are lost, some come twice.

    Args:
        deadly: photos of which a process dies. lost: those whose block is lost once. stops: how many rows there are.
    """

    def __init__(self, deadly: Sequence[str] = (), lost: Sequence[str] = (), twice: bool = False, stops: int = 99):
        self.deadly, self.lost, self.twice, self.stops = deadly, lost, twice, stops
        self.asked: list[tuple[list[int], bool]] = []

    def bound(self, folder: ShardFolder) -> Callable[[Sequence[Shard], bool], Iterator[Row]]:
        def rows(shards: Sequence[Shard], alone: bool) -> Iterator[Row]:
            self.asked.append(([one.number for one in shards], alone))
            done = []
            for shard in shards:
                for block in together(Reading(folder.images, folder.start).rows(shard), 1 if alone else 2):
                    names = [json.loads(row["line"])["image"] for row in block]  # there are no such files
                    if set(self.deadly).isdisjoint(names) and (alone or set(self.lost).isdisjoint(names)):
                        line = {name: json.dumps({"image": name, "detections": []}).encode() for name in names}
                        done += [
                            {"shard": row["shard"], "index": row["index"], "line": line[name]}
                            for row, name in zip(block, names, strict=True)
                        ]
            for count, row in enumerate(reversed(done * 2 if self.twice else done)):
                if count == self.stops:
                    raise InputError("stopped")
                yield row

        return rows


def written(folder: ShardFolder) -> list[dict[str, Any]]:
    return [json.loads(line) for shard in folder.shards for line in folder.path(shard.number).read_text().splitlines()]


@pytest.mark.parametrize("worked", [Worked(), Worked(twice=True), Worked(lost=["0.jpg", "9.jpg"], twice=True)])
def test_each_photo_has_one_result_in_its_order(opened, worked):
    folder, told = opened(), Told()
    collect(folder, worked.bound(folder), told)
    assert [entry["image"] for entry in written(folder)] == NAMES
    assert (folder.outcome.done, folder.outcome.failed) == (10, 0)
    assert told.totals == [10]
    assert told.errors == []
    alone = [([0, 0, 3], True)] if worked.lost else []
    assert worked.asked == [([0, 1, 2, 3], False), *alone]


def test_a_photo_that_kills_its_process_costs_itself_alone(opened):
    folder, told = opened(), Told()
    collect(folder, Worked(deadly=["4.jpg"], lost=["0.jpg"]).bound(folder), told)
    entries = written(folder)
    assert [entry["image"] for entry in entries] == NAMES
    message = "4.jpg: detection failed (its process died 8 times)"
    assert [entry.get("error") for entry in entries if "error" in entry] == [message]
    assert told.errors == [f"error: {message}"]
    assert (folder.outcome.done, folder.outcome.failed) == (10, 1)


def test_a_run_that_stops_goes_on_with_the_shards_that_are_missing(opened):
    folder = opened()
    with pytest.raises(InputError, match="stopped"):
        collect(folder, Worked(stops=5).bound(folder), Told())
    assert [entry["image"] for entry in map(json.loads, folder.path(2).read_text().splitlines())] == NAMES[6:9]
    before = folder.path(2).stat().st_mtime_ns
    again, worked, told = opened(), Worked(), Told()
    collect(again, worked.bound(again), told)
    assert worked.asked == [([0, 1], False)]
    assert told.totals == [6]
    assert [entry["image"] for entry in written(again)] == NAMES
    assert again.path(2).stat().st_mtime_ns == before
    assert opened().remaining == []


@pytest.fixture
def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command's stages run in this process; where it would look for Ray it finds an empty module."""
    ray: Any = ModuleType("ray")
    ray.data, ray.exceptions = ModuleType("ray.data"), ModuleType("ray.exceptions")
    ray.exceptions.RayError = type("RayError", (Exception,), {})
    for module in (ray, ray.data, ray.exceptions):
        monkeypatch.setitem(sys.modules, module.__name__, module)

    def rows(self: Stages, shards: Sequence[Shard], alone: bool) -> Iterator[Row]:
        network = Network(self.settings)
        assert self.proposer is not None
        for shard in shards:
            for some in together(Reading(self.images, self.start).rows(shard), self.batch):
                yield from network.rows(Proposing(self.proposer).rows(some))

    monkeypatch.setattr(Stages, "rows", rows)
    monkeypatch.setattr("detector.bulk.pipeline.connected", lambda *_: nullcontext())
    monkeypatch.setattr("detector.bulk.pipeline.data_settings", lambda *_: nullcontext())
    monkeypatch.setattr("detector.bulk.pipeline.shares_of", lambda *_: Shares("cpu", 1, 0.5, 1, 0.4, 0.1))


def test_the_command_finds_what_detect_finds_and_goes_on(
    without_ray, folder, alone, results, same_as, tmp_path, capsys
):
    out = tmp_path / "out"
    command = ["bulk", str(folder), "--out", str(out), "--shard", "4", "--device", "cpu"]

    def run() -> str:
        with pytest.raises(SystemExit) as caught:
            main(command)
        assert caught.value.code == 2, "one is cut short"
        return capsys.readouterr().out

    assert "11 of 11 photos are done, 1 of them failed" in run()
    same_as(results(out), alone)
    with pytest.raises(SystemExit):
        main(command)
    assert "--resume" in capsys.readouterr().err
    command.append("--resume")
    assert "11 of 11 are done already" in run()
    (out / "shard-00001.jsonl").unlink()
    assert "7 of 11 are done already" in run()
    assert results(out).keys() == {*alone, str(folder / "cut.jpg")}
    for changed, message in (
        ([str(folder / "below"), *command[2:]], "other settings (sources was"),
        ([str(folder), "--out", str(folder / "0.jpg")], "/0.jpg: cannot be written (File exists); give another folder"),
    ):
        with pytest.raises(SystemExit):
            main(["bulk", *changed])
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("cores", "gpus", "device", "workers", "expected"),
    [
        (2, 0, "auto", None, 2),
        (2, 1, "cpu", 1, 1),
        (16, 2, "auto", None, 2),
        (3, 1, "cuda", 1, 1),
        (1, 0, "cpu", 2, "--workers 2: Ray has 1 cores, and a worker takes one"),
        (0, 0, "auto", None, "--workers 1: Ray has 0 cores, and a worker takes one"),
        (4, 0, "cuda", None, "--device cuda: Ray has no GPU; give cpu"),
        (9, 2, "cuda", 3, "--workers 3: Ray has 2 GPUs, and a worker takes one"),
        (1, 1, "auto", None, "--device auto: Ray has 1 cores, but 1 networks"),
    ],
)
def test_the_shares_of_the_stages(without_ray, monkeypatch, cores, gpus, device, workers, expected):
    """They fit, or it is an error: a stage would wait without end."""
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": float(cores), "GPU": float(gpus)}, raising=False)
    if isinstance(expected, str):
        with pytest.raises(InputError, match=f"^{expected}"):
            shares_of(device, workers)
        return
    shares = shares_of(device, workers)
    assert (shares.networks, shares.device) == (expected, "cuda" if device != "cpu" and gpus else "cpu")
    assert expected * shares.network + shares.proposing + shares.reading <= cores
