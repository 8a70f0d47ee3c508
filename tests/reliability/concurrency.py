"""Several at once: `python -m tests.reliability.concurrency`.

Eight processes share one proposal cache, and one folder of output; threads share one detector. Each result must be that
of one alone, or a second writer be refused with a clear line.
"""

import argparse
import sys
import tempfile
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.reliability.kill import compare, half_written, new_folder
from tests.reliability.kill_tasks import Cache, Detect, Evaluate, Export, Task, draw_photos
from tests.reliability.nursery import ROOT, Nursery
from tests.reliability.table import Row, Timer, report

PROCESSES = 8


def one_cache(nursery: Nursery, folder: Path, photos: int, rounds: int) -> Row:
    """All processes fill one cache, and each writes its own boxes."""
    row = Row(f"{PROCESSES} processes, one proposal cache")
    task = Cache(photos)
    whole = new_folder(task, folder / "whole")
    assert nursery.run(task.arguments(), whole).code == 0
    for number in range(rounds):
        place = new_folder(task, folder / f"cache-{number}")
        commands = [[*task.arguments()[:-3], "--export", f"r{i}/boxes.npz", "--no-draw"] for i in range(PROCESSES)]
        for index in range(PROCESSES):
            (place / f"r{index}").mkdir()
        with Timer() as timer:
            children = [nursery.start(command, place) for command in commands]
            ended = [nursery.wait(child) for child in children]
        row.took(timer.seconds)
        for index, one in enumerate(ended):
            row.tried += 1
            if one.code:
                row.crash(f"process {index} ends with {one.code}: {one.errors.strip()[-200:]}")
                continue
            (place / "r").unlink() if (place / "r").is_symlink() else (place / "r").rmdir()
            (place / "r").symlink_to(f"r{index}")
            compare(row, task.outcome(whole), task.outcome(place), 0)
    return row


def one_output(nursery: Nursery, folder: Path, task: Task, rounds: int) -> Row:
    """All processes run the same command in one folder: one does it, the others are refused, or find it done."""
    row = Row(f"{PROCESSES} processes, one output: {task.name}")
    whole = new_folder(task, folder / "whole")
    assert nursery.run(task.arguments(), whole).code == 0
    refused = 0
    for number in range(rounds):
        place = new_folder(task, folder / f"run-{number}")
        with Timer() as timer:
            children = [nursery.start(task.arguments(), place) for _ in range(PROCESSES)]
            ended = [nursery.wait(child) for child in children]
        row.took(timer.seconds)
        row.tried += PROCESSES
        if all(one.code for one in ended):
            row.fault(f"nobody did it: {ended[0].errors.strip()[-200:]}")
        for one in ended:
            if one.code == 2:
                refused += 1
                clear = ("is writing", "is there already", "has an interrupted run")
                if not any(word in one.errors for word in clear) or "Traceback" in one.errors:
                    row.fault(f"an unclear refusal: {one.errors.strip()[-200:]}")
            elif one.code:
                row.crash(f"ends with {one.code}: {one.errors.strip()[-300:]}")
        for fault in half_written(place):
            row.fault(f"half-written: {fault}")
        compare(row, task.outcome(whole), task.outcome(place), 0)
    row.notes = f"{refused} refused"
    return row


def one_detector(threads: int, times: int) -> Row:
    """Threads that share a detector, on photos of different sizes, each in another order."""
    from detector import load_detector

    row = Row(f"{threads} threads, one detector")
    detector = load_detector(ROOT / "detector/pretrained/voc07.safetensors", device="cpu")
    with Image.open(ROOT / "tests/photos/cat.jpg") as cat:
        photos = [np.array(cat.convert("RGB").resize(size)) for size in ((160, 120), (120, 160), (200, 90))]
    expected = [detector(photo, "RGB", 0.05) for photo in photos]
    row.tried = _in_threads(row, threads, times, lambda i: _same(detector(photos[i % 3], "RGB", 0.05), expected[i % 3]))
    return row


def one_cache_in_threads(folder: Path, threads: int, times: int) -> Row:
    """Threads that share a cache of proposals, whose entries are damaged all the while."""
    from proposals import ProposalCache, SelectiveSearch, SelectiveSearchConfig

    row = Row(f"{threads} threads, one damaged cache")
    names = draw_photos(folder / "photos", 3)
    search = SelectiveSearch(SelectiveSearchConfig.preset("single"))
    contents = [(folder / "photos" / name).read_bytes() for name in names]
    with_pixels = [np.array(Image.open(folder / "photos" / name).convert("RGB")) for name in names]
    expected = [search(pixels).boxes for pixels in with_pixels]
    cache = ProposalCache(folder / "cache", search)

    def work(index: int) -> bool:
        which = index % 3
        if index % 5 == 0 and cache.path(contents[which]).exists():
            cache.path(contents[which]).write_bytes(b"PK damaged")
        found = cache.get(contents[which], lambda: search(with_pixels[which]))
        return bool(np.array_equal(found.boxes, expected[which]))

    row.tried = _in_threads(row, threads, times, work)
    return row


def _same(one: Any, other: Any) -> bool:
    return np.array_equal(one.boxes, other.boxes) and np.array_equal(one.scores, other.scores)


def _in_threads(row: Row, threads: int, times: int, work: Callable[[int], bool]) -> int:
    def several(first: int) -> None:
        for index in range(first, first + times):
            try:
                with Timer() as timer:
                    good = work(index)
                row.took(timer.seconds)
                if not good:
                    row.fault(f"call {index} gives another result")
            except Exception as error:
                row.crash(f"call {index}: {type(error).__name__}: {error}")

    workers = [threading.Thread(target=several, args=(number * times,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return threads * times


def one_zip_in_threads(folder: Path, threads: int, times: int) -> Row:
    """Threads that read photos out of one zip."""
    from detector.runner.sources import Source, find_sources

    row = Row(f"{threads} threads, one zip")
    names = draw_photos(folder / "photos", 6)
    with zipfile.ZipFile(folder / "photos.zip", "w") as archive:
        for name in names:
            archive.write(folder / "photos" / name, name)
    sources = [one for one in find_sources([str(folder / "photos.zip")]) if isinstance(one, Source)]
    expected = [np.array(Image.open(folder / "photos" / name).convert("RGB")) for name in names]
    row.tried = _in_threads(
        row, threads, times, lambda i: bool(np.array_equal(sources[i % 6].read().pixels, expected[i % 6]))
    )
    return row


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.reliability.concurrency", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="starts of eight processes (%(default)s)")
    parser.add_argument("--times", type=int, default=50, help="calls of each thread (%(default)s)")
    options = parser.parse_args(arguments)
    with Timer() as timer, tempfile.TemporaryDirectory() as made, Nursery(Path(made)) as nursery:
        rows = [one_cache(nursery, Path(made) / "c", 12, options.rounds)]
        for index, task in enumerate((Detect(8), Evaluate(6), Export())):
            rounds = options.rounds if not isinstance(task, Export) else 1
            rows.append(one_output(nursery, Path(made) / str(index), task, rounds))
        rows.append(one_detector(4, options.times))
        (Path(made) / "t").mkdir()
        rows.append(one_cache_in_threads(Path(made) / "t", 8, options.times))
        (Path(made) / "z").mkdir()
        rows.append(one_zip_in_threads(Path(made) / "z", 8, options.times))
    return report(rows, timer.seconds)


if __name__ == "__main__":
    sys.exit(main())
