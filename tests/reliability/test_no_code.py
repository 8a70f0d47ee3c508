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
from pathlib import Path
from typing import Any, NamedTuple

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
from proposals.pickles import read_pickle
from tests.reliability.fork_server import ROOT

# What the linter cannot see. An `extractor` is ncnn's, the others are archives.
UNSAFE = re.compile(r"weights_only\s*=\s*False|allow_pickle\s*=\s*True|(?<!extractor)\.extract(all)?\(")


def test_the_sources():
    """`ruff check`, which `.ci/run` calls, forbids the rest."""
    sources = [path for folder in ("detector", "proposals", "tools") for path in (ROOT / folder).rglob("*.py")]
    assert len(sources) > 100
    assert [path for path in sources if UNSAFE.search(path.read_text(encoding="utf-8"))] == []


@pytest.mark.skipif(importlib.util.find_spec("ruff") is None, reason="ruff is not installed")
def test_the_linter_forbids_what_executes_and_allows_what_is_safe():
    unsafe = [
        "import pickle",
        "from pickle import loads",
        "torch.jit.load('x')",
        "np.load('x')",
        "yaml.load(x, yaml.Loader)",
        "yaml.unsafe_load(x)",
        "eval(x)",
        "exec(x)",
        "os.system(x)",
        "subprocess.run(x, shell=True)",
        "from xml.etree.ElementTree import fromstring",
        "import xml.dom.minidom",
        "tarfile.open(x).extractall()",
        "shutil.unpack_archive(x)",
    ]
    safe = ["from xml.etree.ElementTree import Element", "torch.load('x', weights_only=True)", "model.eval()"]
    imports = ["import os, shutil, subprocess, tarfile, torch, yaml", "import numpy as np"]
    command = [sys.executable, "-m", "ruff", "check", "--select=S,TID251", "--output-format=concise"]
    command += ["--stdin-filename", "detector/x.py", "-"]
    text = "\n".join([*imports, *safe, *unsafe])
    said = subprocess.run(command, input=text, capture_output=True, text=True, cwd=ROOT).stdout
    lines = {int(line) for line in re.findall(r"x\.py:(\d+):\d+: (?:S[1-5]\d\d|S60[245]|TID251) ", said)}
    first = len(imports) + len(safe) + 1
    assert lines == set(range(first, first + len(unsafe))), said


class Touch:
    """Makes a folder when it is unpickled: the trace of code that ran."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


class RefusedError(Exception):
    """Raised by an attack's `read` where the reader ignores the file without an error."""


class Attack(NamedTuple):
    """A hostile file and its reader.

    `make` writes it to a path, given the path of the trace; `read` must refuse it or use nothing of it.
    """

    name: str
    make: Callable[[Path, Path], object]
    read: Callable[[Path], object]


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
    secret = trace.with_suffix(".secret")
    secret.write_text("secret")
    path.write_text(f'<!DOCTYPE a [<!ENTITY e SYSTEM "{secret}">]><annotation>&e;</annotation>')


def laughs(path: Path, trace: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    path.write_text("\n".join([*lines, "train: .", "names: *a11"]))


def zipped(path: Path, name: str, mode: int = 0) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        archive.writestr(info, "/etc/passwd")


def tarred(path: Path, name: str, kind: bytes = tarfile.REGTYPE) -> None:
    with tarfile.open(path, "w") as archive:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, "/etc/passwd"
        info.size = 4 if kind == tarfile.REGTYPE else 0
        archive.addfile(info, io.BytesIO(b"evil") if info.size else None)


def listed(path: Path, name: str) -> None:
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (path.parent / folder).mkdir(parents=True, exist_ok=True)
    (path.parent / "ImageSets/Main/val.txt").write_text(f"{name}\n")
    path.write_text(f"{name} 1\n")
    (path.parent / "map.txt").write_text("n01 1 cat\n")


def coco(path: Path, name: str) -> None:
    image = {"id": 1, "file_name": name, "width": 9, "height": 9}
    path.write_text(json.dumps({"images": [image], "categories": [{"id": 1, "name": "cat"}], "annotations": []}))


def read_coco_file(path: Path) -> None:
    (name,) = read_coco(path).files
    if name != "passwd":
        raise AssertionError(f"the photo is looked for at {name}")
    raise RefusedError


def read_cached(path: Path) -> None:
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


def read_archive(path: Path) -> object:
    return read_members(path, lambda name: True)


def read_photos(path: Path) -> object:
    return PhotoZip(path, lambda name: True)


def read_list_of_ilsvrc(path: Path) -> object:
    return read_ilsvrc(path.parent / "Annotations", path, path.parent / "map.txt")


def read_pickled(path: Path) -> object:
    try:
        return read_pickle(path.read_bytes())
    except ValueError as error:  # the package has no InputError
        raise RefusedError from error


LINK = stat.S_IFLNK | 0o777
ATTACKS = [
    Attack("pickle as model file", pickled, load_model),
    Attack("torch file as model file", pickled_zip, load_model),
    Attack("pickle as checkpoint", pickled, lambda path: load_checkpoint(path, "r")),
    Attack("torch file as checkpoint", pickled_zip, lambda path: load_checkpoint(path, "r")),
    Attack("objects in .npz weights", objects, read_caffe_arrays),
    Attack("pickle as .caffemodel", pickled, read_caffe_arrays),
    Attack("objects in cached proposals", objects, read_cached),
    Attack("pickle of proposals", pickled, read_pickled),
    Attack("pickle as photo", pickled, read_image),
    Attack("object in a recipe", yaml_object, load_recipe),
    Attack("object in a configuration", yaml_object, lambda path: read_yaml(path)),
    Attack("object in data.yaml", yaml_object, lambda path: read_yolo_config(path, "train")),
    Attack("aliases of aliases in data.yaml", laughs, lambda path: read_yolo_config(path, "train")),
    Attack("aliases of aliases in a recipe", laughs, load_recipe),
    Attack("entity in XML", entity, lambda path: parse_xml(path.read_bytes())),
    Attack("zip of photos with a link", lambda path, _: zipped(path, "x.jpg", LINK), read_photos),
    Attack("zip of annotations with a link", lambda path, _: zipped(path, "x.xml", LINK), read_archive),
    Attack("tar with a link", lambda path, _: tarred(path, "x.xml", tarfile.SYMTYPE), read_archive),
    Attack("tar with a hard link", lambda path, _: tarred(path, "x.xml", tarfile.LNKTYPE), read_archive),
    Attack("tar with a device", lambda path, _: tarred(path, "x.xml", tarfile.CHRTYPE), read_archive),
    *(
        Attack(f"{what} {name}", lambda path, _, make=make, name=name: make(path, name), read)
        for what, make, read, names in (
            ("zip of photos with", zipped, read_photos, ("../../x.jpg", "/etc/x", "..\\x", "C:\\x", "a/../../x")),
            ("zip of annotations with", zipped, read_archive, ("../../x.jpg", "/etc/x", "..\\x", "C:\\x", "a/../../x")),
            ("tar of annotations with", tarred, read_archive, ("../../x.jpg", "/etc/x", "..\\x", "C:\\x", "a/../../x")),
            (
                "VOC's list with",
                listed,
                lambda path: VOCDataset(path.parent, "val"),
                ("../../x", "/etc/x", "a/../../x"),
            ),
            ("ILSVRC's list with", listed, read_list_of_ilsvrc, ("../../x", "/etc/passwd", "a/../../x")),
            ("COCO's", coco, read_coco_file, ("../../etc/passwd", "/etc/passwd", "C:\\passwd", "..\\passwd")),
        )
        for name in names
    ),
]


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


@pytest.mark.parametrize("one", ATTACKS, ids=lambda one: one.name)
def test_a_hostile_file_is_refused(one: Attack, tmp_path: Path):
    assert attack(one, tmp_path) is None


def test_an_attack_that_succeeds_is_detected(tmp_path: Path):
    unsafe = Attack("x", pickled, lambda path: pickle.loads(path.read_bytes()))
    assert attack(unsafe, tmp_path / "a") == "its code ran"
    assert attack(Attack("x", pickled, lambda path: None), tmp_path / "b") == "accepted"
    assert attack(Attack("x", pickled, lambda path: {}["y"]), tmp_path / "c") == "KeyError: 'y'"
