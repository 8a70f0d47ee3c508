"""A process that has imported everything forks a child for each command.

A random moment then falls into the work of a command, not into the imports before it, and hundreds of commands take
minutes. The server is a separate process, so that whoever starts it may have threads.
"""

import contextlib
import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "detector/pretrained/voc07.safetensors"

SCALE = int(os.environ.get("RELIABILITY", "1"))
"""How many times as many kills, inputs, rounds and detections the tests try: `RELIABILITY=20 python -m pytest ...`."""


@dataclass(frozen=True)
class Ended:
    """How a child ended: `code` is the exit code, or minus the signal that killed it."""

    code: int
    seconds: float
    output: str
    errors: str

    def faults(self, *named: str, code: int = 2) -> list[str]:
        """What is wrong unless it ended with this code and, for each of `named`, an error line that contains it."""
        faults = [] if self.code == code else [f"exit code {self.code}, not {code}: {self.errors.strip()[-300:]}"]
        if "Traceback" in self.errors:
            faults.append(f"a traceback: {self.errors.strip().splitlines()[-1][:200]}")
        lines = [line for line in self.errors.splitlines() if line.startswith("error: ")]
        missing = [name for name in named if not any(name in line for line in lines)]
        return faults + [f"no line names {name}: {self.errors.strip()[-300:]!r}" for name in missing]


@dataclass(frozen=True)
class Limits:
    """Restrictions of a child.

    Attributes:
        file_size: bytes of a file that it writes; more fails.
        unprivileged: file permissions hold for root, too.
    """

    file_size: int | None = None
    unprivileged: bool = False

    def apply(self) -> None:
        if self.file_size is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.file_size, self.file_size))
        if self.unprivileged and os.geteuid() == 0:
            drop_privileges()


def memory_of_this_process(field: str) -> int:
    """VmSize, VmRSS or VmHWM (the peak) in bytes on Linux; elsewhere the peak RSS."""
    if sys.platform != "linux":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in status if line.startswith(f"{field}:"))


def drop_privileges() -> None:
    """Makes file permissions hold for root on Linux (drops CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH)."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; twice
    if libc.capget(header, sets):
        raise OSError(ctypes.get_errno(), "capget")
    sets[0] &= ~0b110
    if libc.capset(header, sets):
        raise OSError(ctypes.get_errno(), "capset")


@dataclass(frozen=True)
class Child:
    pid: int
    started: float
    log: Path


class ForkServer:
    """Runs `detector ARGUMENTS` in forked children; `folder` is for their output."""

    def __init__(self, folder: Path) -> None:
        self._logs = folder / "logs"
        self._logs.mkdir(parents=True, exist_ok=True)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.reliability.fork_server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
        )
        self._count = 0
        self._read()  # it is ready

    def start(self, arguments: Sequence[object], folder: Path, limits: Limits | None = None) -> Child:
        """Starts a child that runs the command in `folder`."""
        self._count += 1
        log = self._logs / str(self._count)
        words = [str(argument) for argument in arguments]
        given = asdict(limits or Limits())
        pid = self._ask({"arguments": words, "folder": str(folder), "log": str(log), "limits": given})
        return Child(pid, time.monotonic(), log)

    def wait(self, child: Child) -> Ended:
        code = self._ask({"wait": child.pid})
        seconds = time.monotonic() - child.started
        logs = [child.log.with_suffix(kind) for kind in (".out", ".err")]
        # A child that was killed at once had no time to open them.
        output, errors = (log.read_text("utf-8", "replace") if log.exists() else "" for log in logs)
        return Ended(code, seconds, output, errors)

    def run(
        self,
        arguments: Sequence[object],
        folder: Path,
        kill_after: float | None = None,
        limits: Limits | None = None,
    ) -> Ended:
        """Runs the command to its end, or to a SIGKILL after some seconds."""
        child = self.start(arguments, folder, limits)
        if kill_after is not None:
            time.sleep(max(0.0, child.started + kill_after - time.monotonic()))
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)  # the number is not reused before it was waited for
        return self.wait(child)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _ask(self, request: dict[str, object]) -> int:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> int:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the fork server has died")
        return int(line)


def _child(arguments: list[str], folder: str, log: str, limits: dict[str, object]) -> None:
    from detector.cli import main

    os.setsid()
    for descriptor, kind in ((1, ".out"), (2, ".err")):
        os.dup2(os.open(f"{log}{kind}", os.O_CREAT | os.O_WRONLY | os.O_TRUNC), descriptor)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
    os.chdir(folder)
    code = 1
    try:
        Limits(**limits).apply()  # type: ignore[arg-type]
        main(arguments)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _serve() -> None:
    import cv2
    import torch.export
    import torch.utils.tensorboard  # noqa: F401

    import detector.training.assembly  # noqa: F401
    from detector import load_detector
    from detector.cli import _COMMANDS, _app
    from proposals import warm_up

    cv2.setNumThreads(1)  # a child has no OpenCV threads and would wait for them when it sets their number
    _app(_COMMANDS)
    warm_up()
    load_detector()(ROOT / "tests/photos/cat.jpg")  # loads compiled kernels and chooses the precision
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    print(0, file=replies, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            reply = os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1])
        else:
            reply = os.fork()
            if reply == 0:
                replies.close()
                _child(**request)
        print(reply, file=replies, flush=True)


if __name__ == "__main__":
    _serve()
