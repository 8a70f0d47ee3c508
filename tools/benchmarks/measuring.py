"""Timing tasks in turns, fresh processes, and the report of a run."""

import json
import math
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageOps
from tqdm import tqdm

from detector.errors import InputError
from detector.structures.image import Image, read_image
from proposals.names import unknown_name

SLOW_REPEATS = 3
"""Slow tasks (seconds each) take part in this many rounds at most."""
_PACKAGES = ("inception-rcnn", "torch", "torchvision", "numpy", "numba", "hotcoco", "opencv-python-headless",
             "opencv-contrib-python-headless", "onnxruntime", "selectivesearch", "ultralytics", "ncnn", "pycocotools",
             "faster-coco-eval")  # fmt: skip
_INSTRUCTION_SETS = {  # by the flag of /proc/cpuinfo
    "amx": ("amx_tile", "AVX512_CORE_AMX", "avx512", "AVX512", {}),
    "avx512_vnni": ("avx512_vnni", "AVX512_CORE_VNNI", "avx512", "AVX512", {}),
    "avx2": ("avx2", "AVX2", "avx2", "AVX2", {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": ""}),
}
_CHECKOUT = Path(__file__).parents[2]
_RESULT = """
import json
from benchmarks.measuring import peak_memory
print(json.dumps([globals().get("result"), peak_memory()]))
"""


@dataclass
class Task:
    """Something to time.

    Attributes:
        run: does it once.
        slow: it takes seconds, so that `SLOW_REPEATS` rounds are enough.
        items: images, crops or the like that one run processes.
        against: our tasks that a rival's time is compared with, by name.
        seconds: what it took, by round.
    """

    name: str
    run: Callable[[], object]
    slow: bool = False
    items: int = 1
    against: tuple[str, ...] = ()
    seconds: list[float] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        median = statistics.median(self.seconds)
        return {
            "name": self.name,
            "median": median,
            "fastest": min(self.seconds),
            "slowest": max(self.seconds),
            "items_per_second": self.items / median,
            "seconds": self.seconds,
        }


class Rival(NamedTuple):
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


def interleave(tasks: Sequence[Task], repeats: int) -> None:
    """Times tasks in turns, A B C A B C ..., on as many threads as PyTorch is set to use.

    `torch.utils.benchmark` warms each task up before each measurement and waits for the GPU after it. A slow task
    takes part in the first rounds only, so that equal positions in two tasks' times are of the same round.
    """
    import torch
    from torch.utils.benchmark import Timer

    for number in tqdm(range(repeats), "benchmark", unit="round", leave=False, disable=None):
        for task in tasks:
            if not task.slow or number < SLOW_REPEATS:
                timer = Timer("run()", globals={"run": task.run}, num_threads=torch.get_num_threads())
                task.seconds.append(timer.timeit(1).median)


def run_fresh(program: str, *arguments: object, threads: int) -> tuple[Any, float]:
    """Runs a Python program in a new process, with this checkout on its path.

    Args:
        program: source code; `arguments` are in its `sys.argv[1:]`.
        threads: of OpenMP, MKL and OpenCV.

    Returns:
        What the program has stored as `result`, and the peak of its memory in MiB, NaN where that is unknown.

    Raises:
        InputError: the process failed.
    """
    path = os.pathsep.join(filter(None, (str(_CHECKOUT), str(_CHECKOUT / "tools"), os.environ.get("PYTHONPATH"))))
    limits = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"), str(threads))
    done = subprocess.run(
        [sys.executable, "-P", "-c", program + _RESULT, *map(str, arguments)],
        env={**os.environ, **limits, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        errors="replace",
    )
    if done.returncode != 0:
        reason = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
        raise InputError(f"a fresh process of the benchmark failed: {reason}")
    result, memory = json.loads(done.stdout)
    return result, memory


def peak_memory() -> float:
    """Most physical memory that this process has held, in MiB; NaN where the system is not Linux."""
    status = Path("/proc/self/status")  # ru_maxrss is inherited from the process that started this one
    found = re.search(r"VmHWM:\s*(\d+)", status.read_text(errors="replace")) if status.exists() else None
    return math.nan if found is None else int(found[1]) / 1024


def instruction_limits(isa: str) -> dict[str, str]:
    """Environment variables that hold the PyTorch (oneDNN, ATen, MKL) and the Numba of a new process to an instruction
    set; ONNX Runtime, ncnn and OpenCV have no such limit.

    Raises:
        InputError: the set is unknown, or this CPU lacks it.
    """
    if isa not in _INSTRUCTION_SETS:
        raise InputError(unknown_name("instruction set", isa, _INSTRUCTION_SETS))
    available = [name for name, (flag, *_) in _INSTRUCTION_SETS.items() if flag in _cpu_field("flags").split()]
    if isa not in available:
        raise InputError(f"--isa {isa}: this CPU lacks it; give {' or '.join(available) or 'none'}")
    _, onednn, aten, mkl, others = _INSTRUCTION_SETS[isa]
    names = {"ONEDNN_MAX_CPU_ISA": onednn, "ATEN_CPU_CAPABILITY": aten, "MKL_ENABLE_INSTRUCTIONS": mkl}
    return {**names, **others}


@dataclass(frozen=True)
class Report:
    """The result of a run.

    Attributes:
        subject: what was measured, by name: the photo, the model, the data.
        tables: further numbers, by title: rows, each from column names to numbers.
        peak_memory: MiB, by what needed them; NaN where the system does not report it.
        skipped: rivals that are not installed, and why each was not timed.
    """

    subject: Mapping[str, object]
    tasks: Sequence[Task]
    threads: int
    tables: Mapping[str, Sequence[Mapping[str, float]]] = field(default_factory=dict)
    peak_memory: Mapping[str, float] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)

    @property
    def comparisons(self) -> list[dict[str, Any]]:
        """For each rival and task of ours: how many times as fast we are, round by round."""
        compared = []
        for rival in self.tasks:
            for ours in (task for task in self.tasks if task.name in rival.against):
                # A slow task has no time of the last rounds.
                ratios = [theirs / own for own, theirs in zip(ours.seconds, rival.seconds, strict=False)]
                ratio = {"times_as_fast": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios)}
                compared.append({"ours": ours.name, "rival": rival.name, **ratio})
        return compared

    def environment(self) -> dict[str, Any]:
        """When, where and with what it was measured."""
        limit = os.environ.get("ONEDNN_MAX_CPU_ISA")
        return {
            "date": datetime.now().astimezone().isoformat(timespec="seconds"),
            "cpu": _cpu_field("model name") or platform.processor() or platform.machine(),
            **({"held to": f"{limit} (PyTorch, Numba), all else to none"} if limit else {}),
            "cores": os.cpu_count() or 1,
            "threads": self.threads,
            "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
            "platform": platform.platform(),
            "versions": {"python": platform.python_version()}
            | {found.name: found.version for name in _PACKAGES for found in metadata.distributions(name=name)},
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: times in seconds, memory in MiB."""
        return {
            **self.environment(),
            **self.subject,
            "timings": [task.to_dict() for task in self.tasks],
            "comparisons": self.comparisons,
            "tables": self.tables,
            "peak_memory": {name: None if math.isnan(value) else value for name, value in self.peak_memory.items()},
            "skipped": self.skipped,
        }

    def table(self) -> str:
        """The result as text, times in milliseconds."""
        where = self.environment()
        versions = ", ".join(f"{name} {version}" for name, version in where.pop("versions").items())
        lines = [f"{name:11} {value}" for name, value in {**where, "versions": versions, **self.subject}.items()]
        width = max(len(task.name) for task in self.tasks)
        lines += ["", f"{'milliseconds':{width}}    median   fastest   slowest  a second  rounds"]
        for task in self.tasks:
            numbers = task.to_dict()
            times = " ".join(f"{1000 * numbers[name]:9.1f}" for name in ("median", "fastest", "slowest"))
            lines.append(f"{task.name:{width}} {times} {numbers['items_per_second']:9.1f} {len(task.seconds):7}")
        lines.append("")
        for one in self.comparisons:
            spread = f"({one['lowest']:.2f} to {one['highest']:.2f})"
            lines.append(f"{one['ours']}: {one['times_as_fast']:.2f} times as fast as {one['rival']} {spread}")
        lines += [f"not timed: {name} ({reason})" for name, reason in self.skipped.items()]
        for title, rows in self.tables.items():
            lines += ["", title, *("  ".join(f"{name} {value:g}" for name, value in row.items()) for row in rows)]
        lines.append("")
        for name, value in self.peak_memory.items():
            measured = "not reported by this system" if math.isnan(value) else f"{value:.0f} MiB"
            lines.append(f"peak memory, {name}: {measured}")
        return "\n".join(lines).rstrip()


def _cpu_field(name: str) -> str:
    """A field of /proc/cpuinfo; "" where the system has none."""
    file = Path("/proc/cpuinfo")  # of Linux
    found = re.search(rf"^{name}\s*: *(.*)", file.read_text(errors="replace"), re.M) if file.exists() else None
    return found[1] if found else ""


def default_photo() -> Image:
    """A photo of 500x375 pixels, the size of most of PASCAL VOC's, cut from one of the tests'."""
    photo = read_image(_CHECKOUT / "tests/photos/astronaut.jpg")
    pixels = ImageOps.fit(PillowImage.fromarray(photo.pixels), (500, 375), PillowImage.Resampling.LANCZOS)
    return Image(np.array(pixels), "astronaut.jpg")


def photo_subject(image: Image) -> dict[str, object]:
    return {"image": image.name, "image_size": [image.width, image.height]}


@contextmanager
def photo_file(pixels: np.ndarray, name: str) -> Iterator[Path]:
    """A temporary file with a photo."""
    with tempfile.TemporaryDirectory() as folder:
        PillowImage.fromarray(pixels).save(file := Path(folder) / name, quality=90)
        yield file


def larger(pixels: np.ndarray, megapixels: float) -> np.ndarray:
    """A photo tiled with its mirror images and cut to a number of pixels, equally detailed in every part."""
    height, width = pixels.shape[:2]
    factor = math.sqrt(megapixels * 1e6 / (height * width))
    new_height, new_width = round(height * factor), round(width * factor)
    padding = ((0, max(0, new_height - height)), (0, max(0, new_width - width)), (0, 0))
    return np.ascontiguousarray(np.pad(pixels, padding, "symmetric")[:new_height, :new_width])
