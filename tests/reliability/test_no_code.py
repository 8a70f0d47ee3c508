"""Nothing that a user is given can run code or name a file outside its root."""

from pathlib import Path

import pytest

from detector.errors import InputError
from tests.reliability.no_code import Attack, attack, attacks, faults_in, walk


def test_the_sources_execute_nothing_that_they_read():
    row = walk()
    assert row.findings == []
    assert row.tried > 200


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from pickle import loads",
        "import torch\ntorch.load('x')",
        "import torch\ntorch.load('x', weights_only=False)",
        "from torch import load\nload('x')",
        "import torch\ntorch.jit.load('x')",
        "import numpy as np\nnp.load('x')",
        "import numpy as np\nnp.load('x', allow_pickle=True)",
        "import yaml\nyaml.load(x, yaml.Loader)",
        "import yaml\nyaml.unsafe_load(x)",
        "eval(x)",
        "exec(x)",
        "import os\nos.system(x)",
        "import subprocess\nsubprocess.run(x, shell=True)",
        "from xml.etree.ElementTree import fromstring",
        "import xml.dom.minidom",
        "import zipfile\nzipfile.ZipFile(x).extractall()",
        "import tarfile\ntarfile.open(x).extract(y)",
        "import shutil\nshutil.unpack_archive(x)",
    ],
)
def test_the_walk_sees(text: str):
    assert len(list(faults_in(text, "x.py"))) == 1


@pytest.mark.parametrize(
    "text",
    [
        "import torch\ntorch.load('x', weights_only=True)",
        "import numpy as np\nnp.load('x', allow_pickle=False)",
        "import yaml\nyaml.safe_load(x)",
        "model.eval()",
        "import subprocess\nsubprocess.run([x], shell=False)",
        "from xml.etree.ElementTree import Element",
    ],
)
def test_the_walk_lets_pass(text: str):
    assert list(faults_in(text, "x.py")) == []


@pytest.mark.parametrize("one", attacks(), ids=lambda one: one.name)
def test_a_hostile_file_is_refused(one: Attack, tmp_path: Path):
    assert attack(one, tmp_path) is None


def test_an_attack_that_works_is_seen(tmp_path: Path):
    import pickle

    made = next(one for one in attacks() if one.name == "pickle as model file")
    worked = Attack("x", made.make, lambda path: pickle.loads(path.read_bytes()))
    assert attack(worked, tmp_path / "a") == "x: its code ran"
    assert attack(Attack("x", made.make, lambda path: None), tmp_path / "b") == "x: it was taken"

    def fail(path: Path) -> None:
        raise KeyError("y")

    assert attack(Attack("x", made.make, fail), tmp_path / "c") == "x: KeyError: 'y'"

    def refuse(path: Path) -> None:
        raise InputError("z")

    assert attack(Attack("x", made.make, refuse), tmp_path / "d") is None
