"""Time and memory of a fresh process, from its start to its first detections."""

import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image as PillowImage

from detector.benchmark.processes import run_fresh
from detector.benchmark.timing import Timing
from detector.structures.image import Image

_PROGRAM = """
import json, sys, time
start = time.perf_counter()
from detector.structures.image import read_image
from detector.inference.assembly import load_detector
imported = time.perf_counter()
detector = load_detector(sys.argv[2] or None, "cpu")
loaded = time.perf_counter()
detector.detect(read_image(sys.argv[1]))
finish = time.perf_counter()
wall_clock = time.time()
from detector.benchmark.processes import peak_memory
times = {"import": imported - start, "load": loaded - imported, "detect": finish - loaded}
print(json.dumps({**times, "finish": wall_clock, "peak_memory": peak_memory()}))
"""


@dataclass(frozen=True)
class Startup:
    """What fresh processes took to detect on one photo.

    Attributes:
        timings: the import, the loading of the detector, the first detection (with the reading of the photo), and
            the whole from the start of the process, which includes Python's own start.
        peak_memory: MiB of each process; None where the system does not tell (Windows).
    """

    timings: tuple[Timing, ...]
    peak_memory: tuple[float, ...] | None


def measure_startup(image: Image, model: str | Path | None, repeats: int, threads: int) -> Startup:
    """Detects on a photo in one fresh process after another, on the CPU.

    One more process goes first, to compile what an installation compiles only once.

    Raises:
        InputError: a process failed; says why.
    """
    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder) / "photo.png"
        PillowImage.fromarray(image.pixels).save(photo)
        arguments = (str(photo), "" if model is None else str(model))
        results = [_run(arguments, threads) for _ in range(1 + repeats)][1:]
    names = {
        "import": "start: import",
        "load": "start: load the detector",
        "detect": "start: first detection",
        "whole": "start: process to first result",
    }
    timings = tuple(Timing(name, tuple(result[key] for result in results)) for key, name in names.items())
    memory = tuple(result["peak_memory"] for result in results)
    return Startup(timings, None if None in memory else memory)


def _run(arguments: tuple[str, ...], threads: int) -> dict[str, Any]:
    start = time.time()  # not perf_counter, which another process does not share
    result = json.loads(run_fresh("detection", _PROGRAM, arguments, threads))
    return {**result, "whole": result["finish"] - start}
