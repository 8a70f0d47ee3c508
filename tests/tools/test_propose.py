"""The command `propose`, from its arguments to its files and exit code."""

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from proposals import Proposals, SelectiveSearch, SelectiveSearchConfig
from proposals.drawing import draw_levels, draw_proposals

ROOT = Path(__file__).parents[2]
SEARCH = SelectiveSearch(SelectiveSearchConfig.preset("single"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drawn) -> Path:
    """The working directory, with a/x.png (120x60), b/7.png (90x50) and b/12.png (92x50)."""
    monkeypatch.chdir(tmp_path)
    for name, size in (("a/x.png", (120, 60)), ("b/7.png", (90, 50)), ("b/12.png", (92, 50))):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        drawn(size).save(tmp_path / name)
    return tmp_path


def pixels_of(path: str | Path) -> np.ndarray:
    with PillowImage.open(path) as photo:
        return np.asarray(photo.convert("RGB"))


def test_lines_pictures_and_exit_code(folder, capsys, propose, files):
    assert propose("a/x.png", "b/7.png") == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    counts = [len(SEARCH(pixels_of(name))) for name in ("a/x.png", "b/7.png")]
    assert min(counts) > 3
    lines = [line for line in captured.out.splitlines() if "compiling" not in line]
    assert [re.sub(r"\d+\.\d\d s", "TIME", line) for line in lines] == [
        f"a/x.png: {counts[0]} boxes, TIME -> runs/propose/x.png",
        f"b/7.png: {counts[1]} boxes, TIME -> runs/propose/7.png",
    ]
    assert files(folder / "runs") == ["propose/7.png", "propose/x.png"]
    for name in ("a/x.png", "b/7.png"):
        expected = draw_proposals(pixels_of(name), SEARCH(pixels_of(name)))
        np.testing.assert_array_equal(pixels_of(f"runs/propose/{Path(name).name}"), expected)


def test_draw_takes_the_first_boxes(folder, propose):
    assert propose("a/x.png", "--draw-boxes", 2, "--out", "drawn", "--json", "found.json") == 0
    expected = draw_proposals(pixels_of("a/x.png"), SEARCH(pixels_of("a/x.png")).top(2))
    np.testing.assert_array_equal(pixels_of("drawn/x.png"), expected)
    (entry,) = json.loads(Path("found.json").read_text())
    assert len(entry["boxes"]) > 2, "only the picture has fewer"


def test_without_pictures_there_is_no_folder(folder, capsys, propose, files):
    before = files(folder)
    assert propose("a/x.png", "--no-draw") == 0
    assert "->" not in capsys.readouterr().out
    assert files(folder) == before
    assert not Path("runs").exists()


def test_levels_are_a_second_picture(folder, propose, files):
    assert propose("a/x.png", "b/7.png", "--levels") == 0
    assert files(folder / "runs") == [f"propose/{name}.png" for name in ("7", "levels/7", "levels/x", "x")]
    pixels = pixels_of("a/x.png")
    expected = draw_levels(pixels, SEARCH.hierarchies(pixels)[0])
    np.testing.assert_array_equal(pixels_of("runs/propose/levels/x.png"), expected)


def test_levels_do_not_take_the_name_of_another_photo(folder, propose, drawn, files):
    drawn((90, 50)).save("a/x-levels.png")
    assert propose("a/x.png", "a/x-levels.png", "--levels") == 0
    assert len(files(folder / "runs")) == 4


def test_json(folder, propose, files):
    assert propose("b", "a/x.png", "--json", "results/found.json", "--no-draw") == 0
    entries = json.loads(Path("results/found.json").read_text())
    assert [entry["image"] for entry in entries] == ["b/7.png", "b/12.png", "a/x.png"]
    for entry in entries:
        expected = SEARCH(pixels_of(entry["image"]))
        assert set(entry) == {"image", "width", "height", "boxes", "scores", "sources", "source_names"}
        assert (entry["width"], entry["height"]) == expected.image_size
        assert entry["boxes"] == expected.boxes.tolist()
        np.testing.assert_allclose(entry["scores"], expected.scores, atol=1e-6)
        assert entry["source_names"] == ["selective_search/HSV/CTSF/100"]
    assert files(folder / "results") == ["found.json"]


def test_boxes_are_in_pixels_of_the_upright_photo(folder, propose, drawn):
    exif = PillowImage.Exif()
    exif[0x0112] = 6
    drawn((120, 60)).save("turned.png", exif=exif)
    assert propose("turned.png", "--json", "found.json") == 0
    (entry,) = json.loads(Path("found.json").read_text())
    assert (entry["width"], entry["height"]) == (60, 120)
    assert pixels_of("runs/propose/turned.png").shape == (120, 60, 3)


@pytest.mark.parametrize("ending", [".npz", ".jsonl", ".json"])
def test_export(folder, ending, propose, files):
    path = folder / "exported" / f"boxes{ending}"
    assert propose("b", "--export", path, "--no-draw") == 0
    assert files(path.parent) == [path.name]
    expected = {name: SEARCH(pixels_of(name)) for name in ("b/7.png", "b/12.png")}
    boxes = np.concatenate([found.boxes for found in expected.values()])
    if ending == ".npz":
        with np.load(path, allow_pickle=False) as content:
            assert content["names"].tolist() == list(expected)
            np.testing.assert_array_equal(content["boxes"], boxes)
            assert content["starts"].tolist() == [0, len(expected["b/7.png"]), len(boxes)]
    elif ending == ".jsonl":
        entries = [json.loads(line) for line in path.read_text().splitlines()]
        assert {entry["image"]: entry["boxes"] for entry in entries} == {
            name: found.boxes.tolist() for name, found in expected.items()
        }
    else:
        entries = json.loads(path.read_text())
        assert {entry["image_id"] for entry in entries} == {7, 12}
        bbox = np.array([entry["bbox"] for entry in entries])
        bbox[:, 2:] += bbox[:, :2]
        np.testing.assert_array_equal(bbox, boxes)


def test_export_and_json_in_one_run(folder, propose):
    assert propose("b", "--export", "boxes.jsonl", "--json", "found.json") == 0
    exported = [json.loads(line) for line in Path("boxes.jsonl").read_text().splitlines()]
    assert json.loads(Path("found.json").read_text()) == exported
    assert len(exported) == 2


def test_max_takes_the_best_boxes(folder, capsys, propose):
    assert propose("b", "--max", 2, "--export", "boxes.jsonl", "--json", "found.json") == 0
    for entry in json.loads(Path("found.json").read_text()):
        assert entry["boxes"] == SEARCH(pixels_of(entry["image"])).boxes[:2].tolist()
    assert all(len(json.loads(line)["boxes"]) == 2 for line in Path("boxes.jsonl").read_text().splitlines())
    assert "b/7.png: 2 boxes," in capsys.readouterr().out


def test_preset_seed_and_limit_are_passed_on(folder, propose):
    assert propose("b", "--json", "found.json", "--seed", 5, "--limit", 1, preset="fast") == 0
    (entry,) = json.loads(Path("found.json").read_text())
    expected = SelectiveSearch(SelectiveSearchConfig(seed=5))(pixels_of("b/7.png"))
    assert (entry["image"], entry["boxes"]) == ("b/7.png", expected.boxes.tolist())
    assert len(entry["source_names"]) == 8


@pytest.mark.parametrize("workers", [1, 3])
def test_any_number_of_workers_gives_the_same(folder, workers, propose):
    assert propose("b", "a", "--no-draw", "--json", "found.json", "--workers", workers) == 0
    entries = json.loads(Path("found.json").read_text())
    assert [entry["image"] for entry in entries] == ["b/7.png", "b/12.png", "a/x.png"]
    assert [entry["boxes"] for entry in entries] == [
        SEARCH(pixels_of(entry["image"])).boxes.tolist() for entry in entries
    ]


def test_with_a_cache_nothing_is_computed_twice(folder, monkeypatch, propose, files):
    arguments = ("b", "--cache", "kept", "--json")
    assert propose(*arguments, "first.json") == 0
    assert [Path(name).suffix for name in files(folder / "kept")] == [".npz", ".npz"]

    def never(search: SelectiveSearch, image: np.ndarray) -> Proposals:
        raise AssertionError("boxes were computed again")

    monkeypatch.setattr("proposals.selective_search.warm_up", lambda announce: None)
    monkeypatch.setattr(SelectiveSearch, "__call__", never)
    assert propose(*arguments, "second.json", "--out", "drawn") == 0
    assert Path("second.json").read_bytes() == Path("first.json").read_bytes()
    assert files(folder / "drawn") == ["12.png", "7.png"], "pictures are drawn all the same"


def test_failures_do_not_stop_the_others(folder, capsys, propose, files):
    Path("cut.png").write_bytes(Path("a/x.png").read_bytes()[:150])
    Path("notes.jpg").write_text("not a photo")
    Path("nothing").mkdir()
    arguments = ("a/x.png", "cut.png", "missing.jpg", "notes.jpg", "nothing", "b/7.png")
    assert propose(*arguments, "--json", "found.json", "--export", "boxes.npz") == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 4
    for start in (
        "error: missing.jpg: no such file",
        "error: nothing: the folder has no photos",
        "error: cut.png: ",
        "error: notes.jpg: ",
    ):
        assert sum(error.startswith(start) for error in errors) == 1
    assert [entry["image"] for entry in json.loads(Path("found.json").read_text())] == ["a/x.png", "b/7.png"]
    with np.load("boxes.npz") as content:
        assert content["names"].tolist() == ["a/x.png", "b/7.png"]
    assert files(folder / "runs") == ["propose/7.png", "propose/x.png"]


def test_a_picture_that_cannot_be_written(folder, capsys, propose, files):
    """The disk refuses one picture: that photo counts as failed, its boxes are kept."""
    Path("runs/propose/x.png").mkdir(parents=True)
    assert propose("a/x.png", "b/7.png", "--json", "found.json") == 2
    assert capsys.readouterr().err == "error: runs/propose/x.png: cannot be written (Is a directory)\n"
    assert len(json.loads(Path("found.json").read_text())) == 2
    assert files(folder / "runs") == ["propose/7.png"]


def test_standard_input_is_not_read(folder, capsys, propose, files):
    before = files(folder)
    assert propose("-") == 2
    assert capsys.readouterr().err == "error: -: standard input is not read here; give a file\n"
    assert files(folder) == before
    assert propose("-", "a/x.png") == 2
    assert files(folder / "runs") == ["propose/x.png"], "the others are done"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--method", "edges"), "error: method 'edges' is unknown; known are selective_search, multibox, both"),
        (("--method", "both", "--levels"), "error: --levels: method both has no hierarchy"),
        (("--preset", "best"), "error: preset 'best' is unknown; known are single, fast, quality"),
        (("--export", "boxes.txt"), "error: boxes.txt: the file name must end in .npz, .jsonl, .json"),
        (("--export", "boxes"), "error: boxes: the file name must end in"),
        (("--export", "a"), "error: --export a: is a folder"),
        (("--json", "a"), "error: --json a: is a folder"),
        (("--json", "-"), "error: --json -: standard output is for the printed results"),
        (("--json", "a/x.png"), "error: --json a/x.png: "),
        (("--export", "b/new.jpg"), "error: --export b/new.jpg: "),
        (("--json", "a/x.png/f.json"), "error: --json a/x.png/f.json: a/x.png is not a folder"),
        (("--out", "a"), "error: --out a: holds the photo a/x.png itself; give another folder"),
        (("--out", "b/7.png"), "error: --out b/7.png: b/7.png is not a folder"),
        (("--cache", "b/7.png"), "error: b/7.png"),
        (("--report",), "error: --report needs --dataset voc"),
        (("--dataset", "voc"), "error: give photos or folders; or --dataset voc"),
    ],
)
def test_wrong_options_are_one_line_and_nothing_is_written(arguments, message, folder, capsys, propose, files):
    before = {name: Path(name).read_bytes() for name in files(folder)}
    assert propose("a/x.png", *arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(message)
    assert len(captured.err.splitlines()) == 1
    assert "boxes," not in captured.out
    assert {name: Path(name).read_bytes() for name in files(folder)} == before


def test_no_source_at_all(folder, capsys, propose):
    assert propose() == 2
    assert capsys.readouterr().err.startswith("error: give photos or folders")


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        (("b/7.png", "a/x.png"), "error: a/x.png: the COCO format needs files named by number"),
        (("b/7.png", "007.png"), "error: 007.png: has the same number as b/7.png"),
    ],
)
def test_names_that_coco_does_not_allow(sources, message, folder, capsys, propose, drawn, files):
    drawn((90, 50)).save("007.png")
    before = files(folder)
    Path("boxes.json").write_text("earlier")
    assert propose(*sources, "--export", "boxes.json", "--json", "found.json", "--no-draw") == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(message)
    assert len(captured.err.splitlines()) == 1
    assert Path("boxes.json").read_text() == "earlier"
    assert files(folder) == sorted([*before, "boxes.json"])


def test_interrupted(folder, capsys, monkeypatch, propose, files):
    """Nothing is exported, but the cache has what is done."""
    from detector.evaluation.prediction import proposals as coverage

    read = coverage.read_pixels
    interrupted = Path("b/12.png").read_bytes()

    def interrupt(content: bytes) -> np.ndarray:
        if content == interrupted:
            raise KeyboardInterrupt
        return read(content)

    arguments = ("b", "--cache", "kept", "--export", "boxes.npz", "--json", "found.json", "--workers", 1)
    with monkeypatch.context() as patch:
        patch.setattr(coverage, "read_pixels", interrupt)
        assert propose(*arguments) == 130
    assert "interrupted: no result was written" in capsys.readouterr().err
    assert len(files(folder / "kept")) == 1
    assert files(folder / "runs") in ([], ["propose/7.png"])
    assert not Path("boxes.npz").exists()
    assert not Path("found.json").exists()
    assert propose(*arguments) == 0
    assert len(files(folder / "kept")) == 2


def test_an_interrupt_signal(folder, files):
    program = f"""
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent in the background may have it ignored
sys.path.insert(0, {str(ROOT)!r})
from detector.cli import main
from detector.cli.console import Console
def result(console, line):
    if "b/12.png" in line:
        signal.raise_signal(signal.SIGINT)
Console.result = result
main(["propose", "b", "a", "--preset", "single", "--export", "boxes.npz"])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 130
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("interrupted: ")
    assert not [name for name in files(folder) if "npz" in name], "no file, whole or temporary"


# What follows runs in a process of its own, as a user would start it.


@pytest.fixture(params=["installed command", "tools/propose.py"])
def command(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    if request.param == "tools/propose.py":
        return [sys.executable, "-X", "importtime", str(ROOT / "tools" / "propose.py")]
    return [sys.executable, "-X", "importtime", "-c", "from detector.cli import main; main()", "propose"]


def imported(errors: str) -> set[str]:
    """The modules of Python's own list of imports."""
    return {line.split("|")[-1].strip() for line in errors.splitlines() if line.startswith("import time:")}


def test_help_names_defaults_and_an_example(command, tmp_path):
    done = subprocess.run([*command, "--help"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0
    for words in ("SOURCE", "--method", "selective_search", "--preset", "fast", "runs/propose", "--report", "Example"):
        assert words in done.stdout
    assert "detector.cli.console" in imported(done.stderr)
    assert not imported(done.stderr) & {"torch", "torchvision", "numba"}


def test_torch_is_never_imported(folder):
    tool = [sys.executable, "-X", "importtime", str(ROOT / "tools" / "propose.py")]
    arguments = ["a/x.png", "--levels", "--export", "boxes.npz", "--json", "found.json", "--preset", "single"]
    done = subprocess.run([*tool, *arguments], capture_output=True, text=True)
    assert done.returncode == 0
    assert Path("found.json").exists()
    assert "proposals.grouping" in imported(done.stderr)
    assert not imported(done.stderr) & {"torch", "torchvision"}


def test_a_zip_is_one_line_however_many_photos_it_has(folder, capsys, propose):
    with zipfile.ZipFile("photos.zip", "w") as archive:
        for name in ("a/x.png", "b/7.png"):
            archive.write(name)
    assert propose("photos.zip", "a/x.png") == 2
    captured = capsys.readouterr()
    assert captured.err == "error: photos.zip: a zip is not read here; unpack it\n"
    assert "a/x.png: " in captured.out
