"""Other software for the same work."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from detector.benchmark.stages import DETECTION, STAGES
from detector.benchmark.timing import SLOW_REPEATS, Clock, Task
from proposals import make_proposer


@dataclass(frozen=True)
class Rival:
    """Other software, for the same work as our timing `against`.

    `load` makes the function to time from (H, W, 3) uint8 RGB pixels, and raises `ImportError` where the software
    is not installed. `slow`: it takes seconds.
    """

    name: str
    against: str
    load: Callable[[np.ndarray], Callable[[], object]]
    slow: bool = False

    def task(self, pixels: np.ndarray, repeats: int, clock: Clock = time.perf_counter) -> Task:
        """Times the rival on an image, if it is slow `SLOW_REPEATS` times at most. Raises `ImportError`."""
        run = self.load(pixels)

        def measure() -> dict[str, float]:
            start = clock()
            run()
            return {self.name: clock() - start}

        return Task(measure, min(repeats, SLOW_REPEATS) if self.slow else repeats)


def _selectivesearch(pixels: np.ndarray) -> Callable[[], object]:
    try:
        proposer = make_proposer("selectivesearch")
    except ValueError as error:
        raise ImportError(str(error)) from None
    return lambda: proposer(pixels)


def _faster_rcnn(pixels: np.ndarray) -> Callable[[], object]:
    from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = fasterrcnn_mobilenet_v3_large_320_fpn(weights=None, weights_backbone=None).eval()

    @torch.inference_mode()
    def run() -> object:
        return network([torch.from_numpy(pixels).permute(2, 0, 1).float() / 255])

    return run


RIVALS = (
    Rival("selectivesearch (scale 500, sigma 0.9, min_size 10)", STAGES["propose"], _selectivesearch, slow=True),
    # Random weights tell the time of the network; its last NMS has nothing to sort out then, which favours it.
    Rival("torchvision fasterrcnn_mobilenet_v3_large_320_fpn", DETECTION, _faster_rcnn),
)
"""The package `selectivesearch` from PyPI; Faster R-CNN in float32 with random weights."""
