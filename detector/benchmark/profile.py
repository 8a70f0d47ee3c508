"""Where the time and memory of a detection go, how near the network comes to the machine's limit, and how all grows."""

import io
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as PillowImage
from torch import nn
from torch.autograd.profiler import profile as profile_operators
from tqdm import tqdm

from detector.benchmark.environment import Environment
from detector.benchmark.processes import peak_memory
from detector.benchmark.proposals import MEGAPIXELS, larger
from detector.benchmark.threads import thread_limit
from detector.errors import InputError
from detector.inference.assembly import load_detector
from detector.inference.detector import Detector
from detector.inference.rfcn_scorer import RFCNScorer
from detector.ops.transforms import input_size, to_input
from detector.structures.detections import Detections
from detector.structures.image import Image, read_image
from proposals import Proposals
from proposals.memory import release_freed_memory

REGIONS = (100, 300, 1000, 2000, 4000, 8000)
BATCHES = (1, 2, 4, 8, 16)
_GEMM_SIZE = 2048


@dataclass(frozen=True)
class Stage:
    """A stage of a detection: median seconds, and the MiB by which it raised the process's memory at its height (None
    where the system does not tell)."""

    name: str
    seconds: float
    memory: float | None


@dataclass(frozen=True)
class Profile:
    """The result of a run.

    Attributes:
        stages: from the file to the picture.
        operators: of the backbone's pass: seconds of each of PyTorch's operators, the slowest first.
        backbone: `gflop` of multiplications and additions of its convolutions, `seconds`, `gflop_per_second` and, of
            the machine in the same number format, `gemm_gflop_per_second`.
        growth: of what, and the seconds at each size.
    """

    environment: Environment
    image_size: tuple[int, int]
    dtype: str
    stages: tuple[Stage, ...]
    operators: Mapping[str, float]
    backbone: Mapping[str, float]
    growth: Mapping[str, Mapping[float, float]]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: times in seconds, memory in MiB."""
        return {
            **asdict(self.environment),
            "image_size": list(self.image_size),
            "dtype": self.dtype,
            "stages": [asdict(stage) for stage in self.stages],
            "operators": dict(self.operators),
            "backbone": dict(self.backbone),
            "growth": {what: [{"size": s, "seconds": t} for s, t in one.items()] for what, one in self.growth.items()},
        }  # fmt: skip

    def table(self) -> str:
        """The result as text."""
        lines = [*self.environment.lines(), f"photo     {self.image_size[0]}x{self.image_size[1]} pixels, {self.dtype}"]
        whole = sum(stage.seconds for stage in self.stages)
        lines += ["", f"{'stage':18} {'ms':>8} {'share':>7} {'MiB':>6}"]
        for stage in self.stages:
            memory = "" if stage.memory is None else f"{stage.memory:6.0f}"
            lines.append(f"{stage.name:18} {1000 * stage.seconds:8.1f} {stage.seconds / whole:7.0%} {memory}")
        share = self.backbone["gflop_per_second"] / self.backbone["gemm_gflop_per_second"]
        lines += [
            "",
            f"backbone: {self.backbone['gflop']:.1f} GFLOP in {1000 * self.backbone['seconds']:.1f} ms, "
            f"{self.backbone['gflop_per_second']:.0f} GFLOP/s; a matrix product of {_GEMM_SIZE} reaches "
            f"{self.backbone['gemm_gflop_per_second']:.0f}: {share:.0%} of it",
        ]
        total = sum(self.operators.values())
        lines += [f"  {name:38} {1000 * s:6.1f} ms {s / total:5.0%}" for name, s in list(self.operators.items())[:8]]
        for what, sizes in self.growth.items():
            lines += ["", what, " ".join(f"{size:>8g}" for size in sizes)]
            lines.append(" ".join(f"{1000 * seconds:8.1f}" for seconds in sizes.values()) + "  ms")
        return "\n".join(lines)


def benchmark_profile(
    image: Image, model: str | Path | None = None, *, repeats: int = 10, threads: int = 2, progress: bool = False
) -> Profile:
    """Profiles the detection on a photo, on the CPU.

    Args:
        image: the photo.
        model: model file for regions; None: the one that comes with the package.
        repeats: of each stage.
        threads: that PyTorch and OpenCV may use.

    Raises:
        InputError: `repeats` or `threads` is below 1, or the model cannot be used or is for crops.
    """
    for name, value in (("repeats", repeats), ("threads", threads)):
        if value < 1:
            raise InputError(f"{name} is {value}; give at least 1")
    with thread_limit(threads), torch.inference_mode():
        detector = load_detector(model, "cpu")
        scorer = detector.scorers[0]
        if not isinstance(scorer, RFCNScorer):
            raise InputError("this measures a model of one shared pass; for a model that sees crops give --crops")
        environment = Environment.current(threads)
        config = scorer.config.input
        size = input_size(image.width, image.height, config.short_side, config.long_side)
        pixels = to_input(image.pixels, size)[None]
        steps: list[tuple[str, Callable[[], Mapping[float, float]]]] = [
            ("detection, by megapixels of the photo", lambda: _by_megapixels(detector, image)),
            ("regions, by their number", lambda: _by_regions(detector, image, repeats)),
            ("backbone, an image, by images at once", lambda: _by_batch(scorer, pixels, repeats)),
            ("detection, by threads", lambda: _by_threads(model, image, repeats, threads)),
        ]
        stages = _stages(detector, image, repeats)
        backbone = _backbone(scorer, pixels, repeats)
        operators = _operators(scorer, pixels)
        bar = tqdm(steps, desc="growth", unit="table", leave=False, disable=None if progress else True)
        growth = {what: measure() for what, measure in bar}
    dtype = str(detector.dtype).removeprefix("torch.")
    return Profile(environment, (image.width, image.height), dtype, stages, operators, backbone, growth)


def _median(run: Callable[[], object], repeats: int) -> float:
    run()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds))


def _stages(detector: Detector, image: Image, repeats: int) -> tuple[Stage, ...]:
    file = io.BytesIO()
    PillowImage.fromarray(image.pixels).save(file, "JPEG", quality=90)
    content = file.getvalue()
    views = detector.encode(image)
    proposals = detector.propose(image, views)
    scored = detector.score(views, proposals)
    found: Detections = detector.suppress(proposals, scored, 0.5)
    steps: dict[str, Callable[[], object]] = {
        "decoding": lambda: read_image(content, "photo"),
        "backbone": lambda: detector.encode(image),
        "proposals": lambda: detector.propose(image, views),
        "regions": lambda: detector.score(views, proposals),
        "NMS and voting": lambda: detector.suppress(proposals, scored, 0.5),
        "drawing": lambda: found.draw(image),
    }
    return tuple(Stage(name, _median(run, repeats), _height(run)) for name, run in steps.items())


def _height(run: Callable[[], object]) -> float | None:
    """MiB by which memory rises at most while something runs."""
    release_freed_memory()
    try:
        Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak is counted from here
    except OSError:
        return None
    before = peak_memory()
    run()
    after = peak_memory()
    return None if before is None or after is None else after - before


def _backbone(scorer: RFCNScorer, pixels: torch.Tensor, repeats: int) -> dict[str, float]:
    work = []

    def count(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        assert isinstance(module, nn.Conv2d)
        work.append(2 * output.numel() * module.weight[0].numel())

    handles = [m.register_forward_hook(count) for m in scorer.network.backbone.modules() if isinstance(m, nn.Conv2d)]
    dtype = next(scorer.network.parameters()).dtype
    inputs = pixels.to(dtype)
    scorer.network.features(inputs)
    for handle in handles:
        handle.remove()
    seconds = _median(lambda: scorer.network.features(inputs), repeats)
    a, b = (torch.randn(_GEMM_SIZE, _GEMM_SIZE).to(dtype) for _ in range(2))
    out = torch.empty_like(a)
    gemm = min(_median(lambda: torch.mm(a, b, out=out), 3) for _ in range(3))
    gflop = sum(work) / 1e9
    return {
        "gflop": gflop,
        "seconds": seconds,
        "gflop_per_second": gflop / seconds,
        "gemm_gflop_per_second": 2 * _GEMM_SIZE**3 / 1e9 / gemm,
    }


def _operators(scorer: RFCNScorer, pixels: torch.Tensor, runs: int = 5) -> dict[str, float]:
    inputs = pixels.to(next(scorer.network.parameters()).dtype)
    with profile_operators(use_kineto=False) as profile:
        for _ in range(runs):
            scorer.network.features(inputs)
    seconds = {event.key: event.self_cpu_time_total / 1e6 / runs for event in profile.key_averages()}
    return dict(sorted(seconds.items(), key=lambda item: -item[1]))


def _by_megapixels(detector: Detector, image: Image) -> dict[float, float]:
    photos = {size: Image(np.ascontiguousarray(larger(image.pixels, size)), image.name) for size in MEGAPIXELS}
    return {size: _median(lambda photo=photo: detector.detect(photo), 3) for size, photo in photos.items()}  # type: ignore[misc]


def _by_regions(detector: Detector, image: Image, repeats: int) -> dict[float, float]:
    views = detector.encode(image)
    proposals = detector.propose(image, views)
    seconds: dict[float, float] = {}
    for count in REGIONS:
        some = _repeated(proposals, count)
        seconds[count] = _median(lambda some=some: detector.score(views, some), repeats)  # type: ignore[misc]
    return seconds


def _repeated(proposals: Proposals, count: int) -> Proposals:
    index = np.sort(np.resize(np.arange(len(proposals)), count))  # best first, as proposals are
    return Proposals(
        proposals.boxes[index], proposals.scores[index], proposals.sources[index], proposals.source_names,
        proposals.image_size,
    )  # fmt: skip


def _by_batch(scorer: RFCNScorer, pixels: torch.Tensor, repeats: int) -> dict[float, float]:
    seconds: dict[float, float] = {}
    for count in BATCHES:
        images = pixels.expand(count, -1, -1, -1).contiguous(memory_format=torch.channels_last)
        seconds[count] = _median(lambda images=images: scorer.engine(images), min(repeats, 5)) / count  # type: ignore[misc]
    return seconds


def _by_threads(model: str | Path | None, image: Image, repeats: int, most: int) -> dict[float, float]:
    seconds: dict[float, float] = {}
    for threads in range(1, most + 1):
        with thread_limit(threads):
            detector = load_detector(model, "cpu")  # its proposals take as many threads as there are then
            seconds[threads] = _median(lambda detector=detector: detector.detect(image), repeats)  # type: ignore[misc]
    return seconds
