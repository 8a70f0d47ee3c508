"""A detection by stages, in a fresh process, and in batches on a GPU; and R-CNN's crops."""

import functools
import io
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as PillowImage

from benchmarks.measuring import (
    SLOW_REPEATS,
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
from benchmarks.selective_search import proposer_rival
from detector import read_image
from detector.config import RCNNConfig
from detector.errors import InputError
from detector.inference.assembly import load_pipeline
from detector.inference.batching import in_batches
from detector.inference.pipeline import DetectionPipeline
from detector.inference.rcnn_scorer import RCNNScorer
from detector.inference.rfcn_scorer import RFCNScorer
from detector.models.classifier import ImageClassifier
from detector.models.rcnn import RCNN
from detector.ops.devices import resolve_device
from detector.ops.precision import fast_dtype
from detector.structures.image import Image

DETECTION, MULTIBOX = "detect", "detect, MultiBox alone"
_START = """
import sys, time
start = time.perf_counter()
from detector import read_image
from detector.inference.assembly import load_pipeline
imported = time.perf_counter()
detector = load_pipeline(sys.argv[2] or None, "cpu")
loaded = time.perf_counter()
detector.detect(read_image(sys.argv[1]))
done, finish = time.perf_counter(), time.time()
result = {"import": imported - start, "load the detector": loaded - imported, "first detection": done - loaded,
    "process to first result": finish - float(sys.argv[3])}
"""
BATCHES = (1, 4, 16)
NETWORK, REGIONS, WHOLE = "network", "network and regions", "detections, Selective Search on the CPU"
BATCH_RIVAL = "torchvision fasterrcnn_resnet50_fpn"
_STREAM = 128
"""Images in one measurement of whole detections on a GPU: enough to keep the CPU's threads busy."""


def benchmark_detection(
    image: Image, model: Path | None, repeats: int, threads: int, rivals: bool, nanodet: Path | None = None
) -> Report:
    """Times detection in a photo on the CPU: whole, by stage, beside rivals, and in fresh processes.

    Args:
        model: R-FCN model file; None: the installed one.
        repeats: rounds; slow rivals and fresh processes take part in `SLOW_REPEATS` at most.
        nanodet: folder with the weights of NanoDet-Plus for ncnn, a further rival.

    Raises:
        InputError: the model cannot be used or is an R-CNN, the weights are missing, or a fresh process failed.
    """
    detector, scorer = _load(model, "cpu")
    tasks = [Task(DETECTION, lambda: detector.detect(image)), *stages(detector, image)]
    if scorer.network.multibox is not None:
        multibox = load_pipeline(model, "cpu", source="multibox")
        tasks.append(Task(MULTIBOX, lambda: multibox.detect(image)))
    chosen = list(RIVALS) if rivals else []
    if nanodet is not None:
        load = functools.partial(_nanodet, folder=nanodet)
        chosen.append(Rival("NanoDet-Plus-m 416 by ncnn", (DETECTION, MULTIBOX), load))
    loaded, skipped = load_rivals(chosen, image)
    tasks += loaded
    interleave(tasks, repeats)
    started, memory = start_up(image, model, min(repeats, SLOW_REPEATS), threads)
    return Report(
        _subject(image, model, detector),
        [*tasks, *started],
        threads,
        peak_memory={"a fresh process": memory},
        skipped=skipped,
    )


def _load(model: Path | None, device: str, source: Any = None) -> tuple[DetectionPipeline, RFCNScorer]:
    detector = load_pipeline(model, device, source=source)
    scorer = detector.scorers[0]
    if not isinstance(scorer, RFCNScorer):
        raise InputError("this measures R-FCN models; for an R-CNN model give --crops")
    return detector, scorer


def _subject(image: Image, model: Path | None, detector: DetectionPipeline) -> dict[str, object]:
    return {**photo_subject(image), "model": str(model or "the installed model"), "precision": detector.precision}


def stages(detector: DetectionPipeline, image: Image) -> list[Task]:
    """The stages of a detection, from the file to the picture, each on the result of the one before."""
    file = io.BytesIO()
    PillowImage.fromarray(image.pixels).save(file, "JPEG", quality=90)
    features = detector.encode(image)
    proposals = detector.propose(image, features)
    scores = detector.score(features, proposals)
    detections = detector.suppress(proposals, scores, 0.5)
    return [
        Task("stage: decoding", lambda: read_image(file.getvalue(), "photo")),
        Task("stage: backbone", lambda: detector.encode(image)),
        Task("stage: proposals", lambda: detector.propose(image, features)),
        Task("stage: regions", lambda: detector.score(features, proposals)),
        Task("stage: NMS and box voting", lambda: detector.suppress(proposals, scores, 0.5)),
        Task("stage: drawing", lambda: detections.draw(image)),
    ]


def start_up(image: Image, model: Path | None, repeats: int, threads: int) -> tuple[list[Task], float]:
    """Times of fresh processes that detect in a photo, and the median of their peak memory in MiB.

    One more process runs first: it compiles what an installation compiles once.
    """
    with photo_file(image.pixels, "photo.png") as photo:
        # time.time: processes do not share perf_counter.
        runs = [run_fresh(_START, photo, model or "", time.time(), threads=threads) for _ in range(1 + repeats)][1:]
    results, memory = zip(*runs, strict=True)
    tasks = [Task(f"start: {name}", lambda: None, seconds=[result[name] for result in results]) for name in results[0]]
    return tasks, statistics.median(memory)


def benchmark_throughput(
    image: Image,
    device: str,
    model: Path | None,
    repeats: int,
    threads: int,
    rivals: bool,
    batches: Sequence[int] = BATCHES,
) -> Report:
    """Times the network's pass, the pass with regions, and whole detections in batches, in turns with a rival.

    The pass goes from resized pixels in the CPU's memory to score maps, regions to scores in the CPU's memory. Whole
    detections start with a decoded photo; beside a GPU, CPU threads propose and post-process.

    Raises:
        InputError: PyTorch finds no such device, or the model cannot be used or is an R-CNN.
    """
    where = resolve_device(device)
    on_gpu = where.type == "cuda"
    if on_gpu:
        torch.set_num_threads(1)  # each image has a core, as in `detector detect`
    detector, _ = _load(model, str(where), "selective_search")
    tasks = [task for batch in batches for task in _batch_tasks(detector, image, batch, threads if on_gpu else 1)]
    for batch in batches if rivals else ():
        run = torchvision_detector(BATCH_RIVAL.split()[1], image, str(where), batch)
        against = (f"{WHOLE}, batch {batch}",)
        tasks.append(Task(f"{BATCH_RIVAL}, batch {batch}", run, slow=True, items=batch, against=against))
    peaks = {task.name: _gpu_memory(task.run, where) for task in tasks} if on_gpu else {}
    interleave(tasks, repeats)
    name = torch.cuda.get_device_name(where) if on_gpu else "the CPU"
    return Report(
        {**_subject(image, model, detector), "device": f"{name}, {threads} CPU threads"},
        tasks,
        threads,
        peak_memory={f"of the GPU besides the weights, {task}": value for task, value in peaks.items()},
    )


def _batch_tasks(detector: Any, image: Image, batch: int, workers: int) -> list[Task]:
    scorer = detector.scorers[0]
    prepared = [detector.prepare(image)] * batch
    inputs = [ready.inputs[0] for ready in prepared]
    stream = _STREAM if workers > 1 else batch

    def detect() -> None:
        def finish(_: int, scored: Any) -> object:
            return detector.suppress(scored.proposals, scored.scores, 0.5)

        for result in in_batches(detector, range(stream), lambda _: image, finish, batch, workers):
            if isinstance(result, Exception):
                raise result

    return [
        Task(f"{NETWORK}, batch {batch}", lambda: scorer.encode_batch([image] * batch, inputs), items=batch),
        Task(f"{REGIONS}, batch {batch}", lambda: detector.score_batch(prepared), items=batch),
        Task(f"{WHOLE}, batch {batch}", detect, slow=True, items=stream),
    ]


def _gpu_memory(run: Callable[[], object], device: torch.device) -> float:
    """MiB that a run takes on a GPU at its peak."""
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    run()
    torch.cuda.synchronize(device)
    return (torch.cuda.max_memory_allocated(device) - before) / 2**20


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


def _yolo(image: Image) -> Callable[[], object]:
    try:
        from ultralytics import YOLO
    except ImportError as error:
        raise ImportError(f"{error.name} is not installed: pip install ultralytics") from None
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        network = YOLO("yolo11n.yaml")  # random weights
    run = functools.partial(network.predict, image.pixels[:, :, ::-1], imgsz=640, verbose=False)
    run()
    torch.set_num_threads(threads)  # it has changed the number of the whole process
    return run


def _nanodet(image: Image, folder: Path) -> Callable[[], object]:
    """The network of NanoDet-Plus (release v1.0.0 of RangiLyu/nanodet) on resized pixels, without its NMS, which favors
    it."""
    import ncnn

    network = ncnn.Net()
    network.opt.num_threads = torch.get_num_threads()
    files = [folder / f"nanodet-plus-coco-416.{kind}" for kind in ("param", "bin")]
    network.load_param(str(files[0]))
    network.load_model(str(files[1]))

    def run() -> object:
        kind, side = ncnn.Mat.PixelType.PIXEL_RGB2BGR, 416
        pixels = ncnn.Mat.from_pixels_resize(image.pixels, kind, image.width, image.height, side, side)
        pixels.substract_mean_normalize([103.53, 116.28, 123.675], [0.017429, 0.017507, 0.017125])
        extractor = network.create_extractor()
        extractor.input("data", pixels)
        return np.array(extractor.extract("output")[1])

    return run


def _onnx(image: Image) -> Callable[[], object]:
    detector = load_pipeline(device="cpu", engine="onnx")
    return lambda: detector.encode(image)


RIVALS = (
    proposer_rival("selectivesearch", "fast", "stage: proposals"),
    proposer_rival("opencv", "fast", "stage: proposals"),
    Rival("ONNX Runtime, the installed model's backbone", ("stage: backbone",), _onnx),
    *(
        Rival(f"torchvision {name}", (DETECTION, MULTIBOX), functools.partial(torchvision_detector, name), slow)
        for name, slow in (
            ("fasterrcnn_resnet50_fpn", True),
            ("fasterrcnn_mobilenet_v3_large_fpn", True),
            ("fasterrcnn_mobilenet_v3_large_320_fpn", False),
            ("ssdlite320_mobilenet_v3_large", False),
        )
    ),
    Rival("ultralytics yolo11n", (DETECTION, MULTIBOX), _yolo),
)


# R-CNN's crops

CROPS, CROPS_IN_MEMORY, _CROP_BATCH = 64, 2000, 16
OURS, OURS_FLOAT32 = "crops", "crops, float32"
_CROPS_MEMORY = """
import sys
from benchmarks.detection import random_boxes, random_scorer
from detector.ops.precision import fast_dtype
from detector.structures.image import read_image
image = read_image(sys.argv[1])
random_scorer(fast_dtype("cpu")).encode(image).score(random_boxes(image, int(sys.argv[2])))
"""


def benchmark_crops(image: Image, repeats: int, threads: int, rivals: bool) -> Report:
    """Times cutting out and classifying regions of a photo on the CPU, with random weights, beside GoogLeNets of other
    software on crops that are already cut."""
    boxes, dtype = random_boxes(image, CROPS), fast_dtype("cpu")
    scorer, exact = random_scorer(dtype), random_scorer(torch.float32)
    tasks = [
        Task(OURS, lambda: scorer.features(image, boxes), slow=True, items=CROPS),
        Task(OURS_FLOAT32, lambda: exact.features(image, boxes), slow=True, items=CROPS),
        Task("crops: cutting out", lambda: list(scorer.crops(image, boxes)[0]), slow=True, items=CROPS),
    ]
    loaded, skipped = load_rivals(CROPS_RIVALS if rivals else (), threads, items=CROPS)
    tasks += loaded
    interleave(tasks, repeats)
    with photo_file(larger(image.pixels, 12), "photo.jpg") as file:
        _, memory = run_fresh(_CROPS_MEMORY, file, CROPS_IN_MEMORY, threads=threads)
    return Report(
        {**photo_subject(image), "precision": str(dtype).removeprefix("torch.")},
        tasks,
        threads,
        peak_memory={f"a fresh process, {CROPS_IN_MEMORY} regions of 12 megapixels": memory},
        skipped=skipped,
    )


def random_boxes(image: Image, count: int) -> torch.Tensor:
    """(count, 4) xyxy boxes inside an image, with sides from a twentieth of its sides up; always the same ones."""
    rng = np.random.default_rng(0)
    size = rng.uniform(0.05, 0.9, (count, 2))
    low = rng.uniform(0, 1 - size)
    boxes = np.concatenate((low, low + size), axis=1) * ((image.width, image.height) * 2)
    return torch.from_numpy(boxes.astype(np.float32))


def random_scorer(dtype: torch.dtype) -> RCNNScorer:
    """An R-CNN with GoogLeNet, 20 classes and random weights, the same each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = RCNNConfig()
        return RCNNScorer(RCNN(20, config.network).eval(), config, dtype)


def _torchvision_googlenet(threads: int) -> Callable[[], object]:
    from torchvision.models import googlenet

    with torch.random.fork_rng(devices=[]):
        network = googlenet(weights=None, init_weights=False, aux_logits=False).eval()
    crops = torch.rand(_CROP_BATCH, 3, 224, 224)

    @torch.inference_mode()
    def run() -> None:
        for _ in range(CROPS // _CROP_BATCH):
            network(crops)

    return run


def _onnx_runtime(threads: int) -> Callable[[], object]:
    import onnx  # noqa: F401
    import onnxruntime
    import onnxscript  # noqa: F401

    network, crops = ImageClassifier(21).eval(), torch.rand(_CROP_BATCH, 3, 224, 224)
    program = torch.onnx.export(network, (crops,), dynamo=True, verbose=False)
    assert program is not None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    content = program.model_proto.SerializeToString()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    inputs = {session.get_inputs()[0].name: crops.numpy()}

    def run() -> None:
        for _ in range(CROPS // _CROP_BATCH):
            session.run(None, inputs)

    return run


CROPS_RIVALS = (
    # Another network: batch norm, no LRN, no 5x5 convolutions.
    Rival("torchvision googlenet, float32", (OURS, OURS_FLOAT32), _torchvision_googlenet, slow=True),
    Rival("ONNX Runtime, our GoogLeNet, float32", (OURS, OURS_FLOAT32), _onnx_runtime, slow=True),
)
