"""The command `docs`: pages of the public modules, with the names that are imported at first use."""

import sys
from pathlib import Path

import pytest

from tests.tools.detect_tools import command


@pytest.mark.slow
def test_pages(tmp_path: Path):
    pytest.importorskip("pdoc")
    assert command("docs", "--out", str(tmp_path)) == 0
    assert (tmp_path / "index.html").is_file()
    assert "load_detector" in (tmp_path / "detector.html").read_text()
    assert "to_supervision" in (tmp_path / "detector/structures/detections.html").read_text()
    assert (tmp_path / "proposals/selective_search.html").is_file()
    assert not (tmp_path / "detector/cli").exists()


def test_without_pdoc(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pdoc", None)
    assert command("docs", "--out", str(tmp_path)) == 2
    assert "'docs'" in capsys.readouterr().err
