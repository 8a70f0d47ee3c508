"""The folder `proposals` is a distribution of its own, which needs neither PyTorch nor the detector."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import proposals

ROOT = Path(__file__).parents[2]

PROGRAM = """
import importlib, importlib.metadata, importlib.util, json, pathlib, sys

import cv2

import proposals

boxes = proposals.SelectiveSearch()(cv2.imread(sys.argv[1])[:, :, ::-1].copy()).boxes
folder = pathlib.Path(proposals.__file__).parent
for path in folder.glob("*.py"):
    if path.stem not in ("__init__", "boxes", "drawing"):
        importlib.import_module("proposals." + path.stem)
print(json.dumps({
    "folder": str(folder),
    "versions": [proposals.__version__, importlib.metadata.version("inception-rcnn-proposals")],
    "installed": [name for name in ("torch", "PIL", "scipy", "detector") if importlib.util.find_spec(name)],
    "boxes": boxes.tolist(),
}))
"""


@pytest.mark.slow
def test_it_proposes_in_an_environment_without_pytorch(tmp_path: Path, photos: Path, iou):
    source = tmp_path / "proposals"
    shutil.copytree(ROOT / "proposals", source, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    install = subprocess.run([python, "-m", "pip", "install", "-q", source], capture_output=True, text=True)
    if "No matching distribution found" in install.stderr:
        pytest.skip("no package index can be reached")
    assert install.returncode == 0, install.stderr

    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [python, "-c", PROGRAM, photos / "cat.jpg"]
    done = subprocess.run(command, cwd=tmp_path / "venv", env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert Path(found["folder"]).is_relative_to(tmp_path / "venv")
    assert found["versions"] == [proposals.__version__] * 2
    assert found["installed"] == []
    assert iou(np.array([(0, 5, 451, 300)]), np.array(found["boxes"])).max() >= 0.9  # the cat


def test_it_shares_its_requirements_with_the_whole_project():
    whole, alone = (
        tomllib.loads((ROOT / path).read_text())["project"] for path in ("pyproject.toml", "proposals/pyproject.toml")
    )
    assert set(alone["dependencies"]) <= set(whole["dependencies"])
    assert alone["requires-python"] == whole["requires-python"]
    extras = whole["optional-dependencies"]
    assert extras["mat"] == alone["optional-dependencies"]["mat"]
    assert set(extras["report"]) <= set(alone["optional-dependencies"]["report"])
