"""The command `bulk`, before its run, of which tests/detector/bulk has the tests."""

import sys
from types import ModuleType

import pytest

from detector.cli import main


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--score", "2"), "error: --score 2: is outside 0 to 1\n"),
        (("--device", "abacus"), "error: --device abacus: is not known; give auto, cpu or cuda\n"),
        (("--model", "none.safetensors"), "error: none.safetensors: no such model file"),
        (("--classes", "lion"), "error: class 'lion' is unknown"),
    ],
)
def test_what_cannot_be_used_is_told_before_anything_starts(photos, tmp_path, monkeypatch, capsys, options, message):
    ray = ModuleType("ray")  # one that cannot be started
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setitem(sys.modules, "ray.data", ModuleType("ray.data"))
    monkeypatch.setattr(ray, "data", sys.modules["ray.data"], raising=False)
    with pytest.raises(SystemExit) as caught:
        main(["bulk", str(photos), "--out", str(tmp_path / "out"), *options])
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith(message)
    assert not (tmp_path / "out").exists()


def test_without_ray_it_says_what_to_install(photos, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SystemExit) as caught:
        main(["bulk", str(photos), "--out", str(tmp_path / "out")])
    assert caught.value.code == 2
    assert "detector bulk needs the extra 'ray': pip install" in capsys.readouterr().err
