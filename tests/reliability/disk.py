"""Bad disks: `python -m tests.reliability.disk`.

A disk that is full (a small tmpfs where it may be mounted, else a limit on the size of files), folders that cannot be
written, files that cannot be read, that vanish, change or come slowly while a command works on them. Each must end in
one clear line and exit code 2 with all else done, and go on where it can when the disk is good again.
"""

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from tests.reliability.kill import compare, half_written, new_folder
from tests.reliability.kill_tasks import Cache, Detect, Evaluate, Export, Task, Train, draw_photos
from tests.reliability.nursery import Ended, Limits, Nursery
from tests.reliability.table import Row, Timer, report

MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class Case:
    """A condition; `run` gives what was not as it should be, a line each."""

    name: str
    run: Callable[[Nursery, Path], list[str]]


def ends_well(ended: Ended, *named: str, code: int = 2) -> list[str]:
    """Whether a command has ended with this exit code and a clear line that names each of `named`."""
    faults = [] if ended.code == code else [f"exit code {ended.code}, not {code}: {ended.errors.strip()[-300:]}"]
    if "Traceback" in ended.errors:
        faults.append(f"a traceback: {ended.errors.strip().splitlines()[-1][:200]}")
    lines = [line for line in ended.errors.splitlines() if line.startswith("error: ")]
    faults += [f"no line names {one}: {ended.errors.strip()[-300:]!r}" for one in named
               if not any(one in line for line in lines)]  # fmt: skip
    return faults


@contextlib.contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Callable[[], None] | None]:
    """A file system of `size` bytes at `folder`; gives what makes it large. None where none may be mounted."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if (
        os.geteuid()
        or shutil.which("mount") is None
        or subprocess.run(mount, capture_output=True, check=False).returncode
    ):
        yield None
        return
    try:
        yield lambda: subprocess.run(["mount", "-o", "remount,size=1g", str(folder)], check=True) and None  # type: ignore[func-returns-value]
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def full_disk(task: Task, size: int, outputs: tuple[str, ...]) -> Case:
    """The task's outputs on a disk that is too small; then the same command on one that is large enough."""

    def run(nursery: Nursery, folder: Path) -> list[str]:
        whole = new_folder(task, folder / "whole")
        assert nursery.run(task.arguments(), whole).code == 0
        place = new_folder(task, folder / "full")
        with small_disk(folder / "disk", size) as enlarge:
            limits = Limits()
            for name in outputs:
                (place / name).rmdir() if (place / name).exists() else None
                target = folder / ("disk" if enlarge else "large") / name
                target.mkdir(parents=True)
                (place / name).symlink_to(target)
            if enlarge is None:
                limits = Limits(file_size=size // 16)
            ended = nursery.run(task.arguments(), place, limits=limits)
            faults = ends_well(ended, "No space left on device" if enlarge else "File too large")
            faults += [f"half-written: {one}" for one in half_written(place)]
            if enlarge is not None:
                enlarge()
            again = nursery.run(task.arguments(), place)
            if again.code:
                faults.append(f"does not go on with more room: exit code {again.code}: {again.errors.strip()[-300:]}")
            else:
                row = Row("")
                compare(row, task.outcome(whole), task.outcome(place), 0)
                faults += row.findings
        return faults

    return Case(f"disk full: {task.name}", run)


def read_only(task: Task, output: str) -> Case:
    """The folder of the task's output cannot be written."""

    def run(nursery: Nursery, folder: Path) -> list[str]:
        place = new_folder(task, folder / "place")
        (place / output).mkdir(exist_ok=True)
        (place / output).chmod(0o555)
        try:
            ended = nursery.run(task.arguments(), place, limits=Limits(without_powers=True))
        finally:
            (place / output).chmod(0o755)
        left = [path.name for path in (place / output).iterdir()]
        return ends_well(ended, output) + [f"wrote {name}" for name in left]

    return Case(f"read-only folder: {task.name}", run)


def unreadable(nursery: Nursery, folder: Path) -> list[str]:
    """A photo that may not be read, a broken link and a loop of links; the others are done."""
    draw_photos(folder / "photos", 4)
    (folder / "photos/001.jpg").chmod(0)
    (folder / "photos/gone.jpg").symlink_to("nowhere.jpg")
    (folder / "photos/loop.jpg").symlink_to("loop.jpg")
    ended = nursery.run(
        ["detect", "photos", "--out", "out", "--json", "f.json"], folder, limits=Limits(without_powers=True)
    )
    faults = ends_well(ended, "001.jpg: no permission to read it", "gone.jpg: no such file", "loop.jpg")
    return faults + _done(folder / "f.json", ["000.jpg", "002.jpg", "003.jpg"])


def unreadable_folder(nursery: Nursery, folder: Path) -> list[str]:
    """A folder below that may not be listed; the others are done."""
    draw_photos(folder / "photos/a", 2)
    draw_photos(folder / "photos/b", 2)
    (folder / "photos/b").chmod(0)
    try:
        limits = Limits(without_powers=True)
        ended = nursery.run(
            ["detect", "photos", "--recursive", "--out", "o", "--json", "f.json"], folder, limits=limits
        )
    finally:
        (folder / "photos/b").chmod(0o755)
    return ends_well(ended, "photos/b: cannot be listed") + _done(folder / "f.json", ["000.jpg", "001.jpg"])


def vanishing(nursery: Nursery, folder: Path) -> list[str]:
    """While the first photos are judged, later ones are removed, cut and replaced."""
    names = draw_photos(folder / "photos", 16)
    child = nursery.start(["detect", "photos", "--out", "out", "--json", "f.json"], folder)
    _wait_for(child.log.with_suffix(".out"), "000.jpg")
    removed, cut, replaced = names[-1], names[-2], names[-3]
    (folder / "photos" / removed).unlink()
    os.truncate(folder / "photos" / cut, 300)
    Image.new("RGB", (50, 40)).save(folder / "new.png")
    os.replace(folder / "new.png", folder / "photos" / replaced)  # a PNG now, and of another size
    ended = nursery.wait(child)
    faults = ends_well(ended, f"{removed}: no such file", f"{cut}: damaged or cut short")
    faults += _done(folder / "f.json", names[:-2])
    sizes = {Path(one["image"]).name: one["width"] for one in json.loads((folder / "f.json").read_text())}
    return faults + ([] if sizes.get(replaced) == 50 else [f"{replaced} was not read as it is now"])


def vanishing_set(nursery: Nursery, folder: Path) -> list[str]:
    """The same with a data set that is evaluated."""
    task = Evaluate(12)
    new_folder(task, folder / "set")
    child = nursery.start(task.arguments(), folder / "set")
    _wait_for(folder / "set/r/found.json.part-0", '"001"')
    (folder / "set/VOC/JPEGImages/011.jpg").unlink()
    ended = nursery.wait(child)
    return ends_well(ended, "011: ") + _done(folder / "set/r/found.json", [f"{i:03d}.jpg" for i in range(11)])


def slow(nursery: Nursery, folder: Path) -> list[str]:
    """A photo that comes through a pipe, a piece at a time."""
    draw_photos(folder / "photos", 2)
    content = (folder / "photos/000.jpg").read_bytes()
    os.mkfifo(folder / "slow.jpg")

    def feed() -> None:
        with open(folder / "slow.jpg", "wb") as pipe:
            for start in range(0, len(content), len(content) // 5):
                pipe.write(content[start : start + len(content) // 5])
                pipe.flush()
                time.sleep(0.1)

    feeder = threading.Thread(target=feed)
    feeder.start()
    arguments = ["detect", "photos/000.jpg", "slow.jpg", "photos/001.jpg", "--out", "out", "--json", "f.json"]
    ended = nursery.run(arguments, folder)
    feeder.join()
    faults = ends_well(ended, code=0) + _done(folder / "f.json", ["000.jpg", "slow.jpg", "001.jpg"])
    found = [one["detections"] for one in json.loads((folder / "f.json").read_text())]
    return faults + ([] if found[0] == found[1] else ["the slow photo's result is another"])


def cut_while_read(nursery: Nursery, folder: Path) -> list[str]:
    """Annotations that are cut in place again and again while they are read."""
    images = [{"id": i, "file_name": f"{i}.jpg", "width": 9, "height": 9} for i in range(40_000)]
    content = json.dumps({"images": images, "categories": [{"id": 1, "name": "cat"}], "annotations": []})
    path = folder / "a.json"
    path.write_text(content)
    (folder / "found.json").write_text("[]")
    arguments = ["evaluate", "--dataset", "coco", "--annotations", "a.json", "--detections", "found.json"]
    faults = []
    for _ in range(3):
        child = nursery.start(arguments, folder)
        for _ in range(40):
            os.truncate(path, 5000)
            path.write_text(content)
        ended = nursery.wait(child)
        if ended.code not in (0, 2) or "Traceback" in ended.errors:
            faults.append(f"exit code {ended.code}: {ended.errors.strip()[-200:]}")
    return faults


def damaged_checkpoint(nursery: Nursery, folder: Path) -> list[str]:
    """A bit of the last checkpoint is wrong: the training goes on from the one before, to the same end."""
    task = Train(4)
    whole, place = new_folder(task, folder / "whole"), new_folder(task, folder / "place")
    assert nursery.run(task.arguments(), whole).code == 0
    assert nursery.run(task.arguments(), place).code == 0
    path = place / "run/checkpoint.pt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()
    path.write_bytes(content)
    ended = nursery.run(task.arguments(), place)
    faults = ends_well(ended, code=0)
    if "going on from the one before" not in ended.errors:
        faults.append("nobody was told of the damage")
    row = Row("")
    compare(row, task.outcome(whole), task.outcome(place), 0)
    return faults + row.findings


def _done(path: Path, names: list[str]) -> list[str]:
    if not path.exists():
        return [f"{path.name} is not there"]
    found = [Path(one["image"]).name for one in json.loads(path.read_text())]
    return [] if found == names else [f"{path.name} has {found}, not {names}"]


def _wait_for(path: Path, text: str) -> None:
    for _ in range(2000):
        if path.exists() and text in path.read_text():
            return
        time.sleep(0.005)
    raise RuntimeError(f"{path} never had {text}")


def cases() -> list[Case]:
    return [
        *quick_cases(),
        full_disk(Evaluate(16), 16_384, ("r",)),
        full_disk(Train(4), 100 * MEBIBYTE, ("run",)),
        full_disk(Export(), 8 * MEBIBYTE, ("r",)),
        read_only(Export(), "r"),
        Case("annotations cut while they are read", cut_while_read),
        Case("a photo comes slowly", slow),
        Case("a checkpoint's bit is wrong", damaged_checkpoint),
    ]


def quick_cases() -> list[Case]:
    return [
        full_disk(Detect(8), 120_000, ("out", "r")),
        full_disk(Cache(8), 60_000, ("cache", "r")),
        read_only(Detect(2), "out"),
        read_only(Evaluate(2), "r"),
        read_only(Train(2), "run"),
        read_only(Cache(2), "cache"),
        Case("photos that cannot be read", unreadable),
        Case("a folder that cannot be listed", unreadable_folder),
        Case("photos vanish and change", vanishing),
        Case("a data set's photo vanishes", vanishing_set),
    ]


def try_case(case: Case, nursery: Nursery, folder: Path) -> Row:
    row = Row(case.name, tried=1)
    folder.mkdir(parents=True)
    with Timer() as timer:
        for fault in case.run(nursery, folder):
            row.fault(fault)
    row.took(timer.seconds)
    return row


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.reliability.disk", description=__doc__)
    parser.add_argument("--only", help="conditions with this in their name")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    with Timer() as timer, tempfile.TemporaryDirectory() as made, Nursery(Path(made)) as nursery:
        chosen = [case for case in cases() if options.only is None or options.only in case.name]
        rows = [try_case(case, nursery, Path(made) / str(index)) for index, case in enumerate(chosen)]
    return report(rows, timer.seconds)


if __name__ == "__main__":
    sys.exit(main())
