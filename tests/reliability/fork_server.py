"""Commands in processes that are forked from one that has imported everything (`multiprocessing`'s fork server).

A random moment then falls into the work of a command, not into the imports before it, and hundreds of commands take
minutes.
"""

import ctypes
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "detector/pretrained/voc07.safetensors"

SCALE = int(os.environ.get("RELIABILITY", "1"))
"""How many times as many kills, inputs, rounds and detections the tests try: `RELIABILITY=20 python -m pytest ...`."""


@dataclass(frozen=True)
class Ended:
    """How a command ended: `code` is the exit code, or minus the signal that killed it."""

    code: int
    seconds: float
    errors: str

    def faults(self, *named: str, code: int = 2) -> list[str]:
        """What is wrong unless it ended with this code and, for each of `named`, an error line that contains it."""
        faults = [] if self.code == code else [f"exit code {self.code}, not {code}: {self.errors.strip()[-300:]}"]
        if "Traceback" in self.errors:
            faults.append(f"a traceback: {self.errors.strip().splitlines()[-1][:200]}")
        lines = [line for line in self.errors.splitlines() if line.startswith("error: ")]
        missing = [name for name in named if not any(name in line for line in lines)]
        return faults + [f"no line names {name}: {self.errors.strip()[-300:]!r}" for name in missing]


class Child:
    """A command that runs in a folder.

    Args:
        file_size: bytes of a file that it writes; more fails.
        unprivileged: file permissions hold for root, too.
    """

    def __init__(
        self, arguments: Sequence[object], folder: Path, file_size: int | None = None, unprivileged: bool = False
    ) -> None:
        Child.count += 1
        self.log = folder.parent / f"log-{Child.count}"
        words = [str(argument) for argument in arguments]
        self._process = _CONTEXT.Process(target=_work, args=(words, folder, self.log, file_size, unprivileged))
        self._process.start()
        self._started = time.monotonic()

    count = 0

    def wait(self, kill_after: float | None = None) -> Ended:
        """Waits for its end, or kills it some seconds after its start."""
        if kill_after is not None:
            time.sleep(max(0.0, self._started + kill_after - time.monotonic()))
            self._process.kill()
        self._process.join()
        errors = self.log.with_suffix(".err")  # a child that was killed at once had no time to open it
        text = errors.read_text("utf-8", "replace") if errors.exists() else ""
        return Ended(self._process.exitcode or 0, time.monotonic() - self._started, text)


def run(arguments: Sequence[object], folder: Path, kill_after: float | None = None, **limits: int | None) -> Ended:
    """Runs a command to its end, or to a SIGKILL after some seconds; limits as of `Child`."""
    return Child(arguments, folder, **limits).wait(kill_after)  # type: ignore[arg-type]


def _work(arguments: list[str], folder: Path, log: Path, file_size: int | None, unprivileged: bool) -> None:
    from detector.cli import main

    for descriptor, kind in ((1, ".out"), (2, ".err")):
        os.dup2(os.open(log.with_suffix(kind), os.O_CREAT | os.O_WRONLY | os.O_TRUNC), descriptor)
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
    os.chdir(folder)
    if file_size is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
    if unprivileged and os.geteuid() == 0:
        drop_privileges()
    main(arguments)


def drop_privileges() -> None:
    """Makes file permissions hold for root on Linux (drops CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH)."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; twice
    libc.capget(header, sets)
    sets[0] &= ~0b110
    if libc.capset(header, sets):
        raise OSError(ctypes.get_errno(), "capset")


def memory_of_this_process(field: str) -> int:
    """VmSize, VmRSS or VmHWM (the peak) in bytes on Linux; elsewhere the peak RSS."""
    if sys.platform != "linux":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in status if line.startswith(f"{field}:"))


if sys.platform != "win32":
    _CONTEXT = multiprocessing.get_context("forkserver")
    _CONTEXT.set_forkserver_preload(["tests.reliability.warm"])
