"""The command `propose --report`: how well boxes cover a data set."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image as PillowImage

ROOT = Path(__file__).parents[2]


@pytest.fixture
def root(make_voc: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drawn) -> Path:
    """Three images of 100x80 pixels; the objects are the two squares of the drawing."""
    monkeypatch.chdir(tmp_path)
    objects = [("cat", (6, 7, 35, 36), 0), ("dog", (51, 7, 80, 36), 0)]
    root = make_voc({"1": objects, "2": objects[:1], "3": []})
    for number in range(1, 4):
        drawn((100, 80)).save(root / f"JPEGImages/{number}.jpg", quality=95)
    return root


@pytest.fixture
def report(propose: Callable[..., int]) -> Callable[..., int]:
    def run(root: Path, *arguments: object) -> int:
        return propose("--report", "--dataset", "voc", "--root", root, "--split", "val", *arguments)

    return run


def test_report(root, capsys, report, files):
    assert report(root, "--json", "report.json", "--out", "plots") == 0
    captured = capsys.readouterr()
    content = json.loads(Path("report.json").read_text())
    assert content["method"] == "selective_search single"
    assert (content["split"], content["images"], content["objects"]) == ("val", 3, 3)
    assert content["recall50"] == content["by_class"]["cat"]["recall50"] == 1
    assert content["seconds_per_image"] > 0
    for words in ("recall50 1", "average_recall", "mabo", "seconds_per_image", "cat", "dog", "3 images of val"):
        assert words in captured.out
    if "no plot" not in captured.err:
        assert "recall against the number of boxes -> plots/recall.png" in captured.out
        assert files(Path("plots")) == ["recall.png"]
        with PillowImage.open("plots/recall.png") as picture:
            assert picture.format == "PNG"


def test_report_takes_limits(root, monkeypatch, report):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert report(root, "--json", "report.json", "--limit", 2, "--max", 1) == 0
    content = json.loads(Path("report.json").read_text())
    assert (content["images"], content["boxes"]) == (2, 1)


def test_without_matplotlib_there_are_the_figures(root, capsys, monkeypatch, report):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert report(root, "--json", "report.json") == 0
    captured = capsys.readouterr()
    assert "no plot: the plot needs the extra 'report': pip install" in captured.err
    assert "recall50 1" in captured.out
    assert json.loads(Path("report.json").read_text())["recall50"] == 1


def test_report_with_a_failed_image(root, capsys, monkeypatch, report):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    (root / "JPEGImages/2.jpg").write_text("not a photo")
    assert report(root, "--json", "report.json") == 2
    captured = capsys.readouterr()
    assert "error: 1 of 3 images failed, first 2: " in captured.err
    content = json.loads(Path("report.json").read_text())
    assert list(content["failed"]) == ["2"]
    assert content["recall50"] == pytest.approx(2 / 3, abs=1e-5)
    assert "their objects count as not covered" in captured.out


def test_report_on_what_has_no_objects(make_voc, tmp_path, monkeypatch, capsys, report):
    monkeypatch.chdir(tmp_path)
    assert report(make_voc({"1": []}), "--json", "report.json") == 2
    assert "split 'val'" in capsys.readouterr().err.splitlines()[-1]
    assert not Path("report.json").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("--dataset", "voc", "--split", "val"),
        ("--dataset", "voc", "--root", "VOC"),
        ("--root", "VOC", "--split", "val"),
        ("--dataset", "voc", "--root", "VOC", "--split", "val", "VOC/JPEGImages"),
    ],
)
def test_report_says_what_it_needs(root, arguments, capsys, files, propose):
    before = files(root.parent)
    assert propose("--report", *arguments) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith("error: --report needs ")
    assert files(root.parent) == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [(("--root", "nowhere"), "nowhere"), (("--split", "test"), "test"), (("--out", "VOC/x"), "")],
)
def test_report_on_a_data_set_that_is_not_there(root, changes, message, capsys, report, files):
    (root / "x").write_text("in the way")
    before = files(root.parent)
    assert report(root, *changes) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith("error: ")
    assert message in error
    assert files(root.parent) == before


def test_torch_is_never_imported(root, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    program = (
        "import sys; from detector.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "finally: print({'torch', 'torchvision'} & set(sys.modules), 'proposals.selective_search' in sys.modules)\n"
    )
    options = ["--report", "--dataset", "voc", "--root", "VOC", "--split", "val", "--json", "found.json"]
    arguments = [sys.executable, "-c", program, "propose", *options, "--preset", "single"]
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert Path("found.json").exists()
    assert done.stdout.splitlines()[-1] == "set() True"
