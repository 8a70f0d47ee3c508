"""The command `train`: what is wrong is said in one line before anything starts."""

from collections.abc import Callable
from pathlib import Path

import pytest

from detector.cli import main


@pytest.fixture(autouse=True)
def leave_this_process_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detector.cli.keep_freed_memory", lambda: None)
    monkeypatch.setattr("detector.training.convolutions.keep_prepared_convolutions", lambda: None)


@pytest.fixture
def root(make_voc: Callable[..., Path]) -> Path:
    return make_voc({"a": [("cat", (10, 10, 60, 60), 0)]})


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    with pytest.raises(SystemExit) as stopped:
        main(["train", *map(str, arguments)])
    return int(stopped.value.code or 0), capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data: {train_split: val, eval_split: val}\nspeed: 3", "key 'speed' is unknown; do you mean 'seed'"),
        ("data: {train_split: none, eval_split: val}", "none"),
        ("data: {train_split: val, eval_split: val}", "give --init"),
        ("data: {train_split: val", "not a readable YAML file"),
    ],
)
def test_wrong_recipes(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str):
    recipe = tmp_path / "r.yaml"
    recipe.write_text(text)
    code, error = run(capsys, recipe, "--root", root, "--out", tmp_path / "run", "--cache", tmp_path / "cache")
    assert code == 2
    assert message in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1


def test_missing_recipe_and_wrong_weights(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    code, error = run(capsys, tmp_path / "none.yaml", "--root", root)
    assert (code, "none.yaml: no such file" in error) == (2, True)
    recipe = tmp_path / "r.yaml"
    recipe.write_text("data: {train_split: val, eval_split: val}")
    weights = tmp_path / "w.npz"
    weights.write_bytes(b"no archive")
    code, error = run(capsys, recipe, "--root", root, "--init", weights, "--out", tmp_path / "run")
    assert (code, "w.npz: not a readable .npz" in error) == (2, True)


def test_folder_that_cannot_be_written(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    recipe = tmp_path / "r.yaml"
    recipe.write_text("data: {train_split: val, eval_split: val}")
    code, error = run(capsys, recipe, "--root", root, "--out", recipe / "run")
    assert (code, "--out" in error) == (2, True)
