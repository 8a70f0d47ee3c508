"""Every reader of users' files, with small good files to be changed."""

import io
import json
import struct
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, features

from detector.config import CONFIG_FOLDER
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
    annotated = [voc(), voc_archives(), coco(), yolo(), ilsvrc(), custom_dataset(), detections()]
    weights = [model_files(), caffemodels(), npz_weights(), checkpoints()]
    return [images(), *weights, proposal_cache(), *annotated, configurations(), photo_zips(), unfinished_runs()]


def _photo(size: tuple[int, int] = (40, 30)) -> Image.Image:
    return Image.open(ROOT / "tests/photos/cat.jpg").convert("RGB").resize(size)


def _saved(kind: str, photo: Image.Image | None = None, **options: Any) -> bytes:
    stream = io.BytesIO()
    (photo or _photo()).save(stream, kind, **options)
    return stream.getvalue()


def images() -> Target:
    from detector.structures.image import read_image

    exif = Image.Exif()
    exif[0x0112] = 6
    gray = _photo().convert("L")
    files = {
        "a.jpg": _saved("JPEG", exif=exif),
        "progressive.jpg": _saved("JPEG", progressive=True),
        "cmyk.jpg": _saved("JPEG", _photo().convert("CMYK")),
        "a.png": _saved("PNG"),
        "palette.png": _saved("PNG", _photo().quantize(16), transparency=3),
        "deep.png": _saved("PNG", Image.fromarray(np.arange(1200, dtype=np.uint16).reshape(30, 40))),
        "a.gif": _saved("GIF", save_all=True, append_images=[gray.convert("P")]),
        "a.bmp": _saved("BMP"),
        "a.tif": _saved("TIFF", compression="tiff_lzw"),
        "plain.tif": _saved("TIFF"),
        "jpeg.tif": _saved("TIFF", compression="jpeg"),
        "a.webp": _saved("WEBP"),
        "a.ppm": _saved("PPM"),
        "plain.ppm": b"P3 2 2 255 1 2 3 4 5 6 7 8 9 10 11 12\n",
        "a.tga": _saved("TGA", compression="tga_rle"),
        "a.mpo": _saved("MPO", save_all=True, append_images=[_photo()]),
    }
    if features.check("avif"):
        files["a.avif"] = _saved("AVIF")
    if features.check("jpg_2000"):
        files["a.jp2"] = _saved("JPEG2000")
    return Target("images", files, lambda folder, changed: read_image(changed), 4.0)


def model_files() -> Target:
    from detector.models.weights import load_model

    content = MODEL.read_bytes()
    kinds = ("regions", "crops", "classification", "multibox")
    return Target("model files", {"m.safetensors": content}, lambda _, path: load_model(path, kinds), 0.15)  # type: ignore[arg-type]


def _varint(value: int) -> bytes:
    groups = [value >> shift & 0x7F for shift in range(0, max(1, value.bit_length()), 7)]
    return bytes([*(group | 0x80 for group in groups[:-1]), groups[-1]])


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def caffemodels() -> Target:
    from detector.models.caffe import read_caffe_arrays

    def blob(shape: tuple[int, ...]) -> bytes:
        numbers = struct.pack(f"<{int(np.prod(shape))}f", *range(int(np.prod(shape))))
        return _field(7, _field(1, b"".join(map(_varint, shape)))) + _field(5, numbers)

    def old(shape: tuple[int, ...]) -> bytes:
        sides = b"".join(_varint(i << 3) + _varint(side) for i, side in enumerate(shape, start=1))
        return sides + b"".join(_varint(5 << 3 | 5) + struct.pack("<f", 1.0) for _ in range(int(np.prod(shape))))

    new = b"".join(_field(100, _field(1, name) + _field(7, blob((2, 3, 1, 1))) + _field(7, blob((2,))))
                   for name in (b"conv1/7x7_s2", b"inception_3a/1x1"))  # fmt: skip
    v1 = _field(2, _field(4, b"conv") + _field(6, old((1, 2, 2, 2))) + _field(6, old((1, 1, 1, 2))))
    return Target("caffe models", {"a.caffemodel": new, "b.caffemodel": v1}, lambda _, path: read_caffe_arrays(path))


def _npz(**arrays: Any) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def npz_weights() -> Target:
    from detector.models.caffe import read_caffe_arrays

    content = _npz(**{"conv.weight": np.ones((2, 3, 1, 1), np.float16), "conv.bias": np.zeros(2, np.float32)})
    return Target("weights as npz", {"a.npz": content}, lambda _, path: read_caffe_arrays(path))


def proposal_cache() -> Target:
    from proposals import ProposalCache, Proposals

    good = Proposals(
        np.array([[0, 0, 9, 9]], np.float32), np.ones(1, np.float32), np.zeros(1, np.int16), ("a",), (9, 9)
    )

    class Proposer:
        fingerprint = "x"

        def __call__(self, image: np.ndarray) -> Proposals:
            return good

    def read(folder: Path, changed: Path) -> None:
        cache = ProposalCache(folder, Proposer())
        entry = cache.path(b"photo")
        entry.parent.mkdir(exist_ok=True)
        entry.write_bytes(changed.read_bytes())
        found = cache.get(b"photo", lambda: good)
        assert isinstance(found, Proposals)

    content = _npz(
        boxes=good.boxes.astype(np.uint16),
        scores=good.scores,
        sources=good.sources,
        source_names=np.array(["a"], np.str_),
        image_size=np.array([9, 9], np.int64),
    )
    return Target("proposal cache", {"a.npz": content}, read)


def _annotation(name: str = "cat", size: tuple[int, int] = (40, 30)) -> bytes:
    return (
        f"<annotation><folder>x</folder><filename>a.jpg</filename><size><width>{size[0]}</width><height>{size[1]}</height>"
        f"<depth>3</depth></size><object><name>{name}</name><difficult>0</difficult><bndbox><xmin>3</xmin><ymin>4</ymin>"
        "<xmax>20</xmax><ymax>25</ymax></bndbox></object></annotation>"
    ).encode()


_VOC = {"JPEGImages/a.jpg": _saved("JPEG"), "Annotations/a.xml": _annotation(), "ImageSets/Main/val.txt": b"a\n"}


def voc() -> Target:
    from detector.data.voc import VOCDataset, read_voc

    def read(folder: Path, changed: Path) -> None:
        VOCDataset(folder, "val").ground_truth()
        read_voc(folder)

    return Target("VOC", _VOC, read, unchanged=("JPEGImages/a.jpg",))


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


def voc_archives() -> Target:
    from detector.data.voc import read_voc

    inside = {name: content for name, content in _VOC.items() if not name.endswith("jpg")}
    files = {"a.zip": _zipped(inside), "a.tar": _tarred(inside, "w"), "a.tgz": _tarred(inside, "w:gz"),
             "a.txz": _tarred(inside, "w:xz"), "a.tbz": _tarred(inside, "w:bz2")}  # fmt: skip
    return Target("VOC archives", files, lambda _, path: read_voc(path, "val"))


def _coco() -> bytes:
    return json.dumps({
        "info": {"year": 2017},
        "images": [{"id": 1, "file_name": "a.jpg", "width": 40, "height": 30}],
        "categories": [{"id": 17, "name": "cat"}, {"id": 18, "name": "dog"}],
        "annotations": [{"id": 5, "image_id": 1, "category_id": 17, "bbox": [3, 4, 17, 21], "area": 357, "iscrowd": 0,
                         "segmentation": [[3, 4, 20, 4, 20, 25]]}],
    }).encode()  # fmt: skip


def coco() -> Target:
    from detector.data.coco import read_coco

    return Target("COCO", {"a.json": _coco()}, lambda _, path: read_coco(path))


def yolo() -> Target:
    from detector.data.yolo import read_yolo

    files = {
        "data.yaml": b"path: .\ntrain: images\nval: val.txt\nnames:\n  0: cat\n  1: dog\nkpt_shape: null\n",
        "val.txt": b"images/a.jpg\n",
        "images/a.jpg": _saved("JPEG"),
        "labels/a.txt": b"0 0.5 0.5 0.2 0.3\n1 0.1 0.1 0.3 0.1 0.2 0.4\n",
    }

    def read(folder: Path, changed: Path) -> None:
        read_yolo(folder / "data.yaml", "val")

    return Target("YOLO", files, read)


def ilsvrc() -> Target:
    from detector.data.ilsvrc import read_blacklist, read_ilsvrc

    files = {
        "Annotations/a.xml": _annotation("n02672831"),
        "val.txt": b"a 1\n",
        "map.txt": b"n02672831 1 accordion\nn02691156 2 airplane\n",
        "blacklist.txt": b"1 n02672831\n",
    }

    def read(folder: Path, changed: Path) -> None:
        truth = read_ilsvrc(folder / "Annotations", folder / "val.txt", folder / "map.txt").truth
        read_blacklist(folder / "blacklist.txt", truth)

    return Target("ILSVRC", files, read)


def detections() -> Target:
    from detector.data.formats import read_detections
    from detector.evaluation import GroundTruth

    truth = GroundTruth(
        image_ids=("a", "b"), class_names=("cat", "dog"), images=[0], labels=[0], boxes=[[3, 4, 20, 25]],
        image_sizes=[[40, 30], [40, 30]], files=("a.jpg", "b.jpg"), class_ids=(17, 18),
    )  # fmt: skip
    item = {"label": "cat", "category_id": 1, "score": 0.5, "box": [3, 4, 20, 25]}
    entry = {"image": "a.jpg", "width": 40, "height": 30, "seconds": 0.1, "detections": [item]}
    result = {"image_id": "a", "category_id": 17, "bbox": [3, 4, 17, 21], "score": 0.5}
    files = {
        "native.json": json.dumps([entry, {**entry, "image": "b.jpg"}]).encode(),
        "coco.json": json.dumps([result, {**result, "image_id": "b"}]).encode(),
        "a.csv": b"image,class,score,x1,y1,x2,y2\na.jpg,cat,0.5,3,4,20,25\n",
        "ilsvrc.txt": b"1 1 0.5 3 4 20 25\n2 2 0.4 3 4 20 25\n",
        "voc/comp4_det_val_cat.txt": b"a 0.5 3 4 20 25\n",
        "yolo/a.txt": b"0 0.5 0.5 0.2 0.3 0.9\n",
    }
    kinds = {"coco.json": "coco", "a.csv": "csv", "ilsvrc.txt": "ilsvrc"}

    def read(folder: Path, changed: Path) -> None:
        if changed.parent != folder:
            read_detections(changed.parent, truth, "voc" if changed.parent.name == "voc" else "yolo")
            return
        read_detections(changed, truth, kinds.get(changed.name))  # type: ignore[arg-type]

    return Target("detections", files, read)


def configurations() -> Target:
    from detector.config import DetectorConfig, parse, read_yaml
    from detector.training.recipes import load_recipe

    recipes = ("voc07", "rcnn", "imagenet", "multibox", "voc07_multibox")
    files = {f"{name}.yaml": (CONFIG_FOLDER / f"{name}.yaml").read_bytes() for name in (*recipes, "paper", "ensemble")}

    def read(folder: Path, changed: Path) -> None:
        if changed.stem in recipes:
            load_recipe(changed)
        else:
            parse(DetectorConfig, read_yaml(changed, ""), str(changed))

    return Target("recipes", files, read, 0.5)


def checkpoints() -> Target:
    from detector.training.checkpoint import load_checkpoint

    stream = io.BytesIO()
    torch.save({"recipe": "r", "step": 1, "network": {"w": torch.ones(3, 4)}, "optimizer": {"lr": 0.1}}, stream)
    return Target("checkpoints", {"c.pt": stream.getvalue()}, lambda _, path: load_checkpoint(path, "r"))


def photo_zips() -> Target:
    from detector.runner.sources import Source, find_sources

    def read(folder: Path, changed: Path) -> None:
        for source in find_sources([str(changed)]):
            if isinstance(source, Source):
                source.read()

    photos = {"a.jpg": _saved("JPEG"), "b/c.png": _saved("PNG"), "read.me": b"text"}
    files = {"a.zip": _zipped(photos), "list.txt": b"a.zip\nb.jpg\n"}
    return Target("zips and lists of photos", files, read)


def custom_dataset() -> Target:
    from detector.data.custom_dataset import read_custom_dataset

    files = {name: _saved("JPEG") for name in ("coco/a.jpg", "voc/b.jpg", "yolo/c.jpg")} | {
        "coco/a.json": _coco(),
        "voc/b.xml": _annotation(),
        "voc/classes.txt": b"cat\ndog\n",
        "yolo/data.yaml": b"train: .\nnames: [cat, dog]\n",
        "yolo/c.txt": b"0 0.5 0.5 0.2 0.3\n",
    }

    def read(folder: Path, changed: Path) -> None:
        read_custom_dataset(changed.parent)

    return Target("own data", files, read)


def unfinished_runs() -> Target:
    from detector.storage.run_store import ResultStore, RunStore

    made_by = {"score": 0.5}
    lines = [{"made_by": made_by}, {"image": "a.jpg", "width": 40, "height": 30, "seconds": 0.1, "detections": []}]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    files = {"unfinished.jsonl": (text + '{"done": "a.jpg"}\n').encode(), "f.json.part-0": text.encode()}

    def read(folder: Path, changed: Path) -> None:
        if changed.name == "unfinished.jsonl":
            store = RunStore(changed, made_by, finished_only=True)
            try:
                list(store.records())
            finally:
                store.close()
        else:
            ResultStore(folder / "f.json", made_by).close()

    return Target("unfinished runs", files, read)
