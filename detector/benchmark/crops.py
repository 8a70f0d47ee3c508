"""Classification of crops, as R-CNN does it: crops a second beside other software, and the memory of 2,000 regions."""

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as PillowImage

from detector.benchmark.environment import Environment
from detector.benchmark.processes import run_fresh
from detector.benchmark.proposals import larger
from detector.benchmark.threads import thread_limit
from detector.benchmark.timing import SLOW_REPEATS, Comparison, Task, Timing, interleave
from detector.config import RCNNConfig
from detector.errors import InputError
from detector.inference.rcnn_scorer import RCNNScorer
from detector.models.classifier import ImageClassifier
from detector.models.rcnn import RCNN
from detector.ops.precision import fast_dtype
from detector.structures.image import Image

CROPS = 64
REGIONS = 2000
OURS = "crops"
OURS_FLOAT32 = "crops, float32"
CUTTING = "crops: cutting out"
_MEMORY = """
import sys
from detector.benchmark.crops import random_boxes, random_scorer
from detector.benchmark.processes import peak_memory
from detector.structures.image import read_image
from detector.ops.precision import fast_dtype
image = read_image(sys.argv[1])
random_scorer(fast_dtype("cpu")).encode(image).score(random_boxes(image, int(sys.argv[2])))
print(peak_memory())
"""


@dataclass(frozen=True)
class CropsReport:
    """The result of a run.

    Attributes:
        timings: of `CROPS` crops each.
        dtype: number format that this machine computes crops in.
        peak_memory: MiB of a fresh process that classifies `REGIONS` regions of a photo of 12 megapixels; None where
            the system does not tell.
        skipped: rivals that could not be timed, and why.
    """

    environment: Environment
    dtype: str
    timings: tuple[Timing, ...]
    comparisons: tuple[Comparison, ...]
    peak_memory: float | None
    skipped: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: times in seconds, memory in MiB."""
        return {
            **asdict(self.environment),
            "dtype": self.dtype,
            "timings": [{**t.to_dict(), "crops_per_second": CROPS / t.median} for t in self.timings],
            "comparisons": [comparison.to_dict() for comparison in self.comparisons],
            "peak_memory": self.peak_memory,
            "skipped": dict(self.skipped),
        }

    def table(self) -> str:
        """The result as text."""
        width = max(len(timing.name) for timing in self.timings)
        lines = [*self.environment.lines(), f"crops     224x224 pixels, {self.dtype} where nothing else is said", ""]
        lines.append(f"{'crops a second':{width}}    median   slowest   fastest  repeats")
        for timing in self.timings:
            rates = (CROPS / seconds for seconds in (timing.median, max(timing.seconds), min(timing.seconds)))
            lines.append(f"{timing.name:{width}} {' '.join(f'{rate:9.1f}' for rate in rates)}  {len(timing.seconds):7}")
        lines.append("")
        lines += [one.line() for one in self.comparisons]
        lines += [f"not timed: {name} ({reason})" for name, reason in self.skipped.items()]
        if self.peak_memory is not None:
            lines.append(f"peak memory, {REGIONS} regions of 12 megapixels: {self.peak_memory:.0f} MiB")
        return "\n".join(lines)


def benchmark_crops(
    image: Image, *, repeats: int = 10, threads: int = 2, rivals: bool = True, progress: bool = False
) -> CropsReport:
    """Times the cutting and classifying of regions of a photo on the CPU, with random weights, beside GoogLeNets of
    other software on crops that are cut already.

    Raises:
        InputError: `repeats` or `threads` is below 1.
    """
    for name, value in (("repeats", repeats), ("threads", threads)):
        if value < 1:
            raise InputError(f"{name} is {value}; give at least 1")
    repeats = min(repeats, SLOW_REPEATS)
    environment = Environment.current(threads)
    boxes = random_boxes(image, CROPS)
    with thread_limit(threads):
        dtype = fast_dtype("cpu")
        scorer, exact = random_scorer(dtype), random_scorer(torch.float32)
        tasks = [
            Task(_timed(OURS, lambda: scorer.features(image, boxes)), repeats),
            Task(_timed(OURS_FLOAT32, lambda: exact.features(image, boxes)), repeats),
            Task(_timed(CUTTING, lambda: cut_out(scorer, image, boxes)), repeats),
        ]
        skipped = {}
        for name, load in RIVALS.items() if rivals else ():
            try:
                tasks.append(Task(_timed(name, load(threads)), repeats))
            except ImportError as error:
                skipped[name] = str(error)
        timings = interleave(tasks, progress)
    named = {timing.name: timing for timing in timings}
    return CropsReport(
        environment=environment,
        dtype=str(dtype).removeprefix("torch."),
        timings=timings,
        comparisons=tuple(
            Comparison(named[ours], named[rival]) for rival in RIVALS if rival in named for ours in (OURS, OURS_FLOAT32)
        ),
        peak_memory=_peak_memory(image, threads),
        skipped=skipped,
    )


def random_boxes(image: Image, count: int) -> torch.Tensor:
    """(count, 4) boxes inside an image, of all sizes from a twentieth of its sides up; the same ones every time."""
    rng = np.random.default_rng(0)
    size = rng.uniform(0.05, 0.9, (count, 2))
    low = rng.uniform(0, 1 - size)
    boxes = np.concatenate((low, low + size), axis=1) * ((image.width, image.height) * 2)
    return torch.from_numpy(boxes.astype(np.float32))


def random_scorer(dtype: torch.dtype) -> RCNNScorer:
    """GoogLeNet for crops with 20 classes and random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = RCNNConfig()
        return RCNNScorer(RCNN(20, config.network).eval(), config, dtype)


def cut_out(scorer: RCNNScorer, image: Image, boxes: torch.Tensor) -> None:
    """Cuts the crops of boxes out of an image and does nothing with them."""
    for _ in scorer.crops(image, boxes)[0]:
        pass


def _timed(name: str, run: Callable[[], object]) -> Callable[[], Mapping[str, float]]:
    def measure() -> dict[str, float]:
        start = time.perf_counter()
        run()
        return {name: time.perf_counter() - start}

    return measure


def _torchvision(threads: int) -> Callable[[], object]:
    from torchvision.models import googlenet

    with torch.random.fork_rng(devices=[]):
        network = googlenet(weights=None, init_weights=False, aux_logits=False).eval()
    crops = torch.rand(16, 3, 224, 224)

    @torch.inference_mode()
    def run() -> None:
        for _ in range(CROPS // len(crops)):
            network(crops)

    return run


def _onnx_runtime(threads: int) -> Callable[[], object]:
    import onnx  # noqa: F401
    import onnxruntime
    import onnxscript  # noqa: F401

    network, crops = ImageClassifier(21).eval(), torch.rand(16, 3, 224, 224)
    program = torch.onnx.export(network, (crops,), dynamo=True, verbose=False)
    assert program is not None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    content = program.model_proto.SerializeToString()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    inputs = {session.get_inputs()[0].name: crops.numpy()}

    def run() -> None:
        for _ in range(CROPS // len(crops)):
            session.run(None, inputs)

    return run


RIVALS: dict[str, Callable[[int], Callable[[], object]]] = {
    "torchvision googlenet, float32": _torchvision,
    "ONNX Runtime, our GoogLeNet, float32": _onnx_runtime,
}
"""GoogLeNets of other software, in batches of 16; torchvision's is another network (batch norm, no LRN, no 5x5)."""


def _peak_memory(image: Image, threads: int) -> float | None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "photo.jpg"
        PillowImage.fromarray(larger(image.pixels, 12)).save(file, quality=90)
        told = run_fresh("classification of regions", _MEMORY, (str(file), str(REGIONS)), threads)
    return None if told == "None" else float(told)
