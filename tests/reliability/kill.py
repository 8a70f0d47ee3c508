"""SIGKILL at random moments: `python -m tests.reliability.kill --times 200`.

Detection over a folder, an evaluation, a training, the filling of a proposal cache and an export are killed again and
again and started again each time; in the end all that is on the disk must be what an undisturbed run leaves, and at no
time may a file have its name before it is whole.
"""

import argparse
import hashlib
import json
import random
import shutil
import sys
import tempfile
import zipfile
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

from detector.training.checkpoint import load_checkpoint
from tests.reliability.nursery import ROOT, Nursery
from tests.reliability.table import Row, Timer, report

#: After so many kills a run is let go to its end.
MOST_KILLS = 6


@dataclass
class Outcome:
    """What a run leaves: records, each of which must be there once, and files by their content."""

    records: Counter[str] = field(default_factory=Counter)
    files: dict[str, str] = field(default_factory=dict)


class Task(ABC):
    """A command whose processes are killed."""

    name: str

    def __str__(self) -> str:
        return self.name

    @abstractmethod
    def prepare(self, folder: Path) -> None:
        """Makes what the command reads, in a new folder."""

    @abstractmethod
    def arguments(self) -> list[str]:
        """Of the command, which runs in the folder; the same for the first and every further start."""

    @abstractmethod
    def outcome(self, folder: Path) -> Outcome:
        """What has come of it."""

    def is_done(self, folder: Path) -> bool:
        """Whether a killed run had done all: it is not started again."""
        return False


def draw_photos(folder: Path, count: int, size: tuple[int, int] = (120, 90)) -> list[str]:
    """Parts of the two photos, each another one; gives their names."""
    folder.mkdir(parents=True)
    photos = [Image.open(ROOT / "tests/photos" / name).convert("RGB") for name in ("cat.jpg", "astronaut.jpg")]
    names = []
    for index in range(count):
        photo = photos[index % 2]
        left, top = (37 * index) % (photo.width - 280), (23 * index) % (photo.height - 210)
        names.append(f"{index:03d}.jpg")
        photo.crop((left, top, left + 280, top + 210)).resize(size).save(folder / names[-1])
    return names


def draw_voc(root: Path, count: int) -> None:
    """A data set in VOC's layout, its split `val`."""
    names = draw_photos(root / "JPEGImages", count)
    for part in ("Annotations", "ImageSets/Main"):
        (root / part).mkdir(parents=True)
    box = "<bndbox><xmin>11</xmin><ymin>6</ymin><xmax>90</xmax><ymax>80</ymax></bndbox>"
    for index, name in enumerate(names):
        kind = ("cat", "person")[index % 2]
        (root / "Annotations" / f"{Path(name).stem}.xml").write_text(
            "<annotation><size><width>120</width><height>90</height></size>"
            f"<object><name>{kind}</name><difficult>0</difficult>{box}</object></annotation>"
        )
    (root / "ImageSets/Main/val.txt").write_text("".join(f"{Path(name).stem}\n" for name in names))


class Detect(Task):
    name = "detect over a folder"

    def __init__(self, photos: int) -> None:
        self.photos = photos

    def prepare(self, folder: Path) -> None:
        draw_photos(folder / "photos", self.photos)

    def arguments(self) -> list[str]:
        results = [("--json", "f.json"), ("--jsonl", "f.jsonl"), ("--csv", "f.csv"), ("--coco", "f.coco.json"),
                   ("--yolo", "yolo"), ("--voc", "voc"), ("--crops", "crops")]  # fmt: skip
        named = [word for option, name in results for word in (option, f"r/{name}")]
        return ["detect", "photos", "--out", "out", "--score", "0.2", "--resume", *named]

    def is_done(self, folder: Path) -> bool:
        return (folder / "r/f.json").exists() and not (folder / "out/unfinished.jsonl").exists()

    def outcome(self, folder: Path) -> Outcome:
        found = Outcome()
        entries = json.loads((folder / "r/f.json").read_text())
        lines = [json.loads(line) for line in (folder / "r/f.jsonl").read_text().splitlines()]
        for kind, values in (("json", entries), ("jsonl", lines)):
            found.records.update(f"{kind} {json.dumps(_without_times(value))}" for value in values)
        found.records.update(f"csv {line}" for line in (folder / "r/f.csv").read_text().splitlines())
        for path in _files(folder, "out", "r"):
            if path.suffix not in (".json", ".jsonl", ".csv") or "coco" in path.name:
                found.files[str(path.relative_to(folder))] = _digest(path.read_bytes())
        return found


class Evaluate(Task):
    name = "evaluate"

    def __init__(self, photos: int) -> None:
        self.photos = photos

    def prepare(self, folder: Path) -> None:
        draw_voc(folder / "VOC", self.photos)

    def arguments(self) -> list[str]:
        return ["evaluate", "--root", "VOC", "--split", "val", "--save-detections", "r/found.json",
                "--json", "r/result.json", "--report", "r/why.html"]  # fmt: skip

    def outcome(self, folder: Path) -> Outcome:
        found = Outcome()
        entries = json.loads((folder / "r/found.json").read_text())
        found.records.update(json.dumps(_without_times(entry)) for entry in entries)
        result = _without_times(json.loads((folder / "r/result.json").read_text()))
        found.files["r/result.json"] = _digest(json.dumps(result).encode())
        for path in _files(folder, "r"):
            found.files.setdefault(str(path.relative_to(folder)), "")
        return found


class Train(Task):
    name = "train"

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def prepare(self, folder: Path) -> None:
        draw_voc(folder / "VOC", 4)
        (folder / "recipe.yaml").write_text(
            "data: {train_split: val, eval_split: val}\n"
            "model: {input: {short_side: 64}}\n"
            f"optimizer: {{steps: {self.steps}, warmup_steps: 2, rate: 0.0001}}\n"
            f"hard_regions: 16\neval_every: {self.steps}\ncheckpoint_every: 2\n"
        )

    def arguments(self) -> list[str]:
        weights = ROOT / "detector/models/voc07.safetensors"
        return ["train", "recipe.yaml", "--root", "VOC", "--init", str(weights), "--out", "run", "--cache", "cache"]

    def outcome(self, folder: Path) -> Outcome:
        found = Outcome()
        state = _checkpoint(folder / "run/checkpoint.pt")
        found.records[f"step {state['step']}"] = 1
        for kind in ("network", "ema"):
            found.files[kind] = _tensors(state[kind])
        found.files["model"] = _tensors(load_file(folder / "run/model.safetensors"))
        left = [path for path in _files(folder, "run", "cache") if "tmp" in path.name]
        found.files.update({str(path.relative_to(folder)): "" for path in left})
        return found


class Cache(Task):
    name = "proposal cache"

    def __init__(self, photos: int) -> None:
        self.photos = photos

    def prepare(self, folder: Path) -> None:
        draw_photos(folder / "photos", self.photos, (240, 180))

    def arguments(self) -> list[str]:
        return ["propose", "photos", "--preset", "fast", "--cache", "cache", "--export", "r/boxes.npz", "--draw", "0"]

    def outcome(self, folder: Path) -> Outcome:
        found = Outcome()
        with np.load(folder / "r/boxes.npz") as arrays:
            counts = np.diff(arrays["starts"]).tolist()
            found.records.update(
                f"{name} {count}" for name, count in zip(arrays["names"].tolist(), counts, strict=True)
            )
        for path in _files(folder, "cache", "r"):
            found.files[str(path.relative_to(folder))] = _arrays(path) if path.suffix == ".npz" else ""
        return found


class Export(Task):
    name = "export"

    def prepare(self, folder: Path) -> None:
        (folder / "r").mkdir()

    def arguments(self) -> list[str]:
        return ["export", "r/graph.pt2", "--format", "torch_export", "--size", "64x64"]

    def is_done(self, folder: Path) -> bool:
        return False

    def outcome(self, folder: Path) -> Outcome:
        found = Outcome()
        with zipfile.ZipFile(folder / "r/graph.pt2") as archive:
            found.records.update(Path(name).name for name in archive.namelist())
            # the program's text names its objects by numbers that differ from run to run
            weights = [info for info in archive.infolist() if "/weights/" in info.filename]
            found.files["weights"] = str(sorted((Path(info.filename).name, info.CRC) for info in weights))
        found.files.update({str(path.relative_to(folder)): "" for path in _files(folder, "r")})
        return found


def half_written(folder: Path) -> Iterator[str]:
    """What has its name and cannot be read. Of lines that are appended the last may be cut off."""
    for path in _files(folder, "."):
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
        _arrays(path)
    elif path.suffix == ".pt":
        _checkpoint(path)
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
    whole = _new(task, folder / "whole")
    undisturbed = nursery.run(task.arguments(), whole)
    if undisturbed.code:
        raise RuntimeError(f"{task.name}: ends with {undisturbed.code} undisturbed: {undisturbed.errors}")
    expected, duration = task.outcome(whole), undisturbed.seconds
    while row.tried < times:
        place = _new(task, folder / f"run-{row.tried}")
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
            _compare(row, expected, task.outcome(place), kills)
            break
        if row.findings:
            break  # the folder is kept to look at
        shutil.rmtree(place)
    row.notes = f"undisturbed {undisturbed.seconds:.1f} s"
    return row


def _compare(row: Row, expected: Outcome, found: Outcome, kills: int) -> None:
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


def _new(task: Task, folder: Path) -> Path:
    folder.mkdir(parents=True)
    task.prepare(folder)
    (folder / "r").mkdir(exist_ok=True)
    return folder


def _files(folder: Path, *parts: str) -> list[Path]:
    return sorted(path for part in parts for path in (folder / part).rglob("*") if path.is_file())


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_times(one) for key, one in value.items() if "second" not in key}
    return [_without_times(one) for one in value] if isinstance(value, list) else value


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _arrays(path: Path) -> str:
    with np.load(path, allow_pickle=False) as arrays:
        return _digest(b"".join(name.encode() + arrays[name].tobytes() for name in sorted(arrays.files)))


def _tensors(state: dict[str, torch.Tensor]) -> str:
    parts = (
        name.encode() + state[name].contiguous().view(-1).view(torch.uint8).numpy().tobytes() for name in sorted(state)
    )
    return _digest(b"".join(parts))


def _checkpoint(path: Path) -> dict[str, Any]:
    state = torch.load(path, map_location="cpu", weights_only=True)
    return load_checkpoint(path, state["recipe"])


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
