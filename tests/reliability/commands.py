"""Commands that are killed, starved and run at once, and what each leaves on the disk."""

import hashlib
import json
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
from tests.reliability.fork_server import MODEL, ROOT


@dataclass
class Outcome:
    """What a run leaves: records, each of which must be there once, and files by their content."""

    records: Counter[str] = field(default_factory=Counter)
    files: dict[str, str] = field(default_factory=dict)

    def differences(self, expected: "Outcome") -> list[str]:
        """What was lost, doubled, changed or left behind, a line each."""
        faults = [f"lost: {record[:150]}" for record in expected.records - self.records]
        faults += [f"doubled: {record[:150]}" for record in self.records - expected.records]
        for name in sorted(expected.files.keys() | self.files.keys()):
            if name not in self.files:
                faults.append(f"lost: {name}")
            elif name not in expected.files:
                faults.append(f"left behind: {name}")
            elif expected.files[name] != self.files[name]:
                faults.append(f"differs: {name}")
        return faults


class Command(ABC):
    """A command with inputs made for it."""

    name: str

    def __str__(self) -> str:
        return self.name

    @abstractmethod
    def prepare(self, folder: Path) -> None:
        """Writes the command's inputs into a new folder."""

    @abstractmethod
    def arguments(self) -> list[str]:
        """Its arguments, the same for the first start and each restart; it runs in the folder."""

    @abstractmethod
    def outcome(self, folder: Path) -> Outcome:
        """What it has left in the folder."""

    def is_done(self, folder: Path) -> bool:
        """Whether a killed run had finished its work, so that it is not restarted."""
        return False

    def new_folder(self, folder: Path) -> Path:
        """Makes a folder with the inputs and, for results, `r`."""
        folder.mkdir(parents=True)
        self.prepare(folder)
        (folder / "r").mkdir(exist_ok=True)
        return folder


def draw_photos(folder: Path, count: int, size: tuple[int, int] = (120, 90)) -> list[str]:
    """Draws different crops of the two photos into a new folder; gives their names."""
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
    """Makes a data set in VOC's layout with the split `val`."""
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


class Detect(Command):
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
        outcome = Outcome()
        entries = json.loads((folder / "r/f.json").read_text())
        lines = [json.loads(line) for line in (folder / "r/f.jsonl").read_text().splitlines()]
        for kind, values in (("json", entries), ("jsonl", lines)):
            outcome.records.update(f"{kind} {json.dumps(without_times(value))}" for value in values)
        outcome.records.update(f"csv {line}" for line in (folder / "r/f.csv").read_text().splitlines())
        for path in files_below(folder, "out", "r"):
            if path.suffix not in (".json", ".jsonl", ".csv") or "coco" in path.name:
                outcome.files[str(path.relative_to(folder))] = digest(path.read_bytes())
        return outcome


class Evaluate(Command):
    name = "evaluate"

    def __init__(self, photos: int) -> None:
        self.photos = photos

    def prepare(self, folder: Path) -> None:
        draw_voc(folder / "VOC", self.photos)

    def arguments(self) -> list[str]:
        return ["evaluate", "--root", "VOC", "--split", "val", "--save-detections", "r/found.json",
                "--json", "r/result.json", "--report", "r/why.html", "--resume"]  # fmt: skip

    def outcome(self, folder: Path) -> Outcome:
        outcome = Outcome()
        entries = json.loads((folder / "r/found.json").read_text())
        outcome.records.update(json.dumps(without_times(entry)) for entry in entries)
        result = without_times(json.loads((folder / "r/result.json").read_text()))
        outcome.files["r/result.json"] = digest(json.dumps(result).encode())
        for path in files_below(folder, "r"):
            outcome.files.setdefault(str(path.relative_to(folder)), "")
        return outcome


class Train(Command):
    name = "train"

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def prepare(self, folder: Path) -> None:
        draw_voc(folder / "VOC", 4)
        (folder / "recipe.yaml").write_text(
            "data: {train_split: val, eval_split: val}\n"
            "model: {input: {short_side: 64}}\n"
            f"optimizer: {{steps: {self.steps}, warmup_steps: 2, lr: 0.0001}}\n"
            f"ohem_rois: 16\neval_every: {self.steps}\ncheckpoint_every: 2\n"
        )

    def arguments(self) -> list[str]:
        return ["train", "recipe.yaml", "--root", "VOC", "--init", str(MODEL), "--out", "run", "--cache", "cache",
                "--resume"]  # fmt: skip

    def outcome(self, folder: Path) -> Outcome:
        outcome = Outcome()
        state = read_checkpoint(folder / "run/checkpoint.pt")
        outcome.records[f"step {state['step']}"] = 1
        for kind in ("network", "ema"):
            outcome.files[kind] = digest_of_tensors(state[kind])
        outcome.files["model"] = digest_of_tensors(load_file(folder / "run/model.safetensors"))
        left = [path for path in files_below(folder, "run", "cache") if "tmp" in path.name]
        outcome.files.update({str(path.relative_to(folder)): "" for path in left})
        return outcome


class Cache(Command):
    name = "proposal cache"

    def __init__(self, photos: int) -> None:
        self.photos = photos

    def prepare(self, folder: Path) -> None:
        draw_photos(folder / "photos", self.photos, (240, 180))

    def arguments(self) -> list[str]:
        return ["propose", "photos", "--preset", "fast", "--cache", "cache", "--export", "r/boxes.npz", "--no-draw"]

    def outcome(self, folder: Path) -> Outcome:
        outcome = Outcome()
        with np.load(folder / "r/boxes.npz") as arrays:
            counts = np.diff(arrays["starts"]).tolist()
            outcome.records.update(
                f"{name} {count}" for name, count in zip(arrays["names"].tolist(), counts, strict=True)
            )
        for path in files_below(folder, "cache", "r"):
            outcome.files[str(path.relative_to(folder))] = digest_of_arrays(path) if path.suffix == ".npz" else ""
        return outcome


class Export(Command):
    name = "export"

    def prepare(self, folder: Path) -> None:
        pass

    def arguments(self) -> list[str]:
        return ["export", "r/graph.pt2", "--size", "64x64"]

    def outcome(self, folder: Path) -> Outcome:
        outcome = Outcome()
        with zipfile.ZipFile(folder / "r/graph.pt2") as archive:
            outcome.records.update(Path(name).name for name in archive.namelist())
            # the program's text names its objects by numbers that differ from run to run
            weights = [info for info in archive.infolist() if "/weights/" in info.filename]
            outcome.files["weights"] = str(sorted((Path(info.filename).name, info.CRC) for info in weights))
        outcome.files.update({str(path.relative_to(folder)): "" for path in files_below(folder, "r")})
        return outcome


def files_below(folder: Path, *parts: str) -> list[Path]:
    return sorted(path for part in parts for path in (folder / part).rglob("*") if path.is_file())


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_times(one) for key, one in value.items() if "second" not in key}
    return [without_times(one) for one in value] if isinstance(value, list) else value


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def digest_of_arrays(path: Path) -> str:
    with np.load(path, allow_pickle=False) as arrays:
        return digest(b"".join(name.encode() + arrays[name].tobytes() for name in sorted(arrays.files)))


def digest_of_tensors(state: dict[str, torch.Tensor]) -> str:
    parts = (
        name.encode() + state[name].contiguous().view(-1).view(torch.uint8).numpy().tobytes() for name in sorted(state)
    )
    return digest(b"".join(parts))


def read_checkpoint(path: Path) -> dict[str, Any]:
    state = torch.load(path, map_location="cpu", weights_only=True)
    return load_checkpoint(path, state["recipe"])


def half_written(folder: Path) -> Iterator[str]:
    """Files under their final names that cannot be read. The last of appended lines may be cut off."""
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
