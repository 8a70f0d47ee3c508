"""The command `propose`, from its arguments to its files and exit code; `--report`: how well boxes cover a data set."""

import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from proposals import Proposals, SelectiveSearch, SelectiveSearchConfig
from proposals.drawing import draw_levels, draw_proposals
from tests.detector.run_tools import files
from tests.tools.detect_tools import ROOT

SEARCH = SelectiveSearch(SelectiveSearchConfig.preset("single"))


@pytest.fixture(autouse=True)
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


def read(path: str) -> list[dict]:
    """The entries of a file of JSON or JSON lines."""
    text = Path(path).read_text()
    return [json.loads(line) for line in text.splitlines()] if path.endswith("l") else json.loads(text)


def test_lines_pictures_and_exit_code(propose):
    code, out, err = propose("a/x.png", "b/7.png")
    assert (code, err) == (0, "")
    counts = [len(SEARCH(pixels_of(name))) for name in ("a/x.png", "b/7.png")]
    assert min(counts) > 3
    assert [re.sub(r"\d+\.\d\d s", "TIME", line) for line in out.splitlines()] == [
        f"a/x.png: {counts[0]} boxes, TIME -> runs/propose/x.png",
        f"b/7.png: {counts[1]} boxes, TIME -> runs/propose/7.png",
    ]
    assert files("runs") == ["propose/7.png", "propose/x.png"]
    for name in ("a/x.png", "b/7.png"):
        expected = draw_proposals(pixels_of(name), SEARCH(pixels_of(name)))
        np.testing.assert_array_equal(pixels_of(f"runs/propose/{Path(name).name}"), expected)


def test_a_picture_of_the_first_boxes(propose):
    assert propose("a/x.png", "--draw-boxes", 2, "--out", "drawn", "--json", "found.json").code == 0
    expected = draw_proposals(pixels_of("a/x.png"), SEARCH(pixels_of("a/x.png")).top(2))
    np.testing.assert_array_equal(pixels_of("drawn/x.png"), expected)
    assert len(read("found.json")[0]["boxes"]) > 2, "only the picture has fewer"


def test_levels_are_a_second_picture_in_a_folder_of_their_own(propose, drawn):
    drawn((90, 50)).save("a/x-levels.png")
    assert propose("a/x.png", "a/x-levels.png", "--levels").code == 0
    assert files("runs") == [f"propose/{name}.png" for name in ("levels/x-levels", "levels/x", "x-levels", "x")]
    pixels = pixels_of("a/x.png")
    expected = draw_levels(pixels, SEARCH.hierarchies(pixels)[0])
    np.testing.assert_array_equal(pixels_of("runs/propose/levels/x.png"), expected)


@pytest.mark.parametrize("workers", [1, 3])
def test_json(propose, workers: int):
    code, out, _ = propose("b", "a/x.png", "--json", "results/found.json", "--no-draw", "--workers", workers)
    assert (code, "->" in out, Path("runs").exists()) == (0, False, False)
    entries = read("results/found.json")
    assert [entry["image"] for entry in entries] == ["b/7.png", "b/12.png", "a/x.png"]
    for entry in entries:
        expected = SEARCH(pixels_of(entry["image"]))
        names = {"image", "width", "height", "boxes", "scores", "sources", "source_names", "fingerprint"}
        assert set(entry) == names
        assert entry["fingerprint"] == SEARCH.fingerprint
        assert (entry["width"], entry["height"]) == expected.image_size
        assert entry["boxes"] == expected.boxes.tolist()
        np.testing.assert_allclose(entry["scores"], expected.scores, atol=1e-6)
        assert entry["source_names"] == ["selective_search/HSV/CTSF/100"]
    assert files("results") == ["found.json"]


def test_boxes_are_in_pixels_of_the_upright_photo(propose, drawn):
    exif = PillowImage.Exif()
    exif[0x0112] = 6
    drawn((120, 60)).save("turned.png", exif=exif)
    assert propose("turned.png", "--json", "found.json").code == 0
    (entry,) = read("found.json")
    assert (entry["width"], entry["height"]) == (60, 120)
    assert pixels_of("runs/propose/turned.png").shape == (120, 60, 3)


@pytest.mark.parametrize("ending", [".npz", ".jsonl", ".json"])
def test_export(propose, ending: str):
    path = f"exported/boxes{ending}"
    assert propose("b", "--export", path, "--json", "found.json", "--no-draw").code == 0
    assert files("exported") == [f"boxes{ending}"]
    expected = {name: SEARCH(pixels_of(name)) for name in ("b/7.png", "b/12.png")}
    boxes = np.concatenate([found.boxes for found in expected.values()])
    if ending == ".npz":
        with np.load(path, allow_pickle=False) as content:
            assert content["names"].tolist() == list(expected)
            np.testing.assert_array_equal(content["boxes"], boxes)
            assert content["starts"].tolist() == [0, len(expected["b/7.png"]), len(boxes)]
    elif ending == ".jsonl":
        assert read(path) == read("found.json")
    else:
        entries = read(path)
        assert {entry["image_id"] for entry in entries} == {7, 12}
        bbox = np.array([entry["bbox"] for entry in entries])
        bbox[:, 2:] += bbox[:, :2]
        np.testing.assert_array_equal(bbox, boxes)


def test_max_takes_the_best_boxes(propose):
    ended = propose("b", "--max", 2, "--export", "boxes.jsonl", "--json", "found.json")
    assert ended.code == 0
    for entry in read("found.json"):
        assert entry["boxes"] == SEARCH(pixels_of(entry["image"])).boxes[:2].tolist()
    assert all(len(entry["boxes"]) == 2 for entry in read("boxes.jsonl"))
    assert "b/7.png: 2 boxes," in ended.out


def test_preset_seed_and_limit_are_passed_on(propose):
    assert propose("b", "--json", "found.json", "--seed", 5, "--limit", 1, preset="fast").code == 0
    (entry,) = read("found.json")
    expected = SelectiveSearch(SelectiveSearchConfig(seed=5))(pixels_of("b/7.png"))
    assert (entry["image"], entry["boxes"]) == ("b/7.png", expected.boxes.tolist())
    assert len(entry["source_names"]) == 8


def test_with_a_cache_nothing_is_computed_twice(monkeypatch, propose):
    arguments = ("b", "--cache", "kept", "--json")
    assert propose(*arguments, "first.json").code == 0
    assert [Path(name).suffix for name in files("kept")] == [".npz", ".npz"]

    def never(search: SelectiveSearch, image: np.ndarray) -> Proposals:
        raise AssertionError("boxes were computed again")

    monkeypatch.setattr("proposals.selective_search.warm_up", lambda announce: None)
    monkeypatch.setattr(SelectiveSearch, "__call__", never)
    assert propose(*arguments, "second.json", "--out", "drawn").code == 0
    assert Path("second.json").read_bytes() == Path("first.json").read_bytes()
    assert files("drawn") == ["12.png", "7.png"], "pictures are drawn all the same"


def test_failures_do_not_stop_the_others(propose):
    Path("cut.png").write_bytes(Path("a/x.png").read_bytes()[:150])
    Path("notes.jpg").write_text("not a photo")
    Path("nothing").mkdir()
    with zipfile.ZipFile("photos.zip", "w") as archive:
        for name in ("a/x.png", "b/7.png"):
            archive.write(name)
    arguments = ("a/x.png", "cut.png", "missing.jpg", "notes.jpg", "nothing", "photos.zip", "-", "b/7.png")
    code, _, err = propose(*arguments, "--json", "found.json", "--export", "boxes.npz")
    assert code == 2
    assert sorted(line.removeprefix("error: ")[:24] for line in err.splitlines()) == [
        "-: only files are read h",
        "cut.png: damaged or cut ",
        "missing.jpg: no such fil",
        "notes.jpg: not a photo i",
        "nothing: the folder has ",
        "photos.zip: a zip is not",
    ]
    assert [entry["image"] for entry in read("found.json")] == ["a/x.png", "b/7.png"]
    with np.load("boxes.npz") as content:
        assert content["names"].tolist() == ["a/x.png", "b/7.png"]
    assert files("runs") == ["propose/7.png", "propose/x.png"]


def test_unusual_photos(propose, drawn):
    """One pixel, 16 bits, gray and alpha are read as any viewer shows them; too many pixels are refused in a line."""
    photo = drawn((90, 50))
    Path("odd").mkdir()
    photo.crop((0, 0, 1, 1)).save("odd/1.png")
    deep = PillowImage.fromarray(np.asarray(photo.convert("L")).astype(np.uint16) * 257)
    deep.save("odd/16.png")
    photo.convert("L").save("odd/8.png")
    photo.convert("RGBA").save("odd/32.png")
    PillowImage.new("1", (15001, 10000)).save("odd/150.png")
    code, _, err = propose("odd", "--json", "found.json", "--no-draw")
    assert (code, err.count("\n"), err.startswith("error: odd/150.png: ")) == (2, 1, True)
    entries = {Path(entry["image"]).stem: entry for entry in read("found.json")}
    assert sorted(entries) == ["1", "16", "32", "8"]
    assert entries["1"]["boxes"] == [[0, 0, 1, 1]]
    assert entries["16"]["boxes"] == entries["8"]["boxes"] == SEARCH(np.asarray(photo.convert("L"))).boxes.tolist()
    assert entries["32"]["boxes"] == SEARCH(np.asarray(photo)).boxes.tolist()


def test_a_picture_that_cannot_be_written(propose):
    """The disk refuses one picture: that photo counts as failed, its boxes are kept."""
    Path("runs/propose/x.png").mkdir(parents=True)
    code, _, err = propose("a/x.png", "b/7.png", "--json", "found.json")
    assert (code, err) == (2, "error: runs/propose/x.png: cannot be written (Is a directory)\n")
    assert len(read("found.json")) == 2
    assert files("runs") == ["propose/7.png"]


def test_an_interrupt_signal():
    """Nothing is exported, whole or temporary, but the cache has what is done."""
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
main(["propose", "b", "a", "--preset", "single", "--export", "boxes.npz", "--json", "found.json", "--cache", "kept"])
"""
    before = Path("boxes.npz"), Path("found.json")
    before[0].write_text("earlier")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (130, 1)
    assert done.stderr.startswith("interrupted: no result was written")
    assert (before[0].read_text(), before[1].exists()) == ("earlier", False)
    assert len(files("kept")) >= 2
    assert not [name for name in files(".") if "tmp" in name]


def test_masks(propose):
    assert propose("b", "--export", "boxes.jsonl", "--masks", "--no-draw", "--max", 4).code == 0
    for entry in read("boxes.jsonl"):
        expected = SelectiveSearch(SEARCH.config, regions=True)(pixels_of(entry["image"])).top(4).regions
        assert expected is not None
        assert entry["masks"] == [counts.decode() for counts in expected.counts]
        assert entry["levels"] == expected.levels.tolist()
    for arguments in (
        ("--masks",),
        ("--masks", "--export", "boxes.pkl"),
        ("--masks", "--export", "b.npz", "--method", "both"),
    ):
        code, _, err = propose("b", *arguments)
        assert (code, err.count("\n")) == (2, 1)
    assert sorted(files(".")) == ["a/x.png", "b/12.png", "b/7.png", "boxes.jsonl"]


def test_a_mat_is_not_written_without_all_photos(propose):
    pytest.importorskip("scipy.io")
    Path("b/9.png").write_text("not a photo")
    code, _, err = propose("b", "--export", "boxes.mat", "--no-draw")
    assert (code, err.count("\n")) == (2, 1)
    assert "b/9.png: " in err
    assert not Path("boxes.mat").exists()
    Path("b/9.png").unlink()
    assert propose("b", "--export", "boxes.mat", "--no-draw").code == 0


def coco_folder(drawn: Callable) -> Path:
    """COCO's layout with photos 000000000007.jpg and 000000000012.jpg of 100x80 pixels, an object in each."""
    for number in (7, 12):
        Path("coco/val2017").mkdir(parents=True, exist_ok=True)
        drawn((100, 80)).save(f"coco/val2017/{number:012}.jpg", quality=95)
    content = {
        "images": [{"id": n, "file_name": f"{n:012}.jpg", "width": 100, "height": 80} for n in (7, 12)],
        "categories": [{"id": 17, "name": "cat"}, {"id": 18, "name": "dog"}],
        "annotations": [
            {"id": i, "image_id": n, "category_id": 17 + i, "bbox": [5, 6, 30, 30], "area": 900, "iscrowd": 0}
            for i, n in enumerate((7, 12))
        ],
    }
    Path("coco/annotations").mkdir()
    Path("coco/annotations/instances_val2017.json").write_text(json.dumps(content))
    return Path("coco/annotations/instances_val2017.json")


@pytest.mark.parametrize("layout", ["coco", "folder"])
def test_report_of_coco_and_of_a_folder(propose, drawn, monkeypatch, layout: str):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    file = coco_folder(drawn)
    data = ("--annotations", file) if layout == "coco" else ("--root", "coco")
    code, out, _ = propose("--dataset", layout, *data, "--report", "--json", "report.json")
    assert code == 0
    content = read("report.json")
    assert (content["images"], content["objects"], content["recall50"]) == (2, 2, 1)
    assert content["fingerprint"] == SEARCH.fingerprint
    assert list(content["by_class"]) == ["cat", "dog"]
    assert content["random_order"]["all"]["mabo"] == content["mabo"]
    assert content["random_order"]["all"]["boxes"] == content["boxes"]
    assert "random order" in out


def test_root_is_the_folder_of_cocos_photos(propose, drawn):
    file = coco_folder(drawn)
    Path("coco/val2017").rename("elsewhere")
    for number in (7, 12):  # photos of the same names near the JSON, which --root overrules
        drawn((60, 50)).save(f"coco/{number:012}.jpg")
    data = ("--dataset", "coco", "--annotations", file, "--root", "elsewhere")
    assert propose(*data, "--export", "boxes.jsonl", "--no-draw").code == 0
    found = [(entry["image"], entry["width"]) for entry in read("boxes.jsonl")]
    assert found == [("000000000007.jpg", 100), ("000000000012.jpg", 100)]
    Path("elsewhere/000000000007.jpg").unlink()
    _, _, err = propose(*data, "--report")
    assert "elsewhere" in err
    code, _, err = propose("--dataset", "coco", "--annotations", file, "--root", "missing", "--report")
    assert (code, err.count("\n"), "missing" in err) == (2, 1, True)


def test_boxes_of_a_data_set_are_exported_and_read_back(propose, drawn, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    data = ("--dataset", "coco", "--annotations", coco_folder(drawn))
    assert propose(*data, "--export", "boxes.pkl", "--no-draw").code == 0
    assert propose(*data, "--boxes", "boxes.pkl", "--export", "again.json").code == 0
    assert {entry["image_id"] for entry in read("again.json")} == {7, 12}
    assert read("again.json")[0]["fingerprint"] == SEARCH.fingerprint
    for name in ("boxes.pkl", "again.json"):
        code, out, _ = propose(*data, "--boxes", name, "--report", "--json", f"of_{name}.json")
        assert (code, "per_image" in out, "per second" in out) == (0, False, False)
        assert read(f"of_{name}.json")["seconds_per_image"] is read(f"of_{name}.json")["images_per_second"] is None
    assert propose(*data, "--report", "--json", "own.json").code == 0
    figures = [{key: read(name)[key] for key in ("boxes", "recall50", "mabo", "by_budget", "fingerprint")}
               for name in ("own.json", "of_boxes.pkl.json", "of_again.json.json")]  # fmt: skip
    assert figures[0] == figures[1] == figures[2]
    Path("few.json").write_text(json.dumps([entry for entry in read("again.json") if entry["image_id"] == 7]))
    code, out, err = propose(*data, "--boxes", "few.json", "--export", "again.npz")
    assert (code, "000000000012.jpg: the file has no boxes of it" in err) == (2, True)
    assert ("000000000007.jpg: " in out, files("runs")) == (True, [])
    assert propose(*data, "--boxes", "few.json", "--export", "a/of_all").code == 2
    assert files("a/of_all") == ["000000000007.npy", "proposals.json"]
    assert propose(*data, "--boxes", "few.json", "--export", "again.mat").code == 2
    assert not Path("again.mat").exists()


def test_boxes_of_photos_that_share_a_name(propose, drawn):
    for folder, width in (("cats", 100), ("dogs", 90)):
        Path(folder).mkdir()
        drawn((width, 80)).save(f"{folder}/1.png")
    names = ("cats/1.png", "dogs/1.png")
    content = {
        "images": [{"id": i, "file_name": name} for i, name in enumerate(names)],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [{"id": i, "image_id": i, "category_id": 1, "bbox": [5, 6, 30, 30]} for i in range(2)],
    }
    Path("labels.json").write_text(json.dumps(content))
    data = ("--dataset", "coco", "--annotations", "labels.json", "--no-draw")
    assert propose(*data, "--export", "boxes.jsonl").code == 0
    assert propose(*data, "--boxes", "boxes.jsonl", "--export", "again.jsonl").code == 0
    assert [(entry["image"], entry["width"]) for entry in read("again.jsonl")] == [(names[0], 100), (names[1], 90)]
    assert Path("again.jsonl").read_bytes() == Path("boxes.jsonl").read_bytes()


def test_a_folder_needs_labels_for_a_report_alone(propose):
    assert propose("--dataset", "folder", "--root", "b", "--export", "boxes.jsonl", "--no-draw").code == 0
    assert [entry["image"] for entry in read("boxes.jsonl")] == ["b/7.png", "b/12.png"]
    code, _, err = propose("--dataset", "folder", "--root", "b", "--report")
    assert (code, err.count("\n"), err.startswith("error: b: ")) == (2, 1, True)


@pytest.mark.parametrize(
    "options",
    [
        ("--report",),
        ("--dataset", "voc", "--root", "VOC"),
        ("--dataset", "coco", "--root", "coco"),
        ("--dataset", "folder"),
        ("--dataset", "folder", "--root", "b", "--split", "tset"),
        ("--dataset", "folder", "--root", "b", "a"),
        ("b", "--boxes", "boxes.npz"),
        ("--dataset", "folder", "--root", "missing"),
    ],
)
def test_wrong_data_sets(propose, options: tuple[str, ...]):
    code, _, err = propose(*options)
    assert (code, err.count("\n")) == (2, 1)


@pytest.fixture
def report(make_voc: Callable[..., Path], drawn, propose, monkeypatch):
    """Runs `propose --report` on three images of 100x80 pixels, whose objects are the two squares of the drawing."""
    objects = [("cat", (6, 7, 35, 36), 0), ("dog", (51, 7, 80, 36), 0)]
    root = make_voc({"1": objects, "2": objects[:1], "3": []})
    for number in range(1, 4):
        drawn((100, 80)).save(root / f"JPEGImages/{number}.jpg", quality=95)
    options = ("--report", "--dataset", "voc", "--root", "VOC", "--split", "val", "--json", "report.json")
    return lambda *arguments: propose(*options, *arguments)


def test_report(report):
    code, out, err = report("--out", "plots")
    assert code == 0
    content = read("report.json")
    assert content["method"] == "selective_search single"
    assert (content["split"], content["images"], content["objects"]) == ("val", 3, 3)
    assert content["recall50"] == content["by_class"]["cat"]["recall50"] == 1
    assert content["seconds_per_image"] > 0
    for words in ("recall50 1", "average_recall", "mabo", "seconds_per_image", "cat", "dog", "3 images of val"):
        assert words in out
    if "no plot" not in err:
        assert "recall against the number of boxes -> plots/recall.png" in out
        assert files("plots") == ["recall.png"]
        with PillowImage.open("plots/recall.png") as picture:
            assert picture.format == "PNG"


def test_report_with_limits_and_without_matplotlib(report, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    code, out, err = report("--limit", 2, "--max", 1)
    assert code == 0
    assert "no plot: the plot needs the extra 'report': pip install" in err
    assert "recall50 " in out
    content = read("report.json")
    assert (content["images"], content["boxes"]) == (2, 1)


def test_report_with_a_failed_image(report, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    Path("VOC/JPEGImages/2.jpg").write_text("not a photo")
    code, out, err = report()
    assert code == 2
    assert "error: 1 of 3 images failed, first 2: " in err
    assert "their objects count as not covered" in out
    content = read("report.json")
    assert list(content["failed"]) == ["2"]
    assert content["recall50"] == pytest.approx(2 / 3, abs=1e-5)
