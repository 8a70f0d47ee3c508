"""Many detections in one process: the same results each time, and memory that does not grow.

`RELIABILITY=300` makes 18,000 detections; the growth of memory is checked from 2,000 on.
"""

import gc
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from detector.config import InputConfig
from detector.inference.pipeline import DetectionPipeline
from detector.models.weights import load_model
from detector.structures.image import as_image
from proposals.memory import keep_freed_memory
from tests.reliability.fork_server import MODEL, ROOT, SCALE, memory_of_this_process

# KiB in a thousand detections: 20,000 detections would come to 20 MiB.
MOST_GROWTH = 1024.0


@pytest.mark.slow
def test_the_same_photo_has_the_same_result_each_time():
    count, kinds = 60 * SCALE, 6 if SCALE == 1 else 24
    keep_freed_memory()  # as the command line does
    model = load_model(MODEL)
    if SCALE == 1:
        model = replace(model, config=replace(model.config, input=InputConfig(short_side=128)))
    detector = DetectionPipeline(model, "cpu")
    whole = [Image.open(ROOT / "tests/photos" / name).convert("RGB") for name in ("cat.jpg", "astronaut.jpg")]
    sizes = np.random.default_rng(0).integers(96, 400, (kinds, 2)).tolist()
    photos = [as_image(whole[i % 2].resize(tuple(size))) for i, size in enumerate(sizes)]
    expected = [detector.detect(photo, 0.05) for photo in photos]
    memory = []
    for number in range(count):
        if number % max(10, count // 100) == 0:
            gc.collect()
            memory.append((number, memory_of_this_process("VmRSS") / 1024))
        assert detector.detect(photos[number % kinds], 0.05) == expected[number % kinds], number
    if count >= 2000:
        assert growth(memory) <= MOST_GROWTH, memory


def growth(points: list[tuple[int, float]]) -> float:
    """KiB that memory grows in a thousand detections over the second half; the first half fills caches.

    The median slope between any two points (Theil and Sen): a leak grows between all of them, a cache that is enlarged
    once does not.
    """
    stats = pytest.importorskip("scipy.stats")
    half = np.array(points[len(points) // 2 :], np.float64)
    return float(stats.theilslopes(half[:, 1], half[:, 0]).slope) * 1000
