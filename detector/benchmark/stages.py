"""One detection and the stages in it."""

import time
from collections.abc import Callable
from typing import Any

from detector.benchmark.timing import Clock
from detector.inference.detector import Detector
from detector.structures.image import Image

DETECTION = "detect"
MULTIBOX = "detect, MultiBox alone"
STAGES = {
    "look": "detect: backbone",
    "propose": "detect: proposals",
    "score": "detect: regions",
    "suppress": "detect: post-processing",
}
"""The steps of `Detector.detect`, by method."""


def detection_stages(detector: Detector, image: Image, clock: Clock = time.perf_counter) -> dict[str, float]:
    """Seconds of one `Detector.detect`, and of its steps, which add up to it."""
    marks = []

    def marked(step: Callable[..., Any]) -> Callable[..., Any]:
        def run(*values: Any) -> Any:
            result = step(*values)
            marks.append(clock())
            return result

        return run

    for method in STAGES:
        setattr(detector, method, marked(getattr(detector, method)))
    try:
        marks.append(clock())
        detector.detect(image)
        marks[-1] = clock()  # what comes after the last step belongs to it
    finally:
        for method in STAGES:
            delattr(detector, method)
    stages = zip(STAGES.values(), marks[:-1], marks[1:], strict=True)
    return {DETECTION: marks[-1] - marks[0], **{name: end - start for name, start, end in stages}}
