"""Selective Search beside other implementations: time, growth with the image, workers, memory. One thread an image."""

import timeit
from collections import deque
from collections.abc import Callable
from functools import partial

import cv2
import numpy as np

from benchmarks.measuring import (
    Report,
    Rival,
    Task,
    interleave,
    larger,
    load_rivals,
    photo_file,
    photo_subject,
    run_fresh,
)
from benchmarks.proposers import make_proposer
from detector.structures.image import Image
from proposals import PRESETS, SelectiveSearch, SelectiveSearchConfig, propose_files

MEGAPIXELS = (0.1, 0.25, 0.5, 1, 2, 4, 8, 16)
_MEMORY = """
import sys
from proposals import SelectiveSearch, SelectiveSearchConfig
from detector.structures.image import read_image
SelectiveSearch(SelectiveSearchConfig(working_width=int(sys.argv[2]) or None))(read_image(sys.argv[1]).pixels)
"""


def proposer_rival(method: str, preset: str, *against: str) -> Rival:
    """Another implementation of Selective Search, beside tasks of ours."""

    def load(image: Image) -> Callable[[], object]:
        return partial(make_proposer(method, preset), image.pixels)

    return Rival(f"{method} {preset}", against, load, slow=True)


RIVALS = (
    proposer_rival("opencv", "single", "selective_search single"),
    proposer_rival("opencv", "fast", "selective_search fast", "selective_search balanced"),
    proposer_rival("opencv", "quality", "selective_search quality"),
    proposer_rival("selectivesearch", "fast", "selective_search fast"),
)


def benchmark_proposals(image: Image, repeats: int, rivals: bool) -> Report:
    """Times the presets on a photo beside the implementations that are installed."""
    cv2.setNumThreads(1)
    tasks = [
        Task(f"selective_search {preset}", partial(make_proposer("selective_search", preset), image.pixels))
        for preset in PRESETS
    ]
    loaded, skipped = load_rivals(RIVALS if rivals else (), image)
    tasks += loaded
    interleave(tasks, repeats)
    native = SelectiveSearch(SelectiveSearchConfig(working_width=None))
    runs = {size: partial(native, larger(image.pixels, size)) for size in MEGAPIXELS}
    growth = [
        {"megapixels": size, "seconds": min(timeit.repeat(run, number=1, repeat=2))} for size, run in runs.items()
    ]
    rates = [{"workers": workers, "images a second": _rate(image, workers, 20 * repeats)} for workers in (1, 2)]
    with photo_file(larger(image.pixels, 12), "photo.jpg") as file:
        memory = {
            f"a fresh process, 12 megapixels, {what}": run_fresh(_MEMORY, file, width, threads=1)[1]
            for what, width in (("reduced to width 500", 500), ("at full size", 0))
        }
    return Report(
        photo_subject(image),
        tasks,
        threads=1,
        tables={"fast at the photo's full size": growth, "fast, several photos": rates},
        peak_memory=memory,
        skipped=skipped,
    )


def _rate(image: Image, workers: int, count: int) -> float:
    with photo_file(image.pixels, "photo.bmp") as file:  # decodes in no time
        found = propose_files([file] * count, SelectiveSearch(), _decode, workers=workers)
        return count / timeit.timeit(lambda: deque(found, maxlen=0), number=1)


def _decode(content: bytes) -> np.ndarray:
    return np.asarray(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB))
