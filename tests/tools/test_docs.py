"""The command `docs`: pages of the public modules, with the names that are imported at first use."""

from pathlib import Path

import pytest


@pytest.mark.slow
def test_pages(tmp_path: Path, command):
    pytest.importorskip("pdoc")
    assert command("docs", "--out", tmp_path).code == 0
    assert (tmp_path / "index.html").is_file()
    assert "load_detector" in (tmp_path / "detector.html").read_text()
    assert "to_supervision" in (tmp_path / "detector/structures/detections.html").read_text()
    assert (tmp_path / "proposals/selective_search.html").is_file()
    assert not (tmp_path / "detector/cli").exists()
