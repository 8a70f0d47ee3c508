"""The pages of the interface: names that are imported at first use are on them too."""

import sys
from pathlib import Path

import pytest

import proposals
from detector.cli.documentation import module_names, write_pages
from detector.errors import InputError


def test_every_public_module_has_a_page():
    names = module_names()
    assert {
        "detector",
        "detector.inference.detector",
        "detector.data.formats.coco",
        "proposals.selective_search",
    } <= set(names)
    assert not [name for name in names if name.startswith("detector.cli")]


def test_pages(tmp_path):
    pytest.importorskip("pdoc")
    first = write_pages(tmp_path / "site", ["detector", "detector.structures.detections"])
    assert first == tmp_path / "site" / "index.html"
    pages = sorted(str(path.relative_to(tmp_path / "site")) for path in Path(tmp_path).rglob("*.html"))
    assert pages == ["detector.html", "detector/detections.html", "index.html"]
    assert "load_detector" in (tmp_path / "site/detector.html").read_text()
    assert not {"warm_up", "SelectiveSearch"} & set(vars(proposals)), "all is left as it was"
    assert "to_supervision" in (tmp_path / "site/detector/detections.html").read_text()


def test_without_pdoc(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pdoc", None)
    with pytest.raises(InputError, match="writing the pages needs the extra 'docs'"):
        write_pages(tmp_path)
