"""Mutated files for every reader: `python -m tests.reliability.fuzz --inputs 100000`.

Each input is read in a forked process that may take 10 s of the processor and 2 GiB of memory beyond what it has
before. Anything but success or `InputError`, or the death of the process, is a finding; `--target NAME --first N
--inputs 1` repeats one.
"""

import argparse
import json
import os
import random
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.reliability.coverage_guided import fuzz_by_coverage
from tests.reliability.fuzz_targets import Target, all_targets
from tests.reliability.mutation import mutate
from tests.reliability.nursery import memory_of_this_process
from tests.reliability.table import Row, Timer, report

SECONDS = 10.0
PATIENCE = 6
"""Times as long a process that does nothing is waited for, or one of many on a busy machine."""
MEMORY = 2 << 30
"""Bytes beyond those of the process before the input."""


def fuzz(target: Target, first: int, inputs: int, seed: int, folder: Path, limit: float = SECONDS) -> Row:
    """Reads the inputs of these numbers; `limit`: seconds for each."""
    row = Row(f"fuzz: {target.name}")
    peak, errors = 0, dict[str, list[int]]()
    number, end = first, first + inputs
    while number < end:
        reader, writer = os.pipe()
        worker = os.fork()
        if worker == 0:
            os.close(reader)
            _work(target, range(number, end), seed, folder, writer)
        os.close(writer)
        with os.fdopen(reader, "rb", buffering=0) as answers:
            while number < end:
                answer = _answer(answers, limit)
                row.tried += 1
                if answer is None:  # it died, or is late
                    late = _end(worker, limit)
                    (row.fault if late else row.crash)(f"input {number}: {late or 'the process died'}")
                    row.took(PATIENCE * limit if late else 0)
                    number += 1
                    break
                number += 1
                peak = max(peak, answer["memory"])
                row.took(answer["seconds"])
                if answer["seconds"] > limit:
                    row.fault(f"input {answer['number']}: {answer['seconds']:.0f} s")
                if answer["memory"] > MEMORY:
                    row.fault(f"input {answer['number']}: {answer['memory'] >> 20} MiB")
                if answer["error"]:
                    row.crashed += 1
                    errors.setdefault(answer["error"], []).append(answer["number"])
            else:
                os.waitpid(worker, 0)
    for error, numbers in errors.items():
        row.findings.append(f"input {numbers[0]} and {len(numbers) - 1} more: {error}")
    row.notes = f"at most {peak >> 20} MiB"
    return row


def _answer(answers: Any, limit: float) -> dict[str, Any] | None:
    """The next line of the worker; None if it dies, or waits for something."""
    ready = select.select([answers], [], [], PATIENCE * limit)[0]
    line = answers.readline() if ready else b""
    return json.loads(line) if line else None


def _end(worker: int, limit: float) -> str:
    """Why there is no answer: "" if the worker has died by itself."""
    for _ in range(20):
        if os.waitpid(worker, os.WNOHANG)[0]:
            return ""
        time.sleep(0.01)
    os.kill(worker, signal.SIGKILL)
    os.waitpid(worker, 0)
    return f"more than {PATIENCE * limit:g} s"


def _work(target: Target, numbers: Sequence[int], seed: int, folder: Path, writer: int) -> None:
    try:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 (to the end of the process)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        limit = memory_of_this_process("VmSize") + MEMORY + (256 << 20)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        place = Path(tempfile.mkdtemp(dir=folder))
        for name, content in target.files.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(content)
        with os.fdopen(writer, "wb") as answers:
            for number in numbers:
                answers.write(json.dumps(_one(target, number, seed, place)).encode() + b"\n")
                answers.flush()
    except BaseException:
        traceback.print_exc(file=sys.__stdout__)  # a fault of this program; the number is told as that of a death
        sys.stdout.flush()
    finally:
        os._exit(0)


def changed_file(target: Target, number: int, seed: int) -> tuple[str, bytes]:
    """Input of a number: the file's name, and its changed content."""
    chance = random.Random(f"{seed} {target.name} {number}")
    names = [name for name in sorted(target.files) if name not in target.unchanged]
    name = chance.choice(names)
    others = [target.files[one] for one in names]
    return name, mutate(chance, target.files[name], name, others)


def _one(target: Target, number: int, seed: int, place: Path) -> dict[str, Any]:
    from detector.errors import InputError

    name, content = changed_file(target, number, seed)
    path = place / name
    path.write_bytes(content)
    _forget_peak()
    before, error, started = memory_of_this_process("VmRSS"), "", time.process_time()
    try:
        target.read(place, path)
    except InputError as refused:
        if "\n" in str(refused) and len(getattr(refused, "faults", ())) == 0:
            error = f"a message of several lines: {str(refused)[-100:]!r}"
    except BaseException as other:
        frames = traceback.extract_tb(other.__traceback__)
        where = [f"{Path(one.filename).name}:{one.lineno}" for one in frames if "/site-packages/" not in one.filename]
        error = f"{type(other).__name__}: {_without_place(str(other), place)!r:.120} at {' '.join(where[-3:])}"
    seconds = time.process_time() - started  # so that a busy machine finds nothing that is not there
    sys.stderr.flush()
    memory = max(0, memory_of_this_process("VmHWM") - before)
    path.write_bytes(target.files[name])
    return {"number": number, "seconds": seconds, "memory": memory, "error": error}


def _without_place(text: str, place: Path) -> str:
    return text.replace(f"{place}/", "")


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.reliability.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000, help="shared between the readers (%(default)s)")
    parser.add_argument("--target", help="one reader, by a part of its name")
    parser.add_argument("--first", type=int, default=0, help="number of the first input of each reader")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--engine", choices=("mutation", "atheris"), default="mutation")
    parser.add_argument("--seconds", type=int, default=600, help="of atheris, shared between the readers (%(default)s)")
    parser.add_argument("--keep", type=Path, help="folder of what atheris finds (default: a temporary one)")
    options = parser.parse_args(arguments)
    targets = [one for one in all_targets() if options.target is None or options.target in one.name]
    shares = sum(one.share for one in targets)
    rows = []
    with Timer() as timer, tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        for target in targets:
            count = max(1, round(options.inputs * target.share / shares))
            with Timer() as own:
                if options.engine == "atheris":
                    seconds = options.seconds * target.share / shares
                    place = (options.keep or Path(folder)).absolute() / target.name.replace(" ", "-")
                    rows.append(fuzz_by_coverage(target.name, seconds, options.seed, place))
                else:
                    rows.append(fuzz(target, options.first, count, options.seed, Path(folder)))
            rows[-1].notes += f", {own.seconds:.0f} s in all"
    return report(rows, timer.seconds)


if __name__ == "__main__":
    sys.exit(main())
