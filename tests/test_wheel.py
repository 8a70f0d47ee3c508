"""The wheel: small, complete, and at work outside the checkout."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
CHECKOUT = Path(__file__).parents[1]
MOST_BYTES = 35_000_000


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    unwanted = shutil.ignore_patterns("__pycache__", "*.pyc")
    for name in ("detector", "proposals", "configs"):
        shutil.copytree(CHECKOUT / name, source / name, ignore=unwanted)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", folder, source]
    found = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if "No module named 'hatchling'" in found.stderr or "BackendUnavailable" in found.stderr:
        pytest.skip("hatchling is not installed")
    assert found.returncode == 0, found.stderr
    (made,) = folder.glob("*.whl")
    return made


def test_size_and_contents(wheel: Path):
    assert wheel.stat().st_size <= MOST_BYTES
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    inside = {
        str(path.relative_to(CHECKOUT))
        for kind in ("detector", "proposals")
        for path in (CHECKOUT / kind).rglob("*.py")
    }
    assert inside <= set(names)
    assert [name for name in names if name.endswith(".safetensors")] == ["detector/pretrained/voc07.safetensors"]
    configs = {f"detector/configs/{name}" for name in ("best.yaml", "voc07/1_rfcn.yaml", "val500.txt", "train4508.txt")}
    assert {"detector/py.typed", "proposals/py.typed", *configs} <= set(names)
    assert not [name for name in names if name.startswith(("tests/", "tools/")) or name.endswith("pyproject.toml")]


def test_it_detects_outside_the_checkout(wheel: Path, tmp_path: Path):
    site = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "-q", "--target", site, wheel]
    subprocess.run(install, check=True, capture_output=True, timeout=300)
    shutil.copy(CHECKOUT / "tests/photos/cat.jpg", tmp_path)
    program = (
        "import detector, sys; print(detector.__file__); from detector.cli import main; sys.exit(main(sys.argv[1:]))"
    )

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", program, *arguments]
        environment = {**os.environ, "PYTHONPATH": str(site)}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)

    found = run("detect", "cat.jpg", "--json", "cat.json")
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith(str(site))
    assert "cat" in found.stdout
    benchmark = run("benchmark")
    assert benchmark.returncode == 2
    assert "tools/benchmark.py" in benchmark.stderr
