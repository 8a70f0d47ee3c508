"""Nothing in a file runs code or names a file outside its root.

Linter rules forbid calls that execute what they read; hostile files are given to every reader.
"""

import importlib.util
import io
import json
import os
import pickle
import re
import stat
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detector.config import read_yaml
from detector.data.archives import PhotoZip, read_members
from detector.data.coco import read_coco
from detector.data.ilsvrc import read_ilsvrc
from detector.data.voc import VOCDataset
from detector.data.voc_xml import parse_xml
from detector.data.yolo import read_yolo_config
from detector.errors import InputError
from detector.models.caffe import read_caffe_arrays
from detector.models.weights import load_model
from detector.structures.image import read_image
from detector.training.checkpoint import load_checkpoint
from detector.training.recipes import load_recipe
from proposals import ProposalCache
from tests.reliability.fork_server import ROOT

# What the linter cannot see.
UNSAFE = re.compile(r"weights_only\s*=\s*False|allow_pickle\s*=\s*True|\.extract(all)?\(")


def test_the_sources():
    """`ruff check`, which `.ci/run` calls, forbids the rest."""
    sources = [path for folder in ("detector", "proposals", "tools") for path in (ROOT / folder).rglob("*.py")]
    assert len(sources) > 100
    assert [path for path in sources if UNSAFE.search(path.read_text(encoding="utf-8"))] == []


def linted(text: str) -> str:
    """What the project's rules say about a source file."""
    if importlib.util.find_spec("ruff") is None:
        pytest.skip("ruff is not installed")
    command = [sys.executable, "-m", "ruff", "check", "--select=S,TID251", "--output-format=concise"]
    command += ["--stdin-filename", "detector/x.py", "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True, cwd=ROOT).stdout


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from pickle import loads",
        "import torch\ntorch.jit.load('x')",
        "import numpy as np\nnp.load('x')",
        "import yaml\nyaml.load(x, yaml.Loader)",
        "import yaml\nyaml.unsafe_load(x)",
        "eval(x)",
        "exec(x)",
        "import os\nos.system(x)",
        "import subprocess\nsubprocess.run(x, shell=True)",
        "from xml.etree.ElementTree import fromstring",
        "import xml.dom.minidom",
        "import tarfile\ntarfile.open(x).extractall()",
        "import shutil\nshutil.unpack_archive(x)",
    ],
)
def test_the_linter_forbids(text: str):
    assert re.search(r"detector/x\.py:\d+:\d+: (S[1-5]\d\d|S60[245]|TID251) ", linted(text)), linted(text)


def test_the_linter_allows_what_is_safe():
    text = "import torch\nfrom xml.etree.ElementTree import Element\ntorch.load('x', weights_only=True)\nmodel.eval()\n"
    assert "TID251" not in linted(text)


class Touch:
    """Makes a folder when it is unpickled: the trace of code that ran."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@dataclass(frozen=True)
class Attack:
    """A hostile file and its reader.

    `make` writes it to a path, given the path of the trace; `read` must refuse it or use nothing of it.
    """

    name: str
    make: Callable[[Path, Path], None]
    read: Callable[[Path], object]


class RefusedError(Exception):
    """Raised by an attack's `read` where the reader ignores the file without an error."""


def attacks() -> list[Attack]:
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

    hostile = [
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
        hostile.append(Attack(f"zip of photos with {name}", zipped(name), photos))
        hostile.append(Attack(f"zip of annotations with {name}", zipped(name), archive))
        hostile.append(Attack(f"tar of annotations with {name}", tarred(name), archive))
    hostile.append(Attack("zip of photos with a link", zipped("x.jpg", link=True), photos))
    hostile.append(Attack("zip of annotations with a link", zipped("x.xml", link=True), archive))
    for kind, what in ((tarfile.SYMTYPE, "a link"), (tarfile.LNKTYPE, "a hard link"), (tarfile.CHRTYPE, "a device")):
        hostile.append(Attack(f"tar of annotations with {what}", tarred("x.xml", kind), archive))
    for name in ("../../x", "/etc/passwd", "a/../../x"):
        hostile.append(Attack(f"VOC's list with {name}", listed(name), lambda path: VOCDataset(path.parent, "val")))
        hostile.append(Attack(f"ILSVRC's list with {name}", listed(name), ilsvrc))
    for name in ("../../etc/passwd", "/etc/passwd", "C:\\passwd", "..\\passwd"):
        hostile.append(Attack(f"COCO's file_name {name}", coco(name), coco_file))
    return hostile


def attack(one: Attack, folder: Path) -> str | None:
    """What went wrong; None if the file was refused in the documented way and none of its code ran."""
    path, trace = folder / "data" / "hostile", folder / "trace"
    path.parent.mkdir(parents=True)
    one.make(path, trace)
    try:
        one.read(path)
        fault = "accepted"
    except (InputError, RefusedError):
        fault = None
    except Exception as error:
        fault = f"{type(error).__name__}: {error}"
    return "its code ran" if trace.exists() else fault


@pytest.mark.parametrize("one", attacks(), ids=lambda one: one.name)
def test_a_hostile_file_is_refused(one: Attack, tmp_path: Path):
    assert attack(one, tmp_path) is None


def test_an_attack_that_succeeds_is_detected(tmp_path: Path):
    pickled = next(one for one in attacks() if one.name == "pickle as model file").make

    def fail(path: Path) -> None:
        raise KeyError("y")

    unsafe = Attack("x", pickled, lambda path: pickle.loads(path.read_bytes()))
    assert attack(unsafe, tmp_path / "a") == "its code ran"
    assert attack(Attack("x", pickled, lambda path: None), tmp_path / "b") == "accepted"
    assert attack(Attack("x", pickled, fail), tmp_path / "c") == "KeyError: 'y'"
