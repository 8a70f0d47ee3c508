"""Timing tasks in turns, and the report of a run."""

import math
import os
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from detector.errors import InputError
from detector.structures.image import Image

SLOW_REPEATS = 3
"""Slow tasks (seconds each) take part in this many rounds at most."""

Rows = Sequence[Mapping[str, float]]
"""A table: its rows, each from column names to numbers."""


@dataclass(frozen=True)
class Task:
    """Something to time.

    Attributes:
        run: does it once.
        slow: it takes seconds, so that `SLOW_REPEATS` rounds are enough.
        items: images, crops or the like that one run processes.
        against: our tasks that a rival's time is compared with, by name.
    """

    name: str
    run: Callable[[], object]
    slow: bool = False
    items: int = 1
    against: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rival:
    """Other software for the same work as our tasks `against`.

    `load` makes the function to time and raises `ImportError` (or `InputError`, `ValueError` with the remedy) where
    the software is not installed. `slow`: as in `Task`.
    """

    name: str
    against: tuple[str, ...]
    load: Callable[..., Callable[[], object]]
    slow: bool = False


def load_rivals(rivals: Sequence[Rival], *arguments: object, items: int = 1) -> tuple[list[Task], dict[str, str]]:
    """Tasks of the rivals that are installed, and why each of the others is not timed."""
    tasks, skipped = [], {}
    for rival in rivals:
        try:
            tasks.append(Task(rival.name, rival.load(*arguments), rival.slow, items, rival.against))
        except (ImportError, InputError, ValueError) as error:
            skipped[rival.name] = str(error)
    return tasks, skipped


@dataclass(frozen=True)
class Timing:
    """Seconds of one task, by round."""

    task: Task
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.task.name,
            "median": self.median,
            "fastest": min(self.seconds),
            "slowest": max(self.seconds),
            "items_per_second": self.task.items / self.median,
            "seconds": list(self.seconds),
        }


def interleave(tasks: Sequence[Task], repeats: int, progress: bool = False) -> tuple[Timing, ...]:
    """Times tasks in turns, A B C A B C ..., on as many threads as PyTorch is set to use.

    `torch.utils.benchmark` warms each task up before each measurement and waits for the GPU after it. A slow task
    takes part in the first rounds only, so that equal positions in two timings are of the same round.

    Args:
        progress: show a bar on standard error if that is a terminal.

    Raises:
        InputError: `repeats` is below 1.
    """
    import torch
    from torch.utils.benchmark import Timer

    if repeats < 1:
        raise InputError(f"--repeats {repeats}: give at least 1")
    timers = [Timer("run()", globals={"run": task.run}, num_threads=torch.get_num_threads()) for task in tasks]
    seconds: list[list[float]] = [[] for _ in tasks]
    for number in tqdm(range(repeats), "benchmark", unit="round", leave=False, disable=None if progress else True):
        for task, timer, measured in zip(tasks, timers, seconds, strict=True):
            if not task.slow or number < SLOW_REPEATS:
                measured.append(timer.timeit(1).median)
    return tuple(Timing(task, tuple(values)) for task, values in zip(tasks, seconds, strict=True))


@dataclass(frozen=True)
class Report:
    """The result of a run.

    Attributes:
        subject: what was measured, by name: the photo, the model, the data.
        tables: further numbers, by title.
        peak_memory: MiB, by what needed them; NaN where the system does not report it.
        skipped: rivals that are not installed, and why each was not timed.
        packages: further packages whose versions are reported.
    """

    subject: Mapping[str, object]
    timings: Sequence[Timing]
    threads: int
    tables: Mapping[str, Rows] = field(default_factory=dict)
    peak_memory: Mapping[str, float] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)
    packages: Sequence[str] = ()

    @property
    def comparisons(self) -> list[dict[str, Any]]:
        """For each rival and task of ours: how many times as fast we are, round by round."""
        ours = {timing.task.name: timing for timing in self.timings}
        compared = []
        for rival in self.timings:
            for name in rival.task.against:
                if name in ours:
                    # A slow task has no time of the last rounds.
                    ratios = [r / o for o, r in zip(ours[name].seconds, rival.seconds, strict=False)]
                    ratio = {
                        "times_as_fast": statistics.median(ratios),
                        "lowest": min(ratios),
                        "highest": max(ratios),
                    }
                    compared.append({"ours": name, "rival": rival.task.name, **ratio})
        return compared

    def environment(self) -> dict[str, Any]:
        """When, where and with what it was measured."""
        packages = ("inception-rcnn", "torch", "torchvision", "numpy", "numba", *self.packages)
        return {
            "date": datetime.now().astimezone().isoformat(timespec="seconds"),
            "cpu": _cpu_model(),
            "cores": os.cpu_count() or 1,
            "threads": self.threads,
            "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
            "platform": platform.platform(),
            "versions": {"python": platform.python_version(), **{name: _version(name) for name in packages}},
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: times in seconds, memory in MiB."""
        return {
            **self.environment(),
            **self.subject,
            "timings": [timing.to_dict() for timing in self.timings],
            "comparisons": self.comparisons,
            "tables": {title: [dict(row) for row in rows] for title, rows in self.tables.items()},
            "peak_memory": {name: None if math.isnan(value) else value for name, value in self.peak_memory.items()},
            "skipped": dict(self.skipped),
        }

    def table(self) -> str:
        """The result as text, times in milliseconds."""
        where = self.environment()
        versions = ", ".join(f"{name} {version}" for name, version in where.pop("versions").items())
        lines = [f"{name:11} {value}" for name, value in {**where, "versions": versions, **self.subject}.items()]
        width = max(len(timing.task.name) for timing in self.timings)
        lines += ["", f"{'milliseconds':{width}}    median   fastest   slowest  a second  rounds"]
        for timing in self.timings:
            times = (timing.median, min(timing.seconds), max(timing.seconds))
            numbers = " ".join(f"{1000 * seconds:9.1f}" for seconds in times)
            rate = timing.task.items / timing.median
            lines.append(f"{timing.task.name:{width}} {numbers} {rate:9.1f} {len(timing.seconds):7}")
        lines.append("")
        for compared in self.comparisons:
            spread = f"({compared['lowest']:.2f} to {compared['highest']:.2f})"
            lines.append(
                f"{compared['ours']}: {compared['times_as_fast']:.2f} times as fast as {compared['rival']} {spread}"
            )
        lines += [f"not timed: {name} ({reason})" for name, reason in self.skipped.items()]
        for title, rows in self.tables.items():
            lines += ["", title, *("  ".join(f"{name} {value:g}" for name, value in row.items()) for row in rows)]
        lines.append("")
        for name, value in self.peak_memory.items():
            measured = "not reported by this system" if math.isnan(value) else f"{value:.0f} MiB"
            lines.append(f"peak memory, {name}: {measured}")
        return "\n".join(lines).rstrip()


def photo_subject(image: Image) -> dict[str, object]:
    return {"image": image.name, "image_size": [image.width, image.height]}


def larger(pixels: np.ndarray, megapixels: float) -> np.ndarray:
    """A photo tiled with its mirror images and cut to a number of pixels, equally detailed in every part."""
    height, width = pixels.shape[:2]
    factor = math.sqrt(megapixels * 1e6 / (height * width))
    rows, columns = (np.arange(round(side * factor)) for side in (height, width))
    rows, columns = (
        np.where(i // side % 2 == 0, i % side, side - 1 - i % side) for i, side in ((rows, height), (columns, width))
    )
    return np.ascontiguousarray(pixels[rows][:, columns])


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()
