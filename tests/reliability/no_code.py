"""No code comes out of data, and no path out of its root: `python -m tests.reliability.no_code`.

The sources are walked for calls that execute what they read, and hostile files are given to each reader.
"""

import argparse
import ast
import io
import json
import os
import pickle
import stat
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.reliability.nursery import ROOT
from tests.reliability.table import Row, Timer, report

SOURCES = ("detector", "proposals", "tools")

_MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "imp", "code"}
_CALLS = {
    "eval": "runs a text",
    "exec": "runs a text",
    "os.system": "runs a shell",
    "os.popen": "runs a shell",
    "yaml.unsafe_load": "makes any object",
    "yaml.full_load": "makes objects",
    "torch.jit.load": "runs what the file says",
    "torch.hub.load": "runs downloaded code",
    "torch.package.PackageImporter": "runs what the file says",
    "shutil.unpack_archive": "writes where the archive says",
    "numpy.loads": "unpickles",
}
_XML = ("xml.etree", "xml.sax", "xml.dom", "xml.parsers", "lxml")
_XML_WRITING = {"Element", "ElementTree", "SubElement", "indent", "tostring", "ParseError"}
#: torch.export.load unpickles nothing, but takes a program; it reads back what `export` has just written.
_ALLOWED = {("detector/export/check.py", "torch.export.load")}


def faults_in(text: str, where: str) -> Iterator[str]:
    """What a source does that could execute data or leave a root, a line each."""
    tree = ast.parse(text)
    names = _imported(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [one.name for one in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            for module in modules:
                if module.split(".")[0] in _MODULES:
                    yield f"{where}:{node.lineno}: imports {module}"
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(_XML):
                for one in node.names:
                    if one.name not in _XML_WRITING:
                        yield f"{where}:{node.lineno}: {node.module}.{one.name} reads XML without defusedxml"
            if isinstance(node, ast.Import) and any(module.startswith(_XML) for module in modules):
                yield f"{where}:{node.lineno}: imports a reader of XML without defusedxml"
        elif isinstance(node, ast.Call):
            for fault in _faults_of_call(node, names):
                if (where, fault.split()[0]) not in _ALLOWED:
                    yield f"{where}:{node.lineno}: {fault}"


def _imported(tree: ast.AST) -> dict[str, str]:
    """The full names of what a source has imported, by what it calls them."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update({one.asname or one.name.split(".")[0]: one.name if one.asname else one.name.split(".")[0]
                          for one in node.names})  # fmt: skip
        elif isinstance(node, ast.ImportFrom):
            names.update({one.asname or one.name: f"{node.module}.{one.name}" for one in node.names})
    return names


def _full_name(node: ast.expr, names: dict[str, str]) -> str:
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        return f"{_full_name(node.value, names)}.{node.attr}"
    return "?"


def _faults_of_call(node: ast.Call, names: dict[str, str]) -> Iterator[str]:
    name = _full_name(node.func, names)
    constants = {one.arg: one.value.value for one in node.keywords if isinstance(one.value, ast.Constant)}
    if name in _CALLS:
        yield f"{name} {_CALLS[name]}"
    if name == "torch.load" and constants.get("weights_only") is not True:
        yield "torch.load without weights_only=True"
    if name == "torch.export.load":
        yield "torch.export.load of a file from anywhere"
    if name in ("numpy.load", "np.load") and constants.get("allow_pickle") is not False:
        yield "numpy.load without allow_pickle=False"
    if name == "yaml.load" and not (len(node.args) == 2 and _full_name(node.args[1], names) == "_Loader"):
        yield "yaml.load with another loader than our own SafeLoader"
    if any(one.arg == "shell" and getattr(one.value, "value", True) for one in node.keywords):
        yield f"{name} with a shell"
    if isinstance(node.func, ast.Attribute) and node.func.attr in ("extractall", "extract"):
        yield f"{name} writes where the archive says"


def walk(root: Path = ROOT) -> Row:
    row = Row("no code from data: sources")
    with Timer() as timer:
        for path in sorted(path for folder in SOURCES for path in (root / folder).rglob("*.py")):
            row.tried += 1
            for fault in faults_in(path.read_text(encoding="utf-8"), path.relative_to(root).as_posix()):
                row.fault(fault)
    row.took(timer.seconds)
    return row


class Touch:
    """Unpickled, it makes a file: the trace of code that ran."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@dataclass(frozen=True)
class Attack:
    """A hostile file and who reads it. `make` writes it at a path; `read` must refuse it or take nothing of it."""

    name: str
    make: Callable[[Path, Path], None]
    read: Callable[[Path], object]


def attacks() -> list[Attack]:
    from detector.config import read_yaml
    from detector.data.archives import PhotoZip, read_members
    from detector.data.coco import read_coco
    from detector.data.ilsvrc import read_ilsvrc
    from detector.data.voc import VOCDataset
    from detector.data.voc_xml import parse_xml
    from detector.data.yolo import read_yolo_config
    from detector.models.caffe import read_caffe_arrays
    from detector.models.weights import load_model
    from detector.structures.image import read_image
    from detector.training.checkpoint import load_checkpoint
    from detector.training.recipes import load_recipe
    from proposals import ProposalCache

    def pickled(path: Path, trace: Path) -> None:
        path.write_bytes(pickle.dumps(Touch(trace)))

    def pickled_zip(path: Path, trace: Path) -> None:  # as torch.save writes it
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", pickle.dumps(Touch(trace), protocol=2))
            archive.writestr("archive/version", "3\n")

    def objects(path: Path, trace: Path) -> None:
        names = ("boxes", "scores", "sources", "source_names", "image_size", "conv1/7x7_s2.weight")
        with path.open("wb") as file:
            np.savez(file, **{name: np.array([Touch(trace)], object) for name in names})

    def yaml_object(path: Path, trace: Path) -> None:
        path.write_text(f"data: !!python/object/apply:os.mkdir ['{trace}']\nnames: [a]\ntrain: .\n")

    def entity(path: Path, trace: Path) -> None:
        trace.with_suffix(".secret").write_text("secret")
        path.write_text(
            f'<!DOCTYPE a [<!ENTITY e SYSTEM "{trace.with_suffix(".secret")}">]><annotation>&e;</annotation>'
        )

    def laughs(path: Path, trace: Path) -> None:
        lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
        lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
        path.write_text("\n".join([*lines, "train: .", "names: *a11"]))

    def zipped(*members: str, link: bool = False) -> Callable[[Path, Path], None]:
        def make(path: Path, trace: Path) -> None:
            with zipfile.ZipFile(path, "w") as archive:
                for name in members:
                    info = zipfile.ZipInfo(name)
                    if link:
                        info.external_attr = (stat.S_IFLNK | 0o777) << 16
                    archive.writestr(info, "/etc/passwd")

        return make

    def tarred(name: str, kind: bytes = tarfile.REGTYPE) -> Callable[[Path, Path], None]:
        def make(path: Path, trace: Path) -> None:
            with tarfile.open(path, "w") as archive:
                info = tarfile.TarInfo(name)
                info.type, info.linkname = kind, "/etc/passwd"
                info.size = 4 if kind == tarfile.REGTYPE else 0
                archive.addfile(info, io.BytesIO(b"evil") if info.size else None)

        return make

    def listed(name: str) -> Callable[[Path, Path], None]:
        def make(path: Path, trace: Path) -> None:
            for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
                (path.parent / folder).mkdir(parents=True, exist_ok=True)
            (path.parent / "ImageSets/Main/val.txt").write_text(f"{name}\n")
            path.write_text(f"{name} 1\n")
            (path.parent / "map.txt").write_text("n01 1 cat\n")

        return make

    def coco(name: str) -> Callable[[Path, Path], None]:
        def make(path: Path, trace: Path) -> None:
            image = {"id": 1, "file_name": name, "width": 9, "height": 9}
            content = {"images": [image], "categories": [{"id": 1, "name": "cat"}], "annotations": []}
            path.write_text(json.dumps(content))

        return make

    def coco_file(path: Path) -> None:
        (name,) = read_coco(path).files
        if name != "passwd":
            raise AssertionError(f"the photo is looked for at {name}")
        raise RefusedError

    def cached(path: Path) -> None:
        """A damaged entry is computed anew."""

        class Proposer:
            fingerprint = "x"

            def __call__(self, image: np.ndarray) -> Any:
                raise RefusedError

        cache = ProposalCache(path.parent / "cache", Proposer())
        entry = cache.path(b"photo")
        entry.parent.mkdir(parents=True, exist_ok=True)
        entry.write_bytes(path.read_bytes())
        cache.get(b"photo", lambda: cache.proposer(np.zeros((1, 1, 3), np.uint8)))

    def archive(path: Path) -> object:
        return read_members(path, lambda name: True)

    def photos(path: Path) -> object:
        return PhotoZip(path, lambda name: True)

    def ilsvrc(path: Path) -> object:
        return read_ilsvrc(path.parent / "Annotations", path, path.parent / "map.txt")

    found = [
        Attack("pickle as model file", pickled, load_model),
        Attack("torch file as model file", pickled_zip, load_model),
        Attack("pickle as checkpoint", pickled, lambda path: load_checkpoint(path, "r")),
        Attack("torch file as checkpoint", pickled_zip, lambda path: load_checkpoint(path, "r")),
        Attack("objects in .npz weights", objects, read_caffe_arrays),
        Attack("pickle as .caffemodel", pickled, read_caffe_arrays),
        Attack("objects in cached proposals", objects, cached),
        Attack("pickle as photo", pickled, read_image),
        Attack("object in a recipe", yaml_object, load_recipe),
        Attack("object in a configuration", yaml_object, lambda path: read_yaml(path, "")),
        Attack("object in data.yaml", yaml_object, lambda path: read_yolo_config(path, "train")),
        Attack("aliases of aliases in data.yaml", laughs, lambda path: read_yolo_config(path, "train")),
        Attack("aliases of aliases in a recipe", laughs, load_recipe),
        Attack("entity in XML", entity, lambda path: parse_xml(path.read_bytes())),
    ]
    for name in ("../../x.jpg", "/etc/x.jpg", "..\\x.jpg", "C:\\x.jpg", "a/../../x.jpg"):
        found.append(Attack(f"zip of photos with {name}", zipped(name), photos))
        found.append(Attack(f"zip of annotations with {name}", zipped(name), archive))
        found.append(Attack(f"tar of annotations with {name}", tarred(name), archive))
    found.append(Attack("zip of photos with a link", zipped("x.jpg", link=True), photos))
    found.append(Attack("zip of annotations with a link", zipped("x.xml", link=True), archive))
    for kind, what in ((tarfile.SYMTYPE, "a link"), (tarfile.LNKTYPE, "a hard link"), (tarfile.CHRTYPE, "a device")):
        found.append(Attack(f"tar of annotations with {what}", tarred("x.xml", kind), archive))
    for name in ("../../x", "/etc/passwd", "a/../../x"):
        found.append(Attack(f"VOC's list with {name}", listed(name), lambda path: VOCDataset(path.parent, "val")))
        found.append(Attack(f"ILSVRC's list with {name}", listed(name), ilsvrc))
    for name in ("../../etc/passwd", "/etc/passwd", "C:\\passwd", "..\\passwd"):
        found.append(Attack(f"COCO's file_name {name}", coco(name), coco_file))
    return found


class RefusedError(Exception):
    """What an attack's `read` raises where the reader takes nothing of the file, without an error of its own."""


def attack(one: Attack, folder: Path) -> str | None:
    """What went wrong; None if the file was refused in the documented way and nothing of it ran."""
    from detector.errors import InputError

    path, trace = folder / "data" / "hostile", folder / "trace"
    path.parent.mkdir(parents=True)
    one.make(path, trace)
    try:
        one.read(path)
        fault = "it was taken"
    except (InputError, RefusedError):
        fault = None
    except Exception as error:
        fault = f"{type(error).__name__}: {error}"
    return f"{one.name}: its code ran" if trace.exists() else fault and f"{one.name}: {fault}"


def attack_all() -> Row:
    row = Row("no code from data: hostile files")
    with tempfile.TemporaryDirectory() as folder:
        for index, one in enumerate(attacks()):
            row.tried += 1
            with Timer() as timer:
                fault = attack(one, Path(folder) / str(index))
            row.took(timer.seconds)
            if fault:
                row.fault(fault)
    return row


def main(arguments: list[str] | None = None) -> int:
    argparse.ArgumentParser(prog="python -m tests.reliability.no_code", description=__doc__).parse_args(arguments)
    with Timer() as timer:
        rows = [walk(), attack_all()]
    return report(rows, timer.seconds)


if __name__ == "__main__":
    sys.exit(main())
