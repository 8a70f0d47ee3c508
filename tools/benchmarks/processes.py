"""Fresh processes, whose memory and start-up time can be measured. Imports nothing that would add to either."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from detector.errors import InputError

_TOOLS = Path(__file__).parents[1]


def run_fresh(program: str, *arguments: object, threads: int) -> Any:
    """Runs a Python program in a new process, with this checkout on its path.

    Args:
        program: source code; `arguments` are in its `sys.argv[1:]`.
        threads: of OpenMP, MKL and OpenCV.

    Returns:
        The JSON value that the program printed.

    Raises:
        InputError: the process failed.
    """
    path = os.pathsep.join(filter(None, (str(_TOOLS.parent), str(_TOOLS), os.environ.get("PYTHONPATH"))))
    limits = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"), str(threads))
    done = subprocess.run(
        [sys.executable, "-P", "-c", program, *map(str, arguments)],
        env={**os.environ, **limits, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        errors="replace",
    )
    if done.returncode != 0:
        reason = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
        raise InputError(f"a fresh process of the benchmark failed: {reason}")
    return json.loads(done.stdout)


def peak_memory() -> float | None:
    """Most physical memory that this process has held, in MiB; None on Windows."""
    try:
        # Not ru_maxrss on Linux: a process inherits it from the one that started it.
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        pass
    try:
        import resource
    except ImportError:
        return None
    units_per_mib = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / units_per_mib
