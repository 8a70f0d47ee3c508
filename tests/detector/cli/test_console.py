import pytest

from detector.cli import console
from detector.io import progress


@pytest.mark.parametrize(("total", "said"), [(3, "done: 2 of 3 frames, 0 min left"), (None, "done: 2 frames")])
def test_without_a_terminal_progress_is_told_in_lines(total, said, monkeypatch, capsys):
    monkeypatch.setattr(progress, "PAUSE", 0.0)
    assert list(console.Console().progress(iter("abc"), "frame", total)) == ["a", "b", "c"]
    assert said in capsys.readouterr().err.splitlines()
    assert list(console.Console(quiet=True).progress(iter("abc"), "frame", total)) == ["a", "b", "c"]
    assert capsys.readouterr().err == ""
