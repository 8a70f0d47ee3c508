"""Fresh processes, whose memory and start are their own."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from detector.errors import InputError

_ROOT = Path(__file__).parents[2]


def run_fresh(what: str, program: str, arguments: Sequence[str], threads: int) -> str:
    """What a Python program prints in a process of its own, which runs this very code, installed or not.

    Raises:
        InputError: it failed; says what did, and why.
    """
    path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
    limits = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"), str(threads))
    done = subprocess.run(
        [sys.executable, "-P", "-c", program, *arguments],
        env={**os.environ, **limits, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        errors="replace",
    )
    if done.returncode != 0:
        reason = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
        raise InputError(f"{what} in a fresh process failed: {reason}")
    return done.stdout.strip()


def peak_memory() -> float | None:
    """Most physical memory that this process has held, in MiB; None where the system does not tell (Windows)."""
    try:
        # On Linux ru_maxrss will not do: a process takes it over from the one that started it.
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            for line in status:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) / 1024
    except OSError:
        pass
    try:
        import resource
    except ImportError:
        return None
    units_per_mib = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / units_per_mib
