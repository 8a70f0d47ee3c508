"""How long a detection takes on this machine, with other software timed beside it.

    benchmark(default_photo(), threads=2).table()

Machines differ and are never quite idle. So what is compared is timed in turns (A B C, A B C, ...) and judged round
by round: of all the numbers, these ratios are the ones that mean something on another machine.
"""

from detector.benchmark.report import Environment, Report, benchmark
from detector.benchmark.rivals import RIVALS, Rival
from detector.benchmark.stages import default_photo, detection_stages
from detector.benchmark.startup import Startup, measure_startup, peak_memory
from detector.benchmark.timing import Comparison, Task, Timing, interleave

__all__ = [
    "RIVALS",
    "Comparison",
    "Environment",
    "Report",
    "Rival",
    "Startup",
    "Task",
    "Timing",
    "benchmark",
    "default_photo",
    "detection_stages",
    "interleave",
    "measure_startup",
    "peak_memory",
]
