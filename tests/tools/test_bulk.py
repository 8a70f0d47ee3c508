"""The command `bulk`, before its run, of which tests/detector/bulk has the tests."""

import sys
from types import ModuleType

import pytest

from detector.cli import main


@pytest.mark.parametrize(
    ("options", "facts"),
    [
        (("--score", "2"), ("--score 2", "0..1")),
        (("--device", "abacus"), ("--device abacus", "auto, cpu, cuda or mps")),
        (("--model", "none.safetensors"), ("none.safetensors: no such model file",)),
        (("--classes", "lion"), ("'lion'",)),
    ],
)
def test_unusable_options_are_refused_before_anything_starts(photos, tmp_path, monkeypatch, capsys, options, facts):
    ray = ModuleType("ray")  # one that cannot be started
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setitem(sys.modules, "ray.data", ModuleType("ray.data"))
    monkeypatch.setattr(ray, "data", sys.modules["ray.data"], raising=False)
    with pytest.raises(SystemExit) as caught:
        main(["bulk", str(photos), "--out", str(tmp_path / "out"), *options])
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert all(fact in line for fact in facts)
    assert not (tmp_path / "out").exists()


def test_without_ray_it_says_what_to_install(photos, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SystemExit) as caught:
        main(["bulk", str(photos), "--out", str(tmp_path / "out")])
    assert caught.value.code == 2
    assert "detector bulk needs the extra 'ray': pip install" in capsys.readouterr().err
