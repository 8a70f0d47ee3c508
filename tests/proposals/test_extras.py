"""The messages about missing extras name extras of pyproject.toml."""

import re
import tomllib
from pathlib import Path

import pytest

from proposals.extras import needs_extra

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("present", ["pyproject.toml", "detector", None])
def test_command_names_the_checkout_or_the_package(
    present: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("proposals.extras.__file__", str(tmp_path / "proposals" / "extras.py"))
    if present == "pyproject.toml":
        (tmp_path / present).touch()
    elif present == "detector":
        (tmp_path / present).mkdir()
    source = {
        "pyproject.toml": f'-e "{tmp_path}[train]"',
        "detector": '"inception-rcnn[train]"',
        None: '"inception-rcnn-proposals[train]"',
    }[present]
    assert needs_extra("training", "train") == f"training needs the extra 'train': pip install {source}"


def test_every_named_extra_exists() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    sources = [path.read_text() for folder in ("detector", "proposals") for path in (ROOT / folder).rglob("*.py")]
    used = {name for text in sources for name in re.findall(r'needs_extra\("[^"]+", "(\w+)"\)', text)}
    used |= {name for text in sources for name in re.findall(r'_import\("[\w.]+", "\w+", "(\w+)"\)', text)}
    assert {"train", "onnx", "explore", "ray", "docs", "report", "pandas"} <= used
    assert used <= set(project["optional-dependencies"])
    folders = (".github", "configs", "detector", "proposals", "tests", "tools")
    guides = [ROOT / "README.md", *(path for folder in folders for path in (ROOT / folder).rglob("*.md"))]
    texts = [path.read_text(encoding="utf-8") for path in guides]
    commands = [command for text in texts for command in re.findall(r"-e \"\.\[([\w,]+)\]", text)]
    named = {name for command in commands for name in command.split(",")}
    assert {"dev", "explore", "pandas"} <= named
    assert named <= set(project["optional-dependencies"])
