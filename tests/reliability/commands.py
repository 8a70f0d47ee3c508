"""Commands that are killed, starved and run at once, and what each leaves on the disk."""

import hashlib
import json
import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

from detector.training.checkpoint import load_checkpoint
from tests.reliability.fork_server import MODEL, ROOT


@dataclass(frozen=True)
class Command:
    """A command with inputs made for it.

    Attributes:
        prepare: writes the command's inputs into a new folder.
        words: its arguments, the same for the first start and each restart; it runs in the folder.
        outputs: folders of what it writes.
        done: what a killed run leaves that had finished its work, so that it is not restarted.
    """

    name: str
    prepare: Callable[[Path], object]
    words: str
    outputs: tuple[str, ...] = ("r",)
    done: Callable[[Path], bool] = lambda folder: False

    def __str__(self) -> str:
        return self.name

    @property
    def arguments(self) -> list[str]:
        return self.words.split()

    def new_folder(self, folder: Path) -> Path:
        """Makes a folder with the inputs and, for results, `r`."""
        (folder / "r").mkdir(parents=True)
        self.prepare(folder)
        return folder

    def outcome(self, folder: Path) -> dict[str, Any]:
        """The content of all files that it has left in the folder, but for times."""
        files = [path for output in self.outputs for path in files_below(folder / output)]
        kept = [path for path in files if not re.search(r"\.lock$|\.log$|events\.out", path.name)]
        return {str(path.relative_to(folder)): content(path) for path in kept}


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
    names = [Path(name).stem for name in draw_photos(root / "JPEGImages", count)]
    for part in ("Annotations", "ImageSets/Main"):
        (root / part).mkdir(parents=True)
    box = "<bndbox><xmin>11</xmin><ymin>6</ymin><xmax>90</xmax><ymax>80</ymax></bndbox>"
    for index, name in enumerate(names):
        kind = ("cat", "person")[index % 2]
        (root / f"Annotations/{name}.xml").write_text(
            "<annotation><size><width>120</width><height>90</height></size>"
            f"<object><name>{kind}</name><difficult>0</difficult>{box}</object></annotation>"
        )
    (root / "ImageSets/Main/val.txt").write_text("\n".join(names))


def detect(photos: int) -> Command:
    results = (
        "--json r/f.json --jsonl r/f.jsonl --csv r/f.csv --coco r/f.coco.json --yolo r/yolo --voc r/voc --crops r/c"
    )
    return Command(
        "detect over a folder",
        lambda folder: draw_photos(folder / "photos", photos),
        f"detect photos --out out --score 0.2 --resume {results}",
        ("out", "r"),
        lambda folder: (folder / "r/f.json").exists() and not (folder / "out/unfinished.jsonl").exists(),
    )


def evaluate(photos: int) -> Command:
    results = "--save-detections r/found.json --json r/result.json --report r/why.html --resume"
    return Command(
        "evaluate", lambda folder: draw_voc(folder / "VOC", photos), f"evaluate --root VOC --split val {results}"
    )


def train(steps: int) -> Command:
    recipe = (
        "data: {train_split: val, eval_split: val}\n"
        "model: {input: {short_side: 64}}\n"
        f"optimizer: {{steps: {steps}, warmup_steps: 2, lr: 0.0001}}\n"
        f"ohem_rois: 16\neval_every: {steps}\ncheckpoint_every: 2\n"
    )

    def prepare(folder: Path) -> None:
        draw_voc(folder / "VOC", 4)
        (folder / "recipe.yaml").write_text(recipe)

    words = f"train recipe.yaml --root VOC --init {MODEL} --out run --cache cache --resume"
    return Command("train", prepare, words, ("run", "cache"))


def cache(photos: int) -> Command:
    return Command(
        "proposal cache",
        lambda folder: draw_photos(folder / "photos", photos, (240, 180)),
        "propose photos --preset fast --cache cache --no-draw --export r/boxes.npz",
        ("cache", "r"),
    )


EXPORT = Command("export", lambda folder: None, "export r/graph.pt2 --size 64x64")


def files_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def half_written(folder: Path) -> Iterator[str]:
    """Files under their final names that cannot be read. The last of appended lines may be cut off."""
    for path in files_below(folder):
        if ".tmp" in path.name or path.parent.name.startswith(".tmp"):
            continue
        try:
            content(path)
        except Exception as error:
            yield f"{path.relative_to(folder)}: {type(error).__name__}: {str(error).splitlines()[:1]}"


def content(path: Path) -> Any:
    """What a whole file holds, read in full, but for times; raises where it cannot be read."""
    if path.suffix == ".json":
        return without_times(json.loads(path.read_text()))
    if path.suffix == ".jsonl" or ".part-" in path.name:
        lines = path.read_text().splitlines(keepends=True)
        return [without_times(json.loads(line)) for line in lines if line.endswith("\n")]
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            return {name: digest(arrays[name]) for name in sorted(arrays.files)}
    if path.suffix == ".pt":
        state = torch.load(path, map_location="cpu", weights_only=True)
        state = load_checkpoint(path, state["recipe"])
        return {"step": state["step"], "network": tensors(state["network"]), "ema": tensors(state["ema"])}
    if path.suffix == ".safetensors":
        return tensors(load_file(path))
    if path.suffix == ".pt2":
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None
            # The program's text names its objects by numbers that differ from run to run.
            members = [(Path(i.filename).name, i.CRC if "/weights/" in i.filename else 0) for i in archive.infolist()]
            return sorted(members)
    if path.suffix in (".jpg", ".png"):
        return digest(np.asarray(Image.open(path)))
    if path.suffix == ".html":
        assert path.read_text().rstrip().endswith("</html>")
        return None  # its figures are in the JSON file, too
    if path.suffix == ".xml":
        ElementTree.fromstring(path.read_bytes())
    return digest(np.frombuffer(path.read_bytes(), np.uint8))


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_times(one) for key, one in value.items() if "second" not in key}
    return [without_times(one) for one in value] if isinstance(value, list) else value


def digest(array: np.ndarray) -> str:
    return hashlib.sha256(array.tobytes()).hexdigest()


def tensors(state: dict[str, torch.Tensor]) -> dict[str, str]:
    return {name: digest(value.contiguous().view(-1).view(torch.uint8).numpy()) for name, value in state.items()}
