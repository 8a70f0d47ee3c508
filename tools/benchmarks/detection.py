"""One detection stage by stage, other detectors beside it, and the start and memory of a fresh process."""

import io
import math
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image as PillowImage

from benchmarks.measuring import SLOW_REPEATS, Report, Rival, Task, Timing, interleave, load_rivals, photo_subject
from benchmarks.processes import run_fresh
from benchmarks.selective_search import proposer_rival
from detector import read_image
from detector.errors import InputError
from detector.inference.assembly import load_pipeline
from detector.inference.rfcn_scorer import RFCNScorer
from detector.structures.image import Image

DETECTION, MULTIBOX = "detect", "detect, MultiBox alone"
_START = """
import json, sys, time
start = time.perf_counter()
from detector import read_image
from detector.inference.assembly import load_pipeline
imported = time.perf_counter()
detector = load_pipeline(sys.argv[2] or None, "cpu")
loaded = time.perf_counter()
detector.detect(read_image(sys.argv[1]))
done, finish = time.perf_counter(), time.time()
from benchmarks.processes import peak_memory
print(json.dumps({"import": imported - start, "load the detector": loaded - imported, "first detection": done - loaded,
    "process to first result": finish - float(sys.argv[3]), "peak_memory": peak_memory()}))
"""


def benchmark_detection(
    image: Image, model: Path | None, *, repeats: int, threads: int, rivals: bool = True, progress: bool = False
) -> Report:
    """Times detection in a photo on the CPU: whole, by stage, beside rivals, and in fresh processes.

    Args:
        model: R-FCN model file; None: the installed one.
        repeats: rounds; slow rivals and fresh processes take part in `SLOW_REPEATS` at most.

    Raises:
        InputError: the model cannot be used or is an R-CNN, or a fresh process failed.
    """
    detector = load_pipeline(model, "cpu")
    scorer = detector.scorers[0]
    if not isinstance(scorer, RFCNScorer):
        raise InputError("this measures R-FCN models; for an R-CNN model give --crops")
    tasks = [Task(DETECTION, lambda: detector.detect(image)), *stages(detector, image)]
    if scorer.network.multibox is not None:
        multibox = load_pipeline(model, "cpu", source="multibox")
        tasks.append(Task(MULTIBOX, lambda: multibox.detect(image)))
    loaded, skipped = load_rivals(RIVALS if rivals else (), image)
    timings = interleave([*tasks, *loaded], repeats, progress)
    started, memory = start_up(image, model, min(repeats, SLOW_REPEATS), threads)
    return Report(
        {**photo_subject(image), "model": str(model or "the installed model"), "precision": detector.precision},
        (*timings, *started),
        threads,
        peak_memory={"a fresh process": memory},
        skipped=skipped,
        packages=("opencv-python-headless", "onnxruntime", "selectivesearch", "ultralytics"),
    )


def stages(detector: Any, image: Image) -> list[Task]:
    """The stages of a detection, from the file to the picture, each on the result of the one before."""
    file = io.BytesIO()
    PillowImage.fromarray(image.pixels).save(file, "JPEG", quality=90)
    content = file.getvalue()
    features = detector.encode(image)
    proposals = detector.propose(image, features)
    scores = detector.score(features, proposals)
    detections = detector.suppress(proposals, scores, 0.5)
    return [
        Task("stage: decoding", lambda: read_image(content, "photo")),
        Task("stage: backbone", lambda: detector.encode(image)),
        Task("stage: proposals", lambda: detector.propose(image, features)),
        Task("stage: regions", lambda: detector.score(features, proposals)),
        Task("stage: NMS and box voting", lambda: detector.suppress(proposals, scores, 0.5)),
        Task("stage: drawing", lambda: detections.draw(image)),
    ]


def start_up(image: Image, model: Path | None, repeats: int, threads: int) -> tuple[list[Timing], float]:
    """Times of fresh processes that detect in a photo, and the median of their peak memory in MiB.

    One more process runs first: it compiles what an installation compiles once.
    """
    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder) / "photo.png"
        PillowImage.fromarray(image.pixels).save(photo)
        # time.time: processes do not share perf_counter.
        results = [run_fresh(_START, photo, model or "", time.time(), threads=threads) for _ in range(1 + repeats)][1:]
    memory = [result.pop("peak_memory") for result in results]
    timings = [
        Timing(Task(f"start: {name}", lambda: None), tuple(result[name] for result in results)) for name in results[0]
    ]
    return timings, math.nan if None in memory else statistics.median(memory)


def torchvision_detector(name: str, image: Image, device: str = "cpu", batch: int = 1) -> Callable[[], object]:
    """A detector of torchvision in float32 with random weights, from uint8 pixels in the CPU's memory.

    Its last NMS has little to do with such weights, which favors it.
    """
    from torchvision.models import detection

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = getattr(detection, name)(weights=None, weights_backbone=None).eval().to(device)
    pixels = torch.from_numpy(image.pixels)

    @torch.inference_mode()
    def run() -> object:
        return network([pixels.to(device).permute(2, 0, 1).float() / 255 for _ in range(batch)])

    return run


def _torchvision(name: str, slow: bool = False) -> Rival:
    return Rival(f"torchvision {name}", (DETECTION, MULTIBOX), lambda image: torchvision_detector(name, image), slow)


def _yolo(image: Image) -> Callable[[], object]:
    try:
        from ultralytics import YOLO
    except ImportError as error:
        raise ImportError(f"{error.name} is not installed: pip install ultralytics") from None
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        network = YOLO("yolo11n.yaml")  # random weights
    network.predict(image.pixels[:, :, ::-1], imgsz=640, verbose=False)
    torch.set_num_threads(threads)  # it has changed the number of the whole process
    return lambda: network.predict(image.pixels[:, :, ::-1], imgsz=640, verbose=False)


def _onnx(image: Image) -> Callable[[], object]:
    detector = load_pipeline(device="cpu", engine="onnx")
    return lambda: detector.encode(image)


RIVALS = (
    proposer_rival("selectivesearch", "fast", "stage: proposals"),
    proposer_rival("opencv", "fast", "stage: proposals"),
    Rival("ONNX Runtime, the installed model's backbone", ("stage: backbone",), _onnx),
    _torchvision("fasterrcnn_resnet50_fpn", slow=True),
    _torchvision("fasterrcnn_mobilenet_v3_large_fpn", slow=True),
    _torchvision("fasterrcnn_mobilenet_v3_large_320_fpn"),
    _torchvision("ssdlite320_mobilenet_v3_large"),
    Rival("ultralytics yolo11n", (DETECTION, MULTIBOX), _yolo),
)
