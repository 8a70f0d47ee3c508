"""Mutated files for every reader: `python -m tests.reliability.fuzz --inputs 100000`.

Each input is read in a forked process that may take 10 s of CPU time and 2 GiB of memory beyond what it had before.
Anything but success or `InputError`, or the death of the process, is a finding; `--target NAME --first N --inputs 1`
repeats one.
"""

import argparse
import multiprocessing
import os
import random
import resource
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from detector.errors import InputError
from tests.reliability.fork_server import memory_of_this_process
from tests.reliability.fuzz_targets import Target, all_targets
from tests.reliability.mutation import mutate

SECONDS = 10.0
PATIENCE = 6
"""How many times as long a process that does nothing is waited for, or one of many on a busy machine."""
MEMORY = 2 << 30
"""Bytes beyond those of the process before the input."""


@dataclass
class Result:
    """What came of a target's inputs: their number, findings, and the most seconds and bytes that one took."""

    target: str
    tried: int = 0
    seconds: float = 0.0
    memory: int = 0
    findings: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        most = f"at most {self.seconds:.2f} s and {self.memory >> 20} MiB"
        return "\n".join([f"{self.target}: {self.tried} tried, {len(self.findings)} findings, {most}", *self.findings])


class Answer(NamedTuple):
    seconds: float
    memory: int
    error: str


def fuzz(target: Target, first: int, inputs: int, seed: int, folder: Path, limit: float = SECONDS) -> Result:
    """Reads the inputs with these numbers; `limit`: seconds for each."""
    result, errors = Result(target.name), dict[str, list[int]]()
    number, end = first, first + inputs
    while number < end:
        answers, into = multiprocessing.Pipe(duplex=False)
        worker = _FORK.Process(target=_work, args=(target, range(number, end), seed, folder, into))
        worker.start()
        into.close()
        while number < end:
            result.tried += 1
            number += 1
            answer = None
            try:
                if answers.poll(PATIENCE * limit):
                    answer = answers.recv()
                else:
                    result.findings.append(f"input {number - 1}: more than {PATIENCE * limit:g} s")
            except EOFError:
                result.findings.append(f"input {number - 1}: the process died")
            if answer is None:
                worker.kill()
                break
            result.memory, result.seconds = max(result.memory, answer.memory), max(result.seconds, answer.seconds)
            if answer.seconds > limit:
                result.findings.append(f"input {number - 1}: {answer.seconds:.0f} s")
            if answer.memory > MEMORY:
                result.findings.append(f"input {number - 1}: {answer.memory >> 20} MiB")
            if answer.error:
                errors.setdefault(answer.error, []).append(number - 1)
        worker.join()
    result.findings += [f"input {numbers[0]} and {len(numbers) - 1} more: {error}" for error, numbers in errors.items()]
    return result


def _work(target: Target, numbers: Sequence[int], seed: int, folder: Path, answers: Connection) -> None:
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    limit = memory_of_this_process("VmSize") + MEMORY + (256 << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    inputs = Path(tempfile.mkdtemp(dir=folder))
    target.write(inputs)
    for number in numbers:
        answers.send(_read(target, number, seed, inputs))


def _read(target: Target, number: int, seed: int, folder: Path) -> Answer:
    """Changes one of the target's files, has it read, and restores it."""
    chance = random.Random(f"{seed} {target.name} {number}")
    names = [name for name in sorted(target.files) if name not in target.unchanged]
    path = folder / chance.choice(names)
    name = path.relative_to(folder).as_posix()
    path.write_bytes(mutate(chance, target.files[name], name, [target.files[each] for each in names]))
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    before, error, started = memory_of_this_process("VmRSS"), "", time.process_time()
    try:
        target.read(folder, path)
    except InputError as refused:
        if "\n" in str(refused) and len(getattr(refused, "faults", ())) == 0:
            error = f"a message of several lines: {str(refused)[-100:]!r}"
    except BaseException as other:
        frames = traceback.extract_tb(other.__traceback__)
        lines = [f"{Path(f.filename).name}:{f.lineno}" for f in frames if "/site-packages/" not in f.filename]
        message = str(other).replace(f"{folder}/", "")
        error = f"{type(other).__name__}: {message!r:.120} at {' '.join(lines[-3:])}"
    seconds = time.process_time() - started  # CPU time, so that a busy machine makes no findings
    memory = max(0, memory_of_this_process("VmHWM") - before)
    path.write_bytes(target.files[name])
    return Answer(seconds, memory, error)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.reliability.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000, help="shared between the readers (%(default)s)")
    parser.add_argument("--target", default="", help="one reader, by a part of its name")
    parser.add_argument("--first", type=int, default=0, help="number of the first input of each reader")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    targets = [target for target in all_targets() if options.target in target.name]
    shares = sum(target.share for target in targets)
    bad = False
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        for target in targets:
            count = max(1, round(options.inputs * target.share / shares))
            result = fuzz(target, options.first, count, options.seed, Path(folder))
            print(result, flush=True)
            bad |= bool(result.findings)
    return int(bad)


if sys.platform != "win32":
    _FORK = multiprocessing.get_context("fork")
if __name__ == "__main__":
    sys.exit(main())
