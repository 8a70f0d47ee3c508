"""Where, when and with what something was measured."""

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import cv2

from detector.evaluation.report.versions import installed_version


@dataclass(frozen=True)
class Environment:
    """Where, when and with what it was measured.

    Attributes:
        date: ISO 8601, with the time zone.
        cores: as the system counts them (two a physical core with hyper-threading).
        threads: that PyTorch and OpenCV could use.
        load: mean number of processes at work in the minute before; None if the system does not tell.
    """

    date: str
    cpu: str
    cores: int
    threads: int
    load: float | None
    platform: str
    versions: Mapping[str, str]

    @classmethod
    def current(cls, threads: int) -> "Environment":
        packages = ("inception-rcnn", "torch", "torchvision", "numpy", "numba", "selectivesearch", "onnxruntime")
        return cls(
            date=datetime.now().astimezone().isoformat(timespec="seconds"),
            cpu=_cpu_model(),
            cores=os.cpu_count() or 1,
            threads=threads,
            load=round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
            platform=platform.platform(),
            versions={
                "python": platform.python_version(),
                **{name: installed_version(name) for name in packages},
                "opencv": cv2.__version__,  # several distributions bring it
            },
        )

    def lines(self) -> list[str]:
        """As text."""
        load = "" if self.load is None else f", load {self.load:g} before the run"
        return [
            f"date      {self.date}",
            f"machine   {self.cpu}, {self.cores} cores, {self.threads} threads used{load}; {self.platform}",
            f"versions  {', '.join(f'{name} {version}' for name, version in self.versions.items())}",
        ]


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()
