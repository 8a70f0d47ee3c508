import dataclasses
import platform

import numpy as np

from detector.benchmark.environment import Environment
from detector.benchmark.report import Report
from detector.benchmark.startup import Startup
from detector.benchmark.timing import Comparison, Timing

STARTUP = Startup(
    (Timing("start: import", (1.5, 2.5)), Timing("start: load the detector", (0.25, 0.25))), (300, 311, 305)
)
ENVIRONMENT = Environment(
    date="2026-01-02T03:04:05+00:00",
    cpu="Some CPU",
    cores=2,
    threads=1,
    load=0.25,
    platform="Some-OS",
    versions={"python": "3.11.9", "torch": "2.6.0"},
)
REPORT = Report(
    environment=ENVIRONMENT,
    image="a.jpg",
    image_size=(64, 48),
    model="m.safetensors",
    dtype="bfloat16",
    timings=(Timing("detect", (0.5, 0.25)), Timing("other", (1, 0.75))),
    comparisons=(Comparison(Timing("detect", (0.5, 0.25)), Timing("other", (1, 0.75))),),
    startup=STARTUP,
    skipped={"third": "No module named 'third'"},
)


def test_the_table() -> None:
    assert REPORT.table().splitlines() == [
        "date      2026-01-02T03:04:05+00:00",
        "machine   Some CPU, 2 cores, 1 threads used, load 0.25 before the run; Some-OS",
        "versions  python 3.11.9, torch 2.6.0",
        "photo     a.jpg, 64x48 pixels",
        "model     m.safetensors, bfloat16 on the CPU",
        "",
        "milliseconds                median   fastest   slowest  repeats",
        "detect                       375.0     250.0     500.0        2",
        "other                        875.0     750.0    1000.0        2",
        "start: import               2000.0    1500.0    2500.0        2",
        "start: load the detector     250.0     250.0     250.0        2",
        "",
        "peak memory of a fresh process: 305 MiB",
        "detect: 2.50 times as fast as other (2.00 to 3.00)",
        "not timed: third (No module named 'third')",
    ]


def test_what_the_system_does_not_tell_is_said() -> None:
    report = dataclasses.replace(
        REPORT,
        environment=dataclasses.replace(ENVIRONMENT, load=None),
        startup=dataclasses.replace(STARTUP, peak_memory=None),
    )
    assert "1 threads used; Some-OS" in report.table()
    assert "peak memory of a fresh process: not measured on this system" in report.table()
    assert report.to_dict()["peak_memory"] is None


def test_the_environment() -> None:
    environment = Environment.current(threads=5)
    assert environment.threads == 5
    assert environment.cores >= 1
    assert environment.cpu
    assert environment.versions["python"] == platform.python_version()
    assert environment.versions["numpy"] == np.__version__
