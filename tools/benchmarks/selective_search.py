"""Selective Search beside other implementations: time, growth with the image, workers, memory. One thread an image."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as PillowImage

from benchmarks.measuring import Report, Rival, Task, interleave, larger, load_rivals, photo_subject
from benchmarks.processes import run_fresh
from benchmarks.proposers import make_proposer
from detector.structures.image import Image
from proposals import PRESETS, SelectiveSearch, SelectiveSearchConfig, propose_files

MEGAPIXELS = (0.1, 0.25, 0.5, 1, 2, 4, 8, 16)
_MEMORY = """
import sys
from proposals import SelectiveSearch, SelectiveSearchConfig
from detector.structures.image import read_image
SelectiveSearch(SelectiveSearchConfig(working_width=int(sys.argv[2]) or None))(read_image(sys.argv[1]).pixels)
from benchmarks.processes import peak_memory
print(peak_memory() or "NaN")
"""


def proposer_rival(method: str, preset: str, against: str) -> Rival:
    """Another implementation of Selective Search."""

    def load(image: Image) -> Callable[[], object]:
        proposer = make_proposer(method, preset)
        return lambda: proposer(image.pixels)

    return Rival(f"{method} {preset}", (against,), load, slow=True)


RIVALS = tuple(
    proposer_rival(method, preset, f"selective_search {preset}")
    for method, presets in (("opencv", PRESETS), ("selectivesearch", ("fast",)))
    for preset in presets
)


def benchmark_proposals(image: Image, *, repeats: int, rivals: bool = True, progress: bool = False) -> Report:
    """Times the presets on a photo beside the implementations that are installed."""
    cv2.setNumThreads(1)
    tasks = []
    for preset in PRESETS:
        proposer = make_proposer("selective_search", preset)
        tasks.append(Task(f"selective_search {preset}", lambda proposer=proposer: proposer(image.pixels)))  # type: ignore[misc]
    loaded, skipped = load_rivals(RIVALS if rivals else (), image)
    timings = interleave([*tasks, *loaded], repeats, progress)
    native = SelectiveSearch(SelectiveSearchConfig(working_width=None))
    growth = [{"megapixels": size, "seconds": _seconds(native, larger(image.pixels, size))} for size in MEGAPIXELS]
    rates = [{"workers": workers, "images a second": _rate(image, workers, 20 * repeats)} for workers in (1, 2)]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "photo.jpg"
        PillowImage.fromarray(larger(image.pixels, 12)).save(file, quality=90)
        memory = {
            f"a fresh process, 12 megapixels, {what}": float(run_fresh(_MEMORY, file, width, threads=1))
            for what, width in (("reduced to width 500", 500), ("at full size", 0))
        }
    return Report(
        photo_subject(image),
        timings,
        threads=1,
        tables={"fast at the photo's full size": growth, "fast, several photos": rates},
        peak_memory=memory,
        skipped=skipped,
        packages=("opencv-contrib-python-headless", "selectivesearch"),
    )


def _seconds(proposer: SelectiveSearch, pixels: np.ndarray) -> float:
    """The faster of two runs."""
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        proposer(pixels)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def _rate(image: Image, workers: int, count: int) -> float:
    proposer = SelectiveSearch()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "photo.bmp"  # decodes in no time
        PillowImage.fromarray(image.pixels).save(file)
        start = time.perf_counter()
        for _ in propose_files([file] * count, proposer, _decode, workers=workers):
            pass
        return count / (time.perf_counter() - start)


def _decode(content: bytes) -> np.ndarray:
    return np.asarray(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB))
