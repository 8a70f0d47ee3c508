import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from detector.cli import main


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
