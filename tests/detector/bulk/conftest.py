import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from detector.cli import main

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def folder(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten pieces of a photo with a cat, three of them in a folder below, and a file that is cut short."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "below").mkdir()
    with Image.open(photos / "cat.jpg") as cat:
        for number in range(10):
            place = folder / "below" if number > 6 else folder
            cat.crop((8 * number, 4 * number, 300 + 10 * number, 290)).save(place / f"{number}.jpg")
    (folder / "cut.jpg").write_bytes((folder / "0.jpg").read_bytes()[:2000])
    return folder


@pytest.fixture(scope="session")
def alone(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `detector detect --jsonl` finds, by the photo's name."""
    path = tmp_path_factory.mktemp("alone") / "found.jsonl"
    options = ["--recursive", "--no-draw", "--device", "cpu", "--out", str(path.parent), "--jsonl", str(path)]
    with pytest.raises(SystemExit) as caught:
        main(["detect", str(folder), "--quiet", *options])
    assert caught.value.code == 2, "one is cut short"
    return {entry["image"]: without_time(entry) for entry in map(json.loads, path.read_text().splitlines())}


def without_time(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key != "seconds"}


@pytest.fixture(scope="session")
def results() -> Callable[[Path], dict[str, Any]]:
    """The entries of all shards of a run by the photo's name, each of which is there once."""

    def read(out: Path) -> dict[str, Any]:
        lines = [line for path in sorted(out.glob("shard-*.jsonl")) for line in path.read_text().splitlines()]
        entries = {entry["image"]: without_time(entry) for entry in map(json.loads, lines)}
        assert len(entries) == len(lines), "something is there twice"
        return entries

    return read


@pytest.fixture(scope="session")
def same_as(folder: Path) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    """Checks that a run has found what `alone` has, and told of the file that is cut short."""

    def check(found: dict[str, Any], alone: dict[str, Any]) -> None:
        found = dict(found)
        assert found.pop(str(folder / "cut.jpg"))["error"].startswith(f"{folder}/cut.jpg: damaged or cut short")
        assert found == alone

    return check


@pytest.fixture(scope="module")
def ray_here() -> Iterator[None]:
    """A Ray of one core, for all tests of a module."""
    ray = pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")  # on a busy machine Ray's workers would wait for all others
        patch.setenv("RAY_BACKEND_LOG_LEVEL", "fatal")
        ray.init("local", num_cpus=1, object_store_memory=200 << 20, include_dashboard=False, log_to_driver=False)
        yield
        ray.shutdown()
