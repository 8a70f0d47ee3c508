"""A whole benchmark: its run, its numbers as text and as JSON."""

import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from detector.benchmark.environment import Environment
from detector.benchmark.rivals import RIVALS
from detector.benchmark.stages import DETECTION, MULTIBOX, detection_stages
from detector.benchmark.startup import Startup, measure_startup
from detector.benchmark.threads import thread_limit
from detector.benchmark.timing import SLOW_REPEATS, Comparison, Task, Timing, interleave, timing_lines
from detector.errors import InputError
from detector.inference.assembly import load_detector
from detector.inference.rcnn_scorer import RCNNScorer
from detector.inference.rfcn_scorer import RFCNScorer
from detector.structures.image import Image


@dataclass(frozen=True)
class Report:
    """The result of a run.

    Attributes:
        image_size: width and height of the photo in pixels.
        dtype: number format in which our network computed.
        skipped: rivals that could not be timed, and why.
    """

    environment: Environment
    image: str
    image_size: tuple[int, int]
    model: str
    dtype: str
    timings: tuple[Timing, ...]
    comparisons: tuple[Comparison, ...]
    startup: Startup
    skipped: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: times in seconds, memory in MiB."""
        return {
            **asdict(self.environment),
            "image": self.image,
            "image_size": list(self.image_size),
            "model": self.model,
            "dtype": self.dtype,
            "timings": [timing.to_dict() for timing in (*self.timings, *self.startup.timings)],
            "comparisons": [comparison.to_dict() for comparison in self.comparisons],
            "peak_memory": None if self.startup.peak_memory is None else list(self.startup.peak_memory),
            "skipped": dict(self.skipped),
        }

    def table(self) -> str:
        """The result as text, times in milliseconds."""
        where = self.environment
        timings = (*self.timings, *self.startup.timings)
        lines = [
            *where.lines(),
            f"photo     {self.image}, {self.image_size[0]}x{self.image_size[1]} pixels",
            f"model     {self.model}, {self.dtype} on the CPU",
            "",
            *timing_lines(timings),
        ]
        memory = self.startup.peak_memory
        peak = "not measured on this system" if memory is None else f"{statistics.median(memory):.0f} MiB"
        lines += ["", f"peak memory of a fresh process: {peak}"]
        for one in self.comparisons:
            lines.append(one.line())
        lines += [f"not timed: {name} ({reason})" for name, reason in self.skipped.items()]
        return "\n".join(lines)


def benchmark(
    image: Image,
    model: str | Path | None = None,
    *,
    repeats: int = 10,
    threads: int = 2,
    rivals: bool = True,
    progress: bool = False,
) -> Report:
    """Times the detection on a photo, beside its rivals, and the start of a fresh process, all on the CPU.

    Args:
        image: the photo.
        model: model file; None: the one that comes with the package.
        repeats: of the detection; what takes seconds is repeated `SLOW_REPEATS` times at most.
        threads: that PyTorch and OpenCV may use.
        rivals: time `RIVALS` too, as far as they are installed.
        progress: show a bar on standard error if that is a terminal.

    Raises:
        InputError: `repeats` or `threads` is below 1, the model cannot be used, or a fresh process failed.
    """
    for name, value in (("repeats", repeats), ("threads", threads)):
        if value < 1:
            raise InputError(f"{name} is {value}; give at least 1")
    environment = Environment.current(threads)
    with thread_limit(threads):
        detector = load_detector(model, "cpu")
        if isinstance(detector.scorers[0], RCNNScorer):
            raise InputError("this measures a model of one shared pass; for a model that sees crops give --crops")
        tasks = [Task(lambda: detection_stages(detector, image), repeats)]
        if any(isinstance(one, RFCNScorer) and one.network.multibox is not None for one in detector.scorers):
            quick = load_detector(model, "cpu", source="multibox")
            tasks.append(Task(lambda: {MULTIBOX: detection_stages(quick, image)[DETECTION]}, repeats))
        skipped = {}
        for rival in RIVALS if rivals else ():
            try:
                tasks.append(rival.task(image.pixels, repeats))
            except ImportError as error:
                skipped[rival.name] = str(error)
        timings = interleave(tasks, progress)
    named = {timing.name: timing for timing in timings}
    return Report(
        environment=environment,
        image=image.name,
        image_size=(image.width, image.height),
        model="the installed model" if model is None else str(model),
        dtype=str(detector.dtype).removeprefix("torch."),
        timings=timings,
        comparisons=tuple(
            Comparison(named[ours], named[rival.name])
            for rival in RIVALS
            for ours in (rival.against, *((MULTIBOX,) if rival.against == DETECTION else ()))
            if rival.name in named and ours in named
        ),
        startup=measure_startup(image, model, min(repeats, SLOW_REPEATS), threads),
        skipped=skipped,
    )
