"""Processes that are ready at once: one that has imported everything forks a child for each command.

A moment drawn at random then falls into the work of a command, not into the imports before it, and hundreds of commands
take minutes. The nursery is a process of its own, so that whoever starts it may have threads.
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
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Ended:
    """How a child ended: `code` is the exit code, or minus the signal that killed it."""

    code: int
    seconds: float
    output: str
    errors: str


@dataclass(frozen=True)
class Limits:
    """What a child has to do with.

    Attributes:
        file_size: bytes of a file that it writes; more fails.
        memory: bytes of address space beyond those of the nursery.
        without_powers: root may no more than another user: access rights hold for it.
        environment: variables to set; None removes one.
    """

    file_size: int | None = None
    memory: int | None = None
    without_powers: bool = False
    environment: Mapping[str, str | None] = field(default_factory=dict)

    def apply(self) -> None:
        if self.file_size is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.file_size, self.file_size))
        if self.memory is not None:
            limit = memory_of_this_process("VmSize") + self.memory
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        if self.without_powers and os.geteuid() == 0:
            drop_powers()
        for name, value in self.environment.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def memory_of_this_process(field: str) -> int:
    """VmSize, VmRSS or VmHWM (its highest) in bytes, as Linux tells; elsewhere the highest RSS."""
    if sys.platform != "linux":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) << 10
    raise RuntimeError(f"/proc/self/status has no {field}")


def drop_powers() -> None:
    """Takes from root, on Linux, that access rights do not hold for it (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH)."""
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


class Nursery:
    """A process that forks children which run `detector ARGUMENTS`."""

    def __init__(self, folder: Path) -> None:
        """folder: for the children's output."""
        self._logs = folder / "logs"
        self._logs.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.reliability.nursery"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=ROOT,
        )
        self._count = 0
        self._read()  # it is ready

    def start(self, arguments: Sequence[object], folder: Path, limits: Limits | None = None) -> Child:
        """A child that runs the command in `folder`."""
        self._count += 1
        log = self._logs / str(self._count)
        words = [str(one) for one in arguments]
        given = asdict(limits or Limits())
        pid = self._ask({"arguments": words, "folder": str(folder), "log": str(log), "limits": given})
        return Child(pid, time.monotonic(), log)

    def wait(self, child: Child) -> Ended:
        code = self._ask({"wait": child.pid})
        seconds = time.monotonic() - child.started
        logs = [child.log.with_suffix(kind) for kind in (".out", ".err")]
        # killed at once, it had no time to open them
        output, errors = (log.read_text("utf-8", "replace") if log.exists() else "" for log in logs)
        return Ended(code, seconds, output, errors)

    def run(
        self,
        arguments: Sequence[object],
        folder: Path,
        kill_after: float | None = None,
        limits: Limits | None = None,
    ) -> Ended:
        """The command to its end, or to a SIGKILL after some seconds."""
        child = self.start(arguments, folder, limits)
        if kill_after is not None:
            time.sleep(max(0.0, child.started + kill_after - time.monotonic()))
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)  # nobody else has the number until it was waited for
        return self.wait(child)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, request: dict[str, object]) -> int:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> int:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the nursery has died")
        return int(line)


def _child(request: dict[str, object]) -> None:
    from detector.cli import main

    os.setsid()
    for descriptor, kind in ((1, ".out"), (2, ".err")):
        file = os.open(f"{request['log']}{kind}", os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        os.dup2(file, descriptor)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
    os.chdir(str(request["folder"]))
    code = 1
    try:
        Limits(**request["limits"]).apply()  # type: ignore[arg-type]
        main(request["arguments"])  # type: ignore[arg-type]
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

    import detector.evaluation.explanation
    import detector.training.assembly  # noqa: F401
    from detector import load_detector
    from detector.cli import _COMMANDS, _app
    from proposals import warm_up

    cv2.setNumThreads(1)  # OpenCV's threads are not in a child, which would wait for them as it sets their number
    _app(_COMMANDS)
    warm_up()
    load_detector()(ROOT / "tests/photos/cat.jpg")  # compiled kernels are loaded, the number format is chosen
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def reply(value: int) -> None:
        replies.write(f"{value}\n")
        replies.flush()

    reply(0)
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            status = os.waitpid(request["wait"], 0)[1]
            reply(os.waitstatus_to_exitcode(status))
            continue
        pid = os.fork()
        if pid == 0:
            replies.close()
            _child(request)
        reply(pid)


if __name__ == "__main__":
    _serve()
