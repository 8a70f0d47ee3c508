"""SIGKILL at random moments: `python -m tests.reliability.kill --times 200`.

Detection over a folder, an evaluation, a training, the filling of a proposal cache and an export are killed again and
again and started again each time; in the end all that is on the disk must be what an undisturbed run leaves, and at no
time may a file have its name before it is whole.
"""

import argparse
import json
import random
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from PIL import Image
from safetensors.torch import load_file

from tests.reliability.kill_tasks import (
    Cache,
    Detect,
    Evaluate,
    Export,
    Outcome,
    Task,
    Train,
    digest_of_arrays,
    files_below,
    read_checkpoint,
)
from tests.reliability.nursery import Nursery
from tests.reliability.table import Row, Timer, report

#: After so many kills a run is let go to its end.
MOST_KILLS = 6


def half_written(folder: Path) -> Iterator[str]:
    """What has its name and cannot be read. Of lines that are appended the last may be cut off."""
    for path in files_below(folder, "."):
        if ".tmp" in path.name or path.parent.name.startswith(".tmp") or path.suffix == ".lock":
            continue
        try:
            _read(path)
        except Exception as error:
            yield f"{path.relative_to(folder)}: {type(error).__name__}: {str(error).splitlines()[:1]}"


def _read(path: Path) -> None:
    if path.suffix in (".json", ".coco"):
        json.loads(path.read_text())
    elif path.suffix in (".jpg", ".png"):
        with Image.open(path) as photo:
            photo.load()
    elif path.suffix == ".xml":
        ElementTree.fromstring(path.read_bytes())
    elif path.suffix == ".npz":
        digest_of_arrays(path)
    elif path.suffix == ".pt":
        read_checkpoint(path)
    elif path.suffix == ".safetensors":
        load_file(path)
    elif path.suffix == ".pt2":
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None
    elif path.suffix == ".html":
        assert path.read_text().rstrip().endswith("</html>")
    elif path.suffix == ".jsonl" or ".part-" in path.name:
        for line in path.read_text().splitlines(keepends=True):
            if line.endswith("\n"):
                json.loads(line)


def try_kills(task: Task, times: int, nursery: Nursery, folder: Path, seed: int = 0) -> Row:
    """Kills the task's command so often, each time at a random moment of what is left of it."""
    chance = random.Random(f"{task.name} {seed}")
    row = Row(f"kill -9: {task.name}")
    whole = new_folder(task, folder / "whole")
    undisturbed = nursery.run(task.arguments(), whole)
    if undisturbed.code:
        raise RuntimeError(f"{task.name}: ends with {undisturbed.code} undisturbed: {undisturbed.errors}")
    expected, duration = task.outcome(whole), undisturbed.seconds
    while row.tried < times:
        place = new_folder(task, folder / f"run-{row.tried}")
        kills = 0
        while True:
            last = row.tried >= times or kills >= MOST_KILLS
            ended = nursery.run(task.arguments(), place, None if last else chance.random() * duration)
            row.took(ended.seconds)
            if not kills and ended.code == 0:  # it was over before: the machine is less busy than it was
                duration = min(duration, ended.seconds)
            if ended.code == -9:
                row.tried, kills = row.tried + 1, kills + 1
                for fault in half_written(place):
                    row.fault(f"half-written after a kill: {fault}")
                if not task.is_done(place):
                    continue
            elif ended.code:
                row.crash(f"ends with {ended.code} after {kills} kills: {ended.errors.strip().splitlines()[-1:]}")
                break
            compare(row, expected, task.outcome(place), kills)
            break
        if row.findings:
            break  # the folder is kept to look at
        shutil.rmtree(place)
    row.notes = f"undisturbed {undisturbed.seconds:.1f} s"
    return row


def compare(row: Row, expected: Outcome, found: Outcome, kills: int) -> None:
    lost, doubled = expected.records - found.records, found.records - expected.records
    row.lost += lost.total()
    row.doubled += doubled.total()
    row.findings += [f"lost after {kills} kills: {record[:150]}" for record in lost]
    row.findings += [f"too much after {kills} kills: {record[:150]}" for record in doubled]
    for name in sorted(expected.files.keys() | found.files.keys()):
        if name not in found.files:
            row.lost += 1
            row.findings.append(f"lost after {kills} kills: {name}")
        elif name not in expected.files:
            row.fault(f"left behind after {kills} kills: {name}")
        elif expected.files[name] != found.files[name]:
            row.fault(f"differs after {kills} kills: {name}")


def new_folder(task: Task, folder: Path) -> Path:
    folder.mkdir(parents=True)
    task.prepare(folder)
    (folder / "r").mkdir(exist_ok=True)
    return folder


def tasks() -> list[Task]:
    return [Detect(24), Evaluate(16), Cache(24), Train(6), Export()]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.reliability.kill", description=__doc__)
    parser.add_argument("--times", type=int, default=200, help="kills, shared between the commands (%(default)s)")
    parser.add_argument("--only", help="one command, by a part of its name")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    chosen = [task for task in tasks() if options.only is None or options.only in task.name]
    folder = Path(tempfile.mkdtemp(prefix="kill-"))
    rows = []
    with Timer() as timer, Nursery(folder) as nursery:
        for index, task in enumerate(chosen):
            times = options.times * (index + 1) // len(chosen) - options.times * index // len(chosen)
            rows.append(try_kills(task, times, nursery, folder / str(index), options.seed))
            print(f"{rows[-1].condition}: {rows[-1].tried} kills", file=sys.stderr)
    code = report(rows, timer.seconds)
    if code:
        print(f"what was left is in {folder}")
    else:
        shutil.rmtree(folder)
    return code


if __name__ == "__main__":
    sys.exit(main())
