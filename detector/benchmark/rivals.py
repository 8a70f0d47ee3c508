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


def _opencv(pixels: np.ndarray) -> Callable[[], object]:
    try:
        proposer = make_proposer("opencv", "fast")
    except ValueError as error:
        raise ImportError(str(error)) from None
    return lambda: proposer(pixels)


def _torchvision(name: str) -> Callable[[np.ndarray], Callable[[], object]]:
    def load(pixels: np.ndarray) -> Callable[[], object]:
        from torchvision.models import detection

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = getattr(detection, name)(weights=None, weights_backbone=None).eval()

        @torch.inference_mode()
        def run() -> object:
            return network([torch.from_numpy(pixels).permute(2, 0, 1).float() / 255])

        return run

    return load


def _yolo(pixels: np.ndarray) -> Callable[[], object]:
    try:
        from ultralytics import YOLO
    except ImportError as error:
        raise ImportError(f"{error.name} is not installed: pip install ultralytics") from None
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        network = YOLO("yolo11n.yaml")  # random weights
    network.predict(pixels[:, :, ::-1], imgsz=640, verbose=False)
    torch.set_num_threads(threads)  # it has set its own number for the whole process
    return lambda: network.predict(pixels[:, :, ::-1], imgsz=640, verbose=False)


def _onnx(pixels: np.ndarray) -> Callable[[], object]:
    from detector.errors import InputError
    from detector.inference.assembly import load_detector
    from detector.structures.image import Image

    try:
        detector = load_detector(device="cpu", engine="onnx")
    except InputError as error:
        raise ImportError(str(error)) from None
    return lambda: detector.encode(Image(pixels, "photo"))


RIVALS = (
    Rival("selectivesearch (scale 500, sigma 0.9, min_size 10)", STAGES["propose"], _selectivesearch, slow=True),
    Rival("opencv selective search, fast", STAGES["propose"], _opencv, slow=True),
    Rival("the installed model's backbone by ONNX Runtime", STAGES["look"], _onnx),
    # Random weights tell the time of the network; its last NMS has nothing to sort out then, which favors it.
    Rival("torchvision fasterrcnn_resnet50_fpn", DETECTION, _torchvision("fasterrcnn_resnet50_fpn"), slow=True),
    Rival(
        "torchvision fasterrcnn_mobilenet_v3_large_fpn",
        DETECTION,
        _torchvision("fasterrcnn_mobilenet_v3_large_fpn"),
        slow=True,
    ),
    Rival(
        "torchvision fasterrcnn_mobilenet_v3_large_320_fpn",
        DETECTION,
        _torchvision("fasterrcnn_mobilenet_v3_large_320_fpn"),
    ),
    Rival("torchvision ssdlite320_mobilenet_v3_large", DETECTION, _torchvision("ssdlite320_mobilenet_v3_large")),
    Rival("ultralytics yolo11n", DETECTION, _yolo),
)
"""Selective Search of PyPI and of OpenCV; ONNX Runtime; detectors in float32 with random weights."""
