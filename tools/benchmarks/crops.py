"""Classification of crops, as in R-CNN: crops a second beside other GoogLeNets, and the memory of 2,000 regions."""

from collections.abc import Callable

import numpy as np
import torch

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
from detector.config import RCNNConfig
from detector.inference.rcnn_scorer import RCNNScorer
from detector.models.classifier import ImageClassifier
from detector.models.rcnn import RCNN
from detector.ops.precision import fast_dtype
from detector.structures.image import Image

CROPS, REGIONS, _BATCH = 64, 2000, 16
OURS, OURS_FLOAT32 = "crops", "crops, float32"
_MEMORY = """
import sys
from benchmarks.crops import random_boxes, random_scorer
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
    loaded, skipped = load_rivals(RIVALS if rivals else (), threads, items=CROPS)
    tasks += loaded
    interleave(tasks, repeats)
    with photo_file(larger(image.pixels, 12), "photo.jpg") as file:
        _, memory = run_fresh(_MEMORY, file, REGIONS, threads=threads)
    return Report(
        {**photo_subject(image), "precision": str(dtype).removeprefix("torch.")},
        tasks,
        threads,
        peak_memory={f"a fresh process, {REGIONS} regions of 12 megapixels": memory},
        skipped=skipped,
        packages=("onnxruntime",),
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


def _torchvision(threads: int) -> Callable[[], object]:
    from torchvision.models import googlenet

    with torch.random.fork_rng(devices=[]):
        network = googlenet(weights=None, init_weights=False, aux_logits=False).eval()
    crops = torch.rand(_BATCH, 3, 224, 224)

    @torch.inference_mode()
    def run() -> None:
        for _ in range(CROPS // _BATCH):
            network(crops)

    return run


def _onnx_runtime(threads: int) -> Callable[[], object]:
    import onnx  # noqa: F401
    import onnxruntime
    import onnxscript  # noqa: F401

    network, crops = ImageClassifier(21).eval(), torch.rand(_BATCH, 3, 224, 224)
    program = torch.onnx.export(network, (crops,), dynamo=True, verbose=False)
    assert program is not None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    content = program.model_proto.SerializeToString()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    inputs = {session.get_inputs()[0].name: crops.numpy()}

    def run() -> None:
        for _ in range(CROPS // _BATCH):
            session.run(None, inputs)

    return run


RIVALS = (
    # Another network: batch norm, no LRN, no 5x5 convolutions.
    Rival("torchvision googlenet, float32", (OURS, OURS_FLOAT32), _torchvision, slow=True),
    Rival("ONNX Runtime, our GoogLeNet, float32", (OURS, OURS_FLOAT32), _onnx_runtime, slow=True),
)
