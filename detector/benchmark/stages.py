"""One detection and the stages in it."""

import time
from collections.abc import Callable
from typing import Any

from detector.benchmark.timing import Clock
from detector.images import Image
from detector.pipeline import Detector

DETECTION = "detect"
STAGES = {
    "look": "detect: trunk",
    "propose": "detect: proposals",
    "score": "detect: regions",
    "suppress": "detect: post-processing",
}
"""The steps of `Detector.detect`, by method."""


def detection_stages(detector: Detector, image: Image, clock: Clock = time.perf_counter) -> dict[str, float]:
    """Seconds of one `Detector.detect`, and of its steps, which it consists of."""
    seconds: dict[str, float] = {}

    def timed(name: str, step: Callable[..., Any]) -> Callable[..., Any]:
        def run(*values: Any) -> Any:
            started = clock()
            result = step(*values)
            seconds[name] = clock() - started
            return result

        return run

    for method, name in STAGES.items():
        setattr(detector, method, timed(name, getattr(detector, method)))
    try:
        started = clock()
        detector.detect(image)
        seconds[DETECTION] = clock() - started
    finally:
        for method in STAGES:
            delattr(detector, method)
    return {DETECTION: seconds.pop(DETECTION), **seconds}
