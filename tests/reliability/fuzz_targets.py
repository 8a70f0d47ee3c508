"""Every reader of users' files, with small good files to be changed."""

import io
import json
import struct
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, features

from detector.config import CONFIG_FOLDER, DetectorConfig, parse, read_yaml
from detector.data.coco import read_coco
from detector.data.custom_dataset import read_custom_dataset
from detector.data.formats import read_detections
from detector.data.ilsvrc import read_blacklist, read_ilsvrc
from detector.data.voc import VOCDataset, read_voc
from detector.data.yolo import read_yolo
from detector.errors import InputError
from detector.evaluation import GroundTruth
from detector.models.caffe import read_caffe_arrays
from detector.models.weights import load_model
from detector.runner.sources import Source, find_sources
from detector.storage.run_store import ResultStore, RunStore
from detector.structures.image import read_image
from detector.training.checkpoint import load_checkpoint
from detector.training.recipes import load_recipe
from proposals import ProposalCache, Proposals, export_proposals, read_proposals
from tests.reliability.fork_server import MODEL, ROOT


@dataclass(frozen=True)
class Target:
    """A reader.

    Attributes:
        files: good files by their name in a folder; each input changes one.
        read: called with the folder and the changed file.
        share: of the inputs, relative to the other targets.
        unchanged: files that are never changed.
    """

    name: str
    files: dict[str, bytes]
    read: Callable[[Path, Path], object]
    share: float = 1.0
    unchanged: tuple[str, ...] = ()

    def write(self, folder: Path) -> None:
        """Writes the good files."""
        for name, content in self.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)


def all_targets() -> list[Target]:
    model = {"m.safetensors": MODEL.read_bytes()}
    names = ("voc07/1_rfcn", "voc07_crops/1_rcnn", "imagenet", "multibox", "voc07/3_multibox", "paper", "ensemble")
    recipes = {f"{Path(name).name}.yaml": (CONFIG_FOLDER / f"{name}.yaml").read_bytes() for name in names}
    checkpoint = io.BytesIO()
    torch.save({"recipe": "r", "step": 1, "network": {"w": torch.ones(3, 4)}, "optimizer": {"lr": 0.1}}, checkpoint)
    caffe = _npz(**{"conv.weight": np.ones((2, 3, 1, 1), np.float16), "conv.bias": np.zeros(2, np.float32)})
    proposals = _npz(
        boxes=_GOOD.boxes.astype(np.uint16),
        scores=_GOOD.scores,
        sources=_GOOD.sources,
        source_names=np.array(["a"], np.str_),
        image_size=np.array([9, 9], np.int64),
    )
    voc = {"JPEGImages/a.jpg": _saved("JPEG"), "Annotations/a.xml": _annotation(), "ImageSets/Main/val.txt": b"a\n"}
    listed = {name: content for name, content in voc.items() if not name.endswith("jpg")}
    archives = {"a.zip": _zipped(listed), "a.tar": _tarred(listed, "w"), "a.tgz": _tarred(listed, "w:gz"),
                "a.txz": _tarred(listed, "w:xz"), "a.tbz": _tarred(listed, "w:bz2")}  # fmt: skip
    yolo = {
        "data.yaml": b"path: .\ntrain: images\nval: val.txt\nnames:\n  0: cat\n  1: dog\nkpt_shape: null\n",
        "val.txt": b"images/a.jpg\n",
        "images/a.jpg": _saved("JPEG"),
        "labels/a.txt": b"0 0.5 0.5 0.2 0.3\n1 0.1 0.1 0.3 0.1 0.2 0.4\n",
    }
    ilsvrc = {
        "Annotations/a.xml": _annotation("n02672831"),
        "val.txt": b"a 1\n",
        "map.txt": b"n02672831 1 accordion\nn02691156 2 airplane\n",
        "blacklist.txt": b"1 n02672831\n",
    }
    custom = {name: _saved("JPEG") for name in ("coco/a.jpg", "voc/b.jpg", "yolo/c.jpg")} | {
        "coco/a.json": _COCO,
        "voc/b.xml": _annotation(),
        "voc/classes.txt": b"cat\ndog\n",
        "yolo/data.yaml": b"train: .\nnames: [cat, dog]\n",
        "yolo/c.txt": b"0 0.5 0.5 0.2 0.3\n",
    }
    photos = {"a.jpg": _saved("JPEG"), "b/c.png": _saved("PNG"), "read.me": b"text"}
    run = "".join(json.dumps(line) + "\n" for line in ({"made_by": _MADE_BY}, _ENTRY | {"detections": []})).encode()
    return [
        Target("images", _images(), lambda _, path: read_image(path), 4.0),
        Target("model files", model, lambda _, path: load_model(path, _KINDS), 0.15),  # type: ignore[arg-type]
        Target("caffe models", _caffemodels(), lambda _, path: read_caffe_arrays(path)),
        Target("weights as npz", {"a.npz": caffe}, lambda _, path: read_caffe_arrays(path)),
        Target("checkpoints", {"c.pt": checkpoint.getvalue()}, lambda _, path: load_checkpoint(path, "r")),
        Target("proposal cache", {"a.npz": proposals}, _read_cached),
        Target("files of proposals", _proposal_files(), _read_proposals),
        Target("VOC", voc, _read_voc, unchanged=("JPEGImages/a.jpg",)),
        Target("VOC archives", archives, lambda _, path: read_voc(path, "val")),
        Target("COCO", {"a.json": _COCO}, lambda _, path: read_coco(path)),
        Target("YOLO", yolo, lambda folder, _: read_yolo(folder / "data.yaml", "val")),
        Target("ILSVRC", ilsvrc, _read_ilsvrc),
        Target("custom dataset", custom, lambda _, path: read_custom_dataset(path.parent)),
        Target("detections", _detections(), _read_detections),
        Target("recipes", recipes, _read_recipe, 0.5),
        Target("zips and lists of photos", {"a.zip": _zipped(photos), "list.txt": b"a.zip\nb.jpg\n"}, _read_photos),
        Target("unfinished runs", {"u.jsonl": run + b'{"done": "a.jpg"}\n', "f.json.part-0": run}, _read_unfinished),
    ]


_KINDS = ("regions", "crops", "classification", "multibox")
_MADE_BY = {"score": 0.5}
_ENTRY = {"image": "a.jpg", "width": 40, "height": 30, "seconds": 0.1}
_GOOD = Proposals(np.array([[0, 0, 9, 9]], np.float32), np.ones(1, np.float32), np.zeros(1, np.int16), ("a",), (9, 9))
_COCO = json.dumps({
    "info": {"year": 2017},
    "images": [{"id": 1, "file_name": "a.jpg", "width": 40, "height": 30}],
    "categories": [{"id": 17, "name": "cat"}, {"id": 18, "name": "dog"}],
    "annotations": [{"id": 5, "image_id": 1, "category_id": 17, "bbox": [3, 4, 17, 21], "area": 357, "iscrowd": 0,
                     "segmentation": [[3, 4, 20, 4, 20, 25]]}],
}).encode()  # fmt: skip


def _read_cached(folder: Path, changed: Path) -> None:
    class Proposer:
        fingerprint = "x"

        def __call__(self, image: np.ndarray) -> Proposals:
            return _GOOD

    cache = ProposalCache(folder, Proposer())
    entry = cache.path(b"photo")
    entry.parent.mkdir(exist_ok=True)
    entry.write_bytes(changed.read_bytes())
    assert isinstance(cache.get(b"photo", lambda: _GOOD), Proposals)


def _proposal_files() -> dict[str, bytes]:
    """A file in each format but .mat, which SciPy reads."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for ending in (".npz", ".jsonl", ".json", ".pkl", ""):
            export_proposals(folder / f"b{ending}", [("1.jpg", _GOOD)], "x")
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.*")}


def _read_proposals(folder: Path, changed: Path) -> None:
    try:
        read_proposals(changed if changed.parent == folder else changed.parent, {"1.jpg": (9, 9)})
    except ValueError as error:  # the package has no InputError
        raise InputError(str(error)) from None


def _read_voc(folder: Path, changed: Path) -> None:
    VOCDataset(folder, "val").ground_truth()
    read_voc(folder)


def _read_ilsvrc(folder: Path, changed: Path) -> None:
    truth = read_ilsvrc(folder / "Annotations", folder / "val.txt", folder / "map.txt")
    read_blacklist(folder / "blacklist.txt", truth)


def _read_detections(folder: Path, changed: Path) -> None:
    truth = GroundTruth(
        image_ids=("a", "b"), class_names=("cat", "dog"), images=[0], labels=[0], boxes=[[3, 4, 20, 25]],
        image_sizes=[[40, 30], [40, 30]], files=("a.jpg", "b.jpg"), class_ids=(17, 18),
    )  # fmt: skip
    inside = changed.parent != folder  # a folder whose name is the format
    path, kind = (changed.parent, changed.parent.name) if inside else (changed, changed.stem)
    read_detections(path, truth, None if kind == "native" else kind)  # type: ignore[arg-type]


def _read_recipe(folder: Path, changed: Path) -> None:
    if changed.stem in ("paper", "ensemble"):
        parse(DetectorConfig, read_yaml(changed), str(changed))
    else:
        load_recipe(changed)


def _read_photos(folder: Path, changed: Path) -> None:
    for source in find_sources([str(changed)]):
        if isinstance(source, Source):
            source.read()


def _read_unfinished(folder: Path, changed: Path) -> None:
    if changed.suffix == ".jsonl":
        store = RunStore(changed, _MADE_BY, finished_only=True)
        try:
            list(store.records())
        finally:
            store.close()
    else:
        ResultStore(folder / "f.json", _MADE_BY).close()


def _photo() -> Image.Image:
    return Image.open(ROOT / "tests/photos/cat.jpg").convert("RGB").resize((40, 30))


def _saved(kind: str, photo: Image.Image | None = None, **options: Any) -> bytes:
    stream = io.BytesIO()
    (photo or _photo()).save(stream, kind, **options)
    return stream.getvalue()


def _images() -> dict[str, bytes]:
    exif = Image.Exif()
    exif[0x0112] = 6
    plain = {"png": "PNG", "bmp": "BMP", "tif": "TIFF", "webp": "WEBP", "ppm": "PPM"}
    plain |= {"avif": "AVIF"} if features.check("avif") else {}
    plain |= {"jp2": "JPEG2000"} if features.check("jpg_2000") else {}
    return {f"a.{ending}": _saved(kind) for ending, kind in plain.items()} | {
        "a.jpg": _saved("JPEG", exif=exif),
        "progressive.jpg": _saved("JPEG", progressive=True),
        "cmyk.jpg": _saved("JPEG", _photo().convert("CMYK")),
        "palette.png": _saved("PNG", _photo().quantize(16), transparency=3),
        "deep.png": _saved("PNG", Image.fromarray(np.arange(1200, dtype=np.uint16).reshape(30, 40))),
        "a.gif": _saved("GIF", save_all=True, append_images=[_photo().convert("L").convert("P")]),
        "lzw.tif": _saved("TIFF", compression="tiff_lzw"),
        "jpeg.tif": _saved("TIFF", compression="jpeg"),
        "plain.ppm": b"P3 2 2 255 1 2 3 4 5 6 7 8 9 10 11 12\n",
        "a.tga": _saved("TGA", compression="tga_rle"),
        "a.mpo": _saved("MPO", save_all=True, append_images=[_photo()]),
    }


def _varint(value: int) -> bytes:
    groups = [value >> shift & 0x7F for shift in range(0, max(1, value.bit_length()), 7)]
    return bytes([*(group | 0x80 for group in groups[:-1]), groups[-1]])


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _caffemodels() -> dict[str, bytes]:
    def blob(shape: tuple[int, ...]) -> bytes:
        numbers = struct.pack(f"<{int(np.prod(shape))}f", *range(int(np.prod(shape))))
        return _field(7, _field(1, b"".join(map(_varint, shape)))) + _field(5, numbers)

    def old(shape: tuple[int, ...]) -> bytes:
        sides = b"".join(_varint(i << 3) + _varint(side) for i, side in enumerate(shape, start=1))
        return sides + b"".join(_varint(5 << 3 | 5) + struct.pack("<f", 1.0) for _ in range(int(np.prod(shape))))

    new = b"".join(_field(100, _field(1, name) + _field(7, blob((2, 3, 1, 1))) + _field(7, blob((2,))))
                   for name in (b"conv1/7x7_s2", b"inception_3a/1x1"))  # fmt: skip
    v1 = _field(2, _field(4, b"conv") + _field(6, old((1, 2, 2, 2))) + _field(6, old((1, 1, 1, 2))))
    return {"a.caffemodel": new, "b.caffemodel": v1}


def _npz(**arrays: Any) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def _annotation(name: str = "cat") -> bytes:
    return (
        "<annotation><folder>x</folder><filename>a.jpg</filename><size><width>40</width><height>30</height>"
        f"<depth>3</depth></size><object><name>{name}</name><difficult>0</difficult><bndbox><xmin>3</xmin><ymin>4</ymin>"
        "<xmax>20</xmax><ymax>25</ymax></bndbox></object></annotation>"
    ).encode()


def _zipped(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def _tarred(files: dict[str, bytes], mode: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def _detections() -> dict[str, bytes]:
    """Files by the name of their format."""
    item = {"label": "cat", "category_id": 1, "score": 0.5, "box": [3, 4, 20, 25]}
    entry = _ENTRY | {"detections": [item]}
    result = {"image_id": "a", "category_id": 17, "bbox": [3, 4, 17, 21], "score": 0.5}
    return {
        "native.json": json.dumps([entry, {**entry, "image": "b.jpg"}]).encode(),
        "coco.json": json.dumps([result, {**result, "image_id": "b"}]).encode(),
        "csv.csv": b"image,class,score,x1,y1,x2,y2\na.jpg,cat,0.5,3,4,20,25\n",
        "ilsvrc.txt": b"1 1 0.5 3 4 20 25\n2 2 0.4 3 4 20 25\n",
        "voc/comp4_det_val_cat.txt": b"a 0.5 3 4 20 25\n",
        "yolo/a.txt": b"0 0.5 0.5 0.2 0.3 0.9\n",
    }
