"""Many detections in one process: `python -m tests.reliability.soak --detections 20000`.

Photos of many sizes in a fixed order; memory (RSS after a collection) is measured a hundred times and its slope over
the second half is reported, in KiB for a thousand detections; the result of each photo must be the same whenever it
comes.
"""

import argparse
import gc
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.stats import theilslopes

from tests.reliability.nursery import ROOT, memory_of_this_process
from tests.reliability.table import Row, Timer, report

#: Most growth that is taken for flat: 20,000 detections would come to 20 MiB.
SLOPE = 1024.0
"""KiB for a thousand detections."""


def photos(count: int) -> list[np.ndarray]:
    """Parts of the two photos in as many sizes, 96 to 400 pixels a side."""
    chance = np.random.default_rng(0)
    whole = [Image.open(ROOT / "tests/photos" / name).convert("RGB") for name in ("cat.jpg", "astronaut.jpg")]
    sizes = chance.integers(96, 400, (count, 2)).tolist()
    return [np.array(whole[i % 2].resize((width, height))) for i, (width, height) in enumerate(sizes)]


def soak(
    detections: int,
    seconds: float | None = None,
    kinds: int = 24,
    series: Path | None = None,
    short_side: int | None = None,
) -> Row:
    """So many detections, or as many as there are in some seconds.

    Args:
        kinds: different photos, which come again and again.
        short_side: of the network's input, in place of the model's.
        series: file for the numbers of detections and the memory after them in KiB, as JSON.
    """
    from detector.config import InputConfig
    from detector.inference.detector import Detector
    from detector.models.weights import load_model
    from proposals.memory import keep_freed_memory

    row = Row("soak: one process")

    keep_freed_memory()  # as the command line does
    model = load_model(ROOT / "detector/pretrained/voc07.safetensors")
    if short_side is not None:
        model = replace(model, config=replace(model.config, input=InputConfig(short_side=short_side)))
    detector = Detector(model, "cpu")
    images = photos(kinds)
    expected = [detector(image, "RGB", 0.05).to_dict() for image in images]
    points: list[tuple[int, int]] = []
    started = time.monotonic()
    every = max(10, detections // 100)
    for number in range(detections):
        if number % every == 0:
            gc.collect()
            points.append((number, memory_of_this_process("VmRSS") >> 10))
        which = number % kinds
        with Timer() as timer:
            found = detector(images[which], "RGB", 0.05)
        row.tried += 1
        row.took(timer.seconds)
        if found.to_dict() != expected[which]:
            row.fault(f"detection {number}: another result for photo {which}")
        if seconds is not None and time.monotonic() - started > seconds:
            break
    gc.collect()
    points.append((row.tried, memory_of_this_process("VmRSS") >> 10))
    slope = slope_of(points)
    if row.tried >= 2000 and slope > SLOPE:
        row.fault(f"memory grows by {slope:.0f} KiB in a thousand detections")
    if series is not None:
        series.write_text(json.dumps(points))
    first, last = points[len(points) // 2][1] >> 10, points[-1][1] >> 10
    row.notes = f"memory {slope:+.0f} KiB in a thousand, {first} MiB halfway, {last} MiB at the end"
    return row


def slope_of(points: list[tuple[int, int]]) -> float:
    """Growth for a thousand detections over the second half, the median of the slopes between any two points (Theil and
    Sen): a leak grows between all of them, a cache that becomes larger once does not. The first half fills caches."""
    half = np.array(points[len(points) // 2 :], np.float64)
    if len(half) < 2:
        return 0.0
    return float(theilslopes(half[:, 1], half[:, 0]).slope) * 1000


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.reliability.soak", description=__doc__)
    parser.add_argument("--detections", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, help="stop after so many")
    parser.add_argument("--series", type=Path, help="file for the memory over time, JSON")
    options = parser.parse_args(arguments)
    with Timer() as timer:
        row = soak(options.detections, options.seconds, series=options.series)
    return report([row], timer.seconds)


if __name__ == "__main__":
    sys.exit(main())
