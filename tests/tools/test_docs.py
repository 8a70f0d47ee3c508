"""The command `docs`: a site of the guides and of the public interface, in which every link leads somewhere."""

import json
import os
import re
import shutil
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import FunctionType
from urllib.parse import unquote, urlsplit

import pytest

from tests.tools.detect_tools import ROOT

pytestmark = pytest.mark.slow
PUBLIC = (
    "detector",
    "detector.data",
    "detector.data.formats",
    "detector.evaluation",
    "detector.evaluation.errors",
    "detector.explorer",
    "detector.training.custom_dataset",
    "proposals",
)
"""Packages whose `__all__` is the public interface."""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the site is made of."""
    pytest.importorskip("mkdocs")
    copy = tmp_path_factory.mktemp("checkout")
    left_out = shutil.ignore_patterns("*.safetensors", "__pycache__")
    for name in (".github", "configs", "detector", "proposals", "tests", "tools"):
        shutil.copytree(ROOT / name, copy / name, ignore=left_out)
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, copy)
    return copy


def write_site(checkout: Path, out: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, checkout / "tools/docs.py", "--out", out]
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    return subprocess.run(command, env=environment, cwd=checkout, capture_output=True, text=True)


@pytest.fixture(scope="module")
def site(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    (out / "notes.txt").touch()
    done = write_site(checkout, out)
    assert done.returncode == 0, done.stderr
    return out


def test_pages_of_the_guides_and_of_everything_public(site: Path):
    assert (site / "notes.txt").is_file(), "other files of the folder stay"
    for page in ("index", "CONTRIBUTING", "detector/index", "detector/GUIDE", "configs/index"):
        assert (site / f"{page}.html").is_file()
    inventory = zlib.decompress((site / "objects.inv").read_bytes().split(b"\n", 4)[4]).decode()
    shown = {line.split()[0] for line in inventory.splitlines()}
    public = {full_name(package, name) for package in PUBLIC for name in import_module(package).__all__}
    assert public - shown - {"detector.__version__"} == set()
    assert {"detector.Detections.to_supervision", "proposals.SelectiveSearch.with_masks"} <= shown


def full_name(package: str, name: str) -> str:
    """Of a function or class where it is defined; constants do not know it."""
    thing = getattr(import_module(package), name)
    return f"{thing.__module__}.{name}" if isinstance(thing, type | FunctionType) else f"{package}.{name}"


def test_it_is_viewed_without_a_network(site: Path):
    """Nothing is loaded from another address, and each file that a page loads or links is there."""
    loaded = re.compile(r'<(?:script|link|img|source|iframe)\b[^>]*?\b(?:src|href)="?([^">]+)')
    linked = re.compile(r'<a\b[^>]*?\bhref="?([^">\s]+)')
    for page in site.rglob("*.html"):
        if page.name == "404.html":  # for servers: its addresses start at the root
            continue
        text = page.read_text(encoding="utf-8")
        assert [url for url in loaded.findall(text) if urlsplit(url).netloc] == [], page
        for url in loaded.findall(text) + linked.findall(text):
            scheme, host, path, _, _ = urlsplit(url)
            assert scheme or host or not path or (page.parent / unquote(path)).is_file(), (page, url)
    index = json.loads((site / "search/search_index.json").read_text(encoding="utf-8"))
    assert any("load_detector" in entry["location"] for entry in index["docs"])


def test_a_link_that_leads_nowhere_is_named_and_nothing_is_written(checkout: Path, tmp_path: Path):
    links = "[a](../detector/GIUDE.md) [b](../detector/GUIDE.md#none) [c](none.yaml) ![d](none.png) [e](best.yaml)"
    with changed(checkout / "configs/README.md", "\n", f"\n{links}\n"), changed(checkout / "detector/NEW.md"):
        done = write_site(checkout, tmp_path / "site")
    assert (done.returncode, done.stdout) == (2, "")
    *warnings, error = done.stderr.splitlines()
    assert error.startswith("error: ")
    for fault in ("GIUDE.md", "GUIDE.md#none", "none.yaml", "none.png", "NEW.md"):
        assert any(fault in line for line in warnings), fault
    assert "best.yaml" not in done.stderr
    assert list((tmp_path / "site").iterdir()) == []


def test_a_file_without_a_page_is_linked_where_the_repository_is_published(checkout: Path, tmp_path: Path):
    address = "https://example.org/a/b"
    links = "[a](best.yaml) [b](../detector) [c](../proposals/types.py#L1)"
    settings, readme = checkout / "tools/website/mkdocs.yml", checkout / "configs/README.md"
    with changed(settings, 'repo_url: ""', f"repo_url: {address}"), changed(readme, "\n", f"\n{links}\n"):
        done = write_site(checkout, tmp_path)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "configs/index.html").read_text(encoding="utf-8")
    for target in (
        f"{address}/blob/HEAD/configs/best.yaml",
        "../detector/index.html",
        f"{address}/blob/HEAD/proposals/types.py#L1",
    ):
        assert f'href="{target}"' in text, target


@contextmanager
def changed(path: Path, old: str = "", new: str = "") -> Iterator[None]:
    """Replaces the first `old` of a file for a while, which is then as before."""
    before = path.read_text(encoding="utf-8") if path.exists() else None
    path.write_text((before or "").replace(old, new, 1), encoding="utf-8")
    yield
    if before is None:
        path.unlink()
    else:
        path.write_text(before, encoding="utf-8")
