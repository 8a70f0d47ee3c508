"""Eight processes share one proposal cache or one output folder; threads share a detector, a cache and a zip.

Each result must be that of one process alone, or a second writer be refused in a clear line. `RELIABILITY=N` multiplies
the rounds.
"""

import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detector import load_detector
from detector.runner.sources import Source, find_sources
from proposals import ProposalCache, SelectiveSearch, SelectiveSearchConfig
from tests.reliability.commands import EXPORT, Command, cache, detect, draw_photos, evaluate, half_written
from tests.reliability.fork_server import MODEL, ROOT, SCALE, Child, run

pytestmark = pytest.mark.slow
PROCESSES = 8


@pytest.mark.usefixtures("server")
def test_processes_share_a_cache(tmp_path: Path):
    command = cache(4)
    whole = command.new_folder(tmp_path / "whole")
    assert run(command.arguments, whole).code == 0
    expected = command.outcome(whole)
    for number in range(SCALE):
        folder = command.new_folder(tmp_path / f"cache-{number}")
        outputs = [f"r{index}.npz" for index in range(PROCESSES)]
        children = [Child([*command.arguments[:-1], output], folder) for output in outputs]
        assert [fault for child in children for fault in child.wait().faults(code=0)] == []
        for output in outputs:
            (folder / output).rename(folder / "r/boxes.npz")
            assert command.outcome(folder) == expected


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("command", [detect(2), evaluate(6), EXPORT], ids=str)
def test_only_one_process_writes_into_a_folder(command: Command, tmp_path: Path):
    """One process does the work; the rest are refused, or find it done."""
    whole = command.new_folder(tmp_path / "whole")
    assert run(command.arguments, whole).code == 0
    for number in range(SCALE):
        folder = command.new_folder(tmp_path / f"run-{number}")
        ended = [child.wait() for child in [Child(command.arguments, folder) for _ in range(PROCESSES)]]
        assert any(process.code == 0 for process in ended), ended[0].errors
        for refused in (process for process in ended if process.code):
            assert refused.faults("") == []
        assert list(half_written(folder)) == []
        assert command.outcome(folder) == command.outcome(whole)


def in_threads(threads: int, times: int, work: Callable[[int], bool]) -> list[int]:
    """Calls `work` with consecutive numbers in several threads; gives the calls that returned False."""
    with ThreadPoolExecutor(threads) as pool:
        return [number for number, good in enumerate(pool.map(work, range(threads * times))) if not good]


def test_threads_share_a_detector():
    detector = load_detector(MODEL, device="cpu")
    with Image.open(ROOT / "tests/photos/cat.jpg") as cat:
        photos = [np.array(cat.convert("RGB").resize(size)) for size in ((160, 120), (120, 160), (200, 90))]
    expected = [detector(photo, channels="RGB", score=0.05).to_dict() for photo in photos]

    def same(index: int) -> bool:
        return detector(photos[index % 3], channels="RGB", score=0.05).to_dict() == expected[index % 3]

    assert in_threads(4, 3 * SCALE, same) == []


def test_threads_share_a_cache_whose_entries_are_damaged(tmp_path: Path):
    names = draw_photos(tmp_path / "photos", 3)
    search = SelectiveSearch(SelectiveSearchConfig.preset("single"))
    contents = [(tmp_path / "photos" / name).read_bytes() for name in names]
    pixels = [np.array(Image.open(tmp_path / "photos" / name).convert("RGB")) for name in names]
    expected = [search(photo).boxes for photo in pixels]
    cache = ProposalCache(tmp_path / "cache", search)

    def work(index: int) -> bool:
        which = index % 3
        if index % 5 == 0 and cache.path(contents[which]).exists():
            cache.path(contents[which]).write_bytes(b"PK damaged")
        return np.array_equal(cache.get(contents[which], lambda: search(pixels[which])).boxes, expected[which])

    assert in_threads(4, 10 * SCALE, work) == []


def test_threads_share_a_zip(tmp_path: Path):
    names = draw_photos(tmp_path / "photos", 6)
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for name in names:
            archive.write(tmp_path / "photos" / name, name)
    sources = [source for source in find_sources([str(tmp_path / "photos.zip")]) if isinstance(source, Source)]
    expected = [np.array(Image.open(tmp_path / "photos" / name).convert("RGB")) for name in names]
    assert in_threads(4, 20 * SCALE, lambda i: np.array_equal(sources[i % 6].read().pixels, expected[i % 6])) == []
