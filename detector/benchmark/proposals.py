"""Selective Search beside other implementations of it: time, growth with the image, workers, memory."""

import math
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image as PillowImage

from detector.benchmark.environment import Environment
from detector.benchmark.processes import run_fresh
from detector.benchmark.timing import SLOW_REPEATS, Comparison, Task, Timing, interleave, timing_lines
from detector.errors import InputError
from detector.structures.image import Image
from proposals import PRESETS, Proposer, SelectiveSearch, SelectiveSearchConfig, make_proposer, propose_files

MEGAPIXELS = (0.1, 0.25, 0.5, 1, 2, 4, 8, 16)
_RIVALS = (("opencv", "fast"), ("opencv", "quality"), ("opencv", "single"), ("selectivesearch", "fast"))
_MEMORY = """
import sys
from proposals import SelectiveSearch, SelectiveSearchConfig
from detector.structures.image import read_image
width = int(sys.argv[2]) or None
SelectiveSearch(SelectiveSearchConfig(working_width=width))(read_image(sys.argv[1]).pixels)
from detector.benchmark.processes import peak_memory
print(peak_memory())
"""


@dataclass(frozen=True)
class ProposalsReport:
    """The result of a run, all with one thread for an image.

    Attributes:
        growth: megapixels and seconds of `fast` at the image's own size.
        images_per_second: number of workers, and images a second that they do together.
        peak_memory: MiB of a fresh process for a photo of 12 megapixels, at width 500 and at its own size.
        skipped: implementations that are not installed, and why.
    """

    environment: Environment
    image_size: tuple[int, int]
    timings: tuple[Timing, ...]
    comparisons: tuple[Comparison, ...]
    growth: Mapping[float, float]
    images_per_second: Mapping[int, float]
    peak_memory: Mapping[str, float]
    skipped: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: times in seconds, memory in MiB."""
        return {
            **asdict(self.environment),
            "image_size": list(self.image_size),
            "timings": [timing.to_dict() for timing in self.timings],
            "comparisons": [comparison.to_dict() for comparison in self.comparisons],
            "growth": [{"megapixels": size, "seconds": seconds} for size, seconds in self.growth.items()],
            "images_per_second": {str(workers): rate for workers, rate in self.images_per_second.items()},
            "peak_memory": dict(self.peak_memory),
            "skipped": dict(self.skipped),
        }

    def table(self) -> str:
        """The result as text."""
        lines = [*self.environment.lines(), f"photo     {self.image_size[0]}x{self.image_size[1]} pixels", ""]
        lines += [*timing_lines(self.timings), ""]
        lines += [one.line() for one in self.comparisons]
        lines += [f"not timed: {name} ({reason})" for name, reason in self.skipped.items()]
        lines += ["", "fast at the photo's own size", "megapixels  seconds  nanoseconds a pixel  and by its logarithm"]
        for size, seconds in self.growth.items():
            pixel = seconds / size * 1000
            lines.append(f"{size:10g} {seconds:8.3f} {pixel:20.0f} {pixel / math.log2(size * 1e6):21.1f}")
        one = self.images_per_second[1]
        lines.append("")
        for workers, rate in self.images_per_second.items():
            lines.append(f"{workers} workers: {rate:.1f} images a second, {rate / one:.2f} times as many as one")
        for what, mebibytes in self.peak_memory.items():
            lines.append(f"peak memory of a fresh process, 12 megapixels, {what}: {mebibytes:.0f} MiB")
        return "\n".join(lines)


def benchmark_proposals(image: Image, *, repeats: int = 10, progress: bool = False) -> ProposalsReport:
    """Times Selective Search on a photo, beside the other implementations that are installed, one thread each.

    Raises:
        InputError: `repeats` is below 1.
    """
    if repeats < 1:
        raise InputError(f"repeats is {repeats}; give at least 1")
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        return _measure(image, repeats, progress)
    finally:
        cv2.setNumThreads(before)


def _measure(image: Image, repeats: int, progress: bool) -> ProposalsReport:
    environment = Environment.current(1)
    tasks = [_task(f"selective_search {preset}", make_proposer("selective_search", preset), image, repeats)
             for preset in PRESETS]  # fmt: skip
    skipped = {}
    for method, preset in _RIVALS:
        try:
            proposer = make_proposer(method, preset)
        except ValueError as error:
            skipped[f"{method} {preset}"] = str(error)
            continue
        tasks.append(_task(f"{method} {preset}", proposer, image, min(repeats, SLOW_REPEATS)))
    timings = interleave(tasks, progress)
    named = {timing.name: timing for timing in timings}
    native = SelectiveSearch(SelectiveSearchConfig(working_width=None))
    return ProposalsReport(
        environment=environment,
        image_size=(image.width, image.height),
        timings=timings,
        comparisons=tuple(
            Comparison(named[f"selective_search {preset}"], named[f"{method} {preset}"])
            for method, preset in _RIVALS
            if f"{method} {preset}" in named
        ),
        growth={size: min(_seconds(native, larger(image.pixels, size)) for _ in range(2)) for size in MEGAPIXELS},
        images_per_second={workers: _rate(image, workers, 20 * repeats) for workers in (1, 2)},
        peak_memory=_peak_memory(image),
        skipped=skipped,
    )


def _task(name: str, proposer: Proposer, image: Image, repeats: int) -> Task:
    return Task(lambda: {name: _seconds(proposer, image.pixels)}, repeats)


def _seconds(proposer: Proposer, pixels: np.ndarray) -> float:
    start = time.perf_counter()
    proposer(pixels)
    return time.perf_counter() - start


def larger(pixels: np.ndarray, megapixels: float) -> np.ndarray:
    """The photo beside and below its mirror images, cut to a number of pixels: as much detail in every part of it."""
    height, width = pixels.shape[:2]
    factor = math.sqrt(megapixels * 1e6 / (height * width))
    rows, columns = (np.arange(round(side * factor)) for side in (height, width))
    rows, columns = (
        np.where(i // side % 2 == 0, i % side, side - 1 - i % side) for i, side in ((rows, height), (columns, width))
    )
    return pixels[rows][:, columns]


def _rate(image: Image, workers: int, count: int) -> float:
    proposer = make_proposer("selective_search")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "photo.bmp"  # decodes in no time
        PillowImage.fromarray(image.pixels).save(file)
        start = time.perf_counter()
        for _ in propose_files([file] * count, proposer, _decode, workers=workers):
            pass
        return count / (time.perf_counter() - start)


def _decode(content: bytes) -> np.ndarray:
    return np.asarray(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB))


def _peak_memory(image: Image) -> dict[str, float]:
    measured = {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "photo.jpg"
        PillowImage.fromarray(larger(image.pixels, 12)).save(file, quality=90)
        for what, width in (("reduced to width 500", 500), ("at its own size", 0)):
            told = run_fresh("Selective Search", _MEMORY, (str(file), str(width)), 1)
            if told != "None":  # a system that does not tell
                measured[what] = float(told)
    return measured
