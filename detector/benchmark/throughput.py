"""Images a second in batches, on a GPU (or, to try it, on the CPU)."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from detector.benchmark.environment import Environment
from detector.benchmark.threads import thread_limit
from detector.benchmark.timing import SLOW_REPEATS, Comparison, Task, Timing, interleave
from detector.errors import InputError
from detector.inference.assembly import load_detector
from detector.inference.batching import in_batches
from detector.inference.detector import Detector
from detector.inference.rfcn_scorer import RFCNScorer
from detector.ops.devices import resolve_device, upload
from detector.structures.image import Image

BATCHES = (1, 4, 16)
RIVAL = "torchvision fasterrcnn_resnet50_fpn"

_NETWORK, _REGIONS, _WHOLE = "network", "network and regions", "detections, Selective Search beside"
_STREAM = 128
"""Images of one measurement of whole detections on a GPU: so many that the threads before it are always at work."""


@dataclass(frozen=True)
class Rate:
    """How fast images went through one thing.

    Attributes:
        timing: seconds an image.
        memory: MiB of the GPU that it took at most, besides the weights; None on a CPU.
    """

    name: str
    batch: int
    timing: Timing
    memory: float | None

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "batch": self.batch,
            "images_per_second": 1 / self.timing.median,
            "seconds_per_image": list(self.timing.seconds),
            "peak_memory": self.memory,
        }


@dataclass(frozen=True)
class ThroughputReport:
    """The result of a run.

    Attributes:
        device: what the networks ran on.
        workers: CPU threads beside it.
        dtype: number format in which our network computed.
    """

    environment: Environment
    device: str
    workers: int
    image: str
    image_size: tuple[int, int]
    model: str
    dtype: str
    rates: tuple[Rate, ...]
    comparisons: tuple[Comparison, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: times in seconds, memory in MiB."""
        return {
            **asdict(self.environment),
            "device": self.device,
            "workers": self.workers,
            "image": self.image,
            "image_size": list(self.image_size),
            "model": self.model,
            "dtype": self.dtype,
            "rates": [rate.to_dict() for rate in self.rates],
            "comparisons": [comparison.to_dict() for comparison in self.comparisons],
        }

    def table(self) -> str:
        """The result as text, in images a second."""
        width = max(len(rate.name) for rate in self.rates)
        lines = [
            *self.environment.lines(),
            f"device    {self.device}, {self.workers} CPU thread{'s' * (self.workers > 1)} beside it",
            f"photo     {self.image}, {self.image_size[0]}x{self.image_size[1]} pixels, many times",
            f"model     {self.model}, {self.dtype}",
            "",
            f"{'images a second':{width}}  batch    median   fastest   slowest  repeats      MiB",
        ]
        for rate in self.rates:
            seconds = rate.timing.seconds
            numbers = " ".join(f"{1 / s:9.1f}" for s in (rate.timing.median, min(seconds), max(seconds)))
            memory = f"{rate.memory:9.0f}" if rate.memory is not None else ""
            lines.append(f"{rate.name:{width}}  {rate.batch:5} {numbers}  {len(seconds):7}{memory}".rstrip())
        return "\n".join([*lines, "", *(one.line() for one in self.comparisons)])


def benchmark_throughput(
    image: Image,
    device: str,
    model: str | Path | None = None,
    *,
    batches: Sequence[int] = BATCHES,
    repeats: int = 10,
    threads: int = 2,
    rivals: bool = True,
    progress: bool = False,
) -> ThroughputReport:
    """Times the network's pass, the pass with regions, and whole detections in batches, in turns with a rival.

    The pass goes from resized pixels in the CPU's memory to the maps, the regions to scores in the CPU's memory. Whole
    detections start with a decoded photo; on a GPU threads propose and post-process beside it.

    Args:
        image: the photo, of which a batch holds copies.
        device: as for `detector.ops.devices.resolve_device`.
        model: model file for regions; None: the one that comes with the package.
        repeats: of what takes milliseconds; the rest is repeated `SLOW_REPEATS` times at most.
        threads: of the CPU.
        rivals: time `RIVAL`, in float32 with random weights.
        progress: show a bar on standard error if that is a terminal.

    Raises:
        InputError: `repeats` or `threads` is below 1, there is no such device, or the model cannot be used or is for
            crops.
    """
    for name, value in (("repeats", repeats), ("threads", threads)):
        if value < 1:
            raise InputError(f"{name} is {value}; give at least 1")
    where = resolve_device(device)
    on_gpu = where.type == "cuda"
    workers = threads if on_gpu else 1
    environment = Environment.current(threads)
    # beside a GPU each image has a core, as in `detector detect`
    with thread_limit(1 if on_gpu else threads):
        detector = load_detector(model, str(where), source="selective_search")
        if not isinstance(detector.scorers[0], RFCNScorer):
            raise InputError("this measures a model of one shared pass; for a model that sees crops give --crops")
        runs: dict[tuple[str, int], _Run] = {}
        rival = _faster_rcnn(image, where) if rivals else None
        for batch in batches:
            runs |= {(name, batch): run for name, run in _ours(detector, image, batch, workers).items()}
            if rival is not None:
                runs[RIVAL, batch] = _Run(lambda batch=batch: rival(batch), batch, slow=True)  # type: ignore[misc]
        meters = {key: _Meter(_title(*key), run, where) for key, run in runs.items()}
        tasks = [
            Task(meter.measure, min(repeats, SLOW_REPEATS) if meter.run.slow else repeats) for meter in meters.values()
        ]
        timings = {timing.name: timing for timing in interleave(tasks, progress)}
    rates = tuple(Rate(name, batch, timings[_title(name, batch)], meters[name, batch].memory) for name, batch in runs)
    compared = [batch for batch in batches if rival is not None]
    return ThroughputReport(
        environment=environment,
        device=_described(where),
        workers=workers,
        image=image.name,
        image_size=(image.width, image.height),
        model="the installed model" if model is None else str(model),
        dtype=str(detector.dtype).removeprefix("torch."),
        rates=tuple(sorted(rates, key=lambda rate: [_NETWORK, _REGIONS, _WHOLE, RIVAL].index(rate.name))),
        comparisons=tuple(Comparison(timings[_title(_WHOLE, b)], timings[_title(RIVAL, b)]) for b in compared),
    )


@dataclass(frozen=True)
class _Run:
    """Something that is done to so many images at a time. `slow`: as in `Rival`."""

    work: Callable[[], object]
    images: int
    slow: bool = False


class _Meter:
    """Times a run, with all that it has started on the device, and the memory that it takes there."""

    def __init__(self, name: str, run: _Run, device: torch.device) -> None:
        self.name, self.run, self.device = name, run, device
        self.memory: float | None = None

    def measure(self) -> Mapping[str, float]:
        on_gpu = self.device.type == "cuda"
        before = 0
        if on_gpu:
            torch.cuda.synchronize(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
            before = torch.cuda.memory_allocated(self.device)
        start = time.perf_counter()
        self.run.work()
        if on_gpu:
            torch.cuda.synchronize(self.device)
        seconds = time.perf_counter() - start
        if on_gpu:
            most = (torch.cuda.max_memory_allocated(self.device) - before) / 2**20
            self.memory = max(most, self.memory or 0)
        return {self.name: seconds / self.run.images}


def _title(name: str, batch: int) -> str:
    return f"{name}, batch {batch}"


def _ours(detector: Detector, image: Image, batch: int, workers: int) -> dict[str, _Run]:
    scorer = detector.scorers[0]
    prepared = [detector.prepare(image)] * batch
    inputs = [one.inputs[0] for one in prepared]
    stream = _STREAM if workers > 1 else batch

    def whole() -> object:
        def finish(_: int, scored: Any) -> object:
            return detector.suppress(scored.proposals, scored.scores, 0.5)

        for found in in_batches(detector, range(stream), lambda _: image, finish, batch, workers):
            if isinstance(found, Exception):
                raise found
        return None

    return {
        _NETWORK: _Run(lambda: scorer.encode_batch([image] * batch, inputs), batch),
        _REGIONS: _Run(lambda: detector.score_batch(prepared), batch),
        _WHOLE: _Run(whole, stream, slow=True),
    }


def _faster_rcnn(image: Image, device: torch.device) -> Callable[[int], object]:
    from torchvision.models.detection import fasterrcnn_resnet50_fpn

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None).eval().to(device)
    pixels = torch.from_numpy(image.pixels)

    @torch.inference_mode()
    def run(batch: int) -> object:
        return network([upload(pixels, device).permute(2, 0, 1).float() / 255 for _ in range(batch)])

    return run


def _described(device: torch.device) -> str:
    if device.type != "cuda":
        return "the CPU"
    memory = torch.cuda.get_device_properties(device).total_memory / 2**30
    versions = f"CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"
    return f"{torch.cuda.get_device_name(device)}, {memory:.0f} GiB, {versions}"
