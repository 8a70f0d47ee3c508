import pytest

from detector.cli import console


@pytest.mark.parametrize(("total", "said"), [(3, "2 of 3 frames are done"), (None, "2 frames are done")])
def test_without_a_terminal_progress_is_told_in_lines(total, said, monkeypatch, capsys):
    monkeypatch.setattr(console, "_PAUSE", 0.0)
    assert list(console.Console().progress(iter("abc"), "frame", total)) == ["a", "b", "c"]
    assert said in capsys.readouterr().err.splitlines()
    assert list(console.Console(quiet=True).progress(iter("abc"), "frame", total)) == ["a", "b", "c"]
    assert capsys.readouterr().err == ""
