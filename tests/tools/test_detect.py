"""The command `detect`, from its arguments to its files and exit code; its detector answers by rule."""

import io
import json
import os
import re
import sys
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from detector.structures.image import Image
from tests.detector.run_tools import files, make_clip
from tests.tools.detect_tools import run, write_photo


def test_lines_pictures_and_exit_code(detector, folder, capsys):
    assert run("a/x.jpg", "b/y.png") == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    lines = re.sub(r"\d+\.\d\d s", "TIME", captured.out).splitlines()
    assert lines == [
        "a/x.jpg: cat 0.88 at (0.0, 0.0, 50.0, 60.0)",
        "a/x.jpg: dog 0.50 at (50.0, 0.0, 150.0, 60.0)",
        "a/x.jpg: 2 objects in 150x60 pixels, TIME -> runs/detect/x.jpg",
        "b/y.png: cat 0.88 at (0.0, 0.0, 20.0, 40.0)",
        "b/y.png: 1 object in 60x40 pixels, TIME -> runs/detect/y.png",
        "written: runs/detect",
    ]
    assert detector.loaded == (None, "auto", None)
    assert files(folder / "runs") == ["detect/x.jpg", "detect/y.png"]
    with PillowImage.open("runs/detect/y.png") as picture:
        found = detector.detect(Image(np.full((40, 60, 3), (40, 90, 160), np.uint8), "same"), 0.5)
        expected = found.draw(Image(np.full((40, 60, 3), (40, 90, 160), np.uint8), "same"))
        np.testing.assert_array_equal(np.asarray(picture), expected)
    with PillowImage.open("runs/detect/x.jpg") as picture:
        assert (picture.format, picture.size) == ("JPEG", (150, 60))


def test_json(detector, folder):
    write_photo(folder / "wide.png", (100, 31))
    assert run("b", "a/x.jpg", "wide.png", "--json", "results/found.json", "--out", "drawn") == 0
    results = json.loads(Path("results/found.json").read_text())
    assert [entry["image"] for entry in results] == ["b/x.jpg", "b/y.png", "a/x.jpg", "wide.png"]
    assert all(entry.pop("seconds") >= 0 for entry in results)
    assert results[0] == {
        "image": "b/x.jpg",
        "classes": ["bird", "cat", "dog"],
        "width": 60,
        "height": 40,
        "detections": [{"label": "cat", "category_id": 17, "score": 0.876543, "box": [0.0, 0.0, 20.0, 40.0]}],
    }
    assert [item["label"] for item in results[2]["detections"]] == ["cat", "dog"]
    assert results[3]["detections"][0]["box"] == [0.0, 0.0, 33.33, 31.0], "in hundredths"
    assert files(folder / "results") == ["found.json"]
    assert files(folder / "drawn") == ["wide.png", "x-2.jpg", "x.jpg", "y.png"]


def test_boxes_are_in_pixels_of_the_upright_photo(detector, folder):
    exif = PillowImage.Exif()
    exif[0x0112] = 6
    PillowImage.new("RGB", (120, 60)).save("turned.jpg", exif=exif)
    assert run("turned.jpg", "--json", "found.json") == 0
    (entry,) = json.loads(Path("found.json").read_text())
    assert (entry["width"], entry["height"]) == (60, 120)
    with PillowImage.open("runs/detect/turned.jpg") as picture:
        assert picture.size == (60, 120)
        assert not picture.getexif()


def test_score_classes_model_and_device_are_passed_on(detector, folder, capsys):
    Path("my.safetensors").write_bytes(b"")
    options = ("--score", "0.6", "--model", "my.safetensors", "--device", "cpu", "--proposals", "both")
    assert run("a/x.jpg", *options) == 0
    assert "cat" in (out := capsys.readouterr().out)
    assert "dog" not in out
    assert detector.loaded == (Path("my.safetensors"), "cpu", "both")
    assert run("a/x.jpg", "--classes", "dog, bird") == 0
    assert "dog" in (out := capsys.readouterr().out)
    assert "cat" not in out
    assert "1 object in" in out


def test_scores_of_classes_and_the_best_objects(detector, folder, capsys):
    assert run("a/x.jpg", "--score", "0.6", "--score", "dog=0.4") == 0
    assert "2 objects" in capsys.readouterr().out
    assert run("a/x.jpg", "--score", "cat=0.9") == 0
    assert "dog 0.50" in (out := capsys.readouterr().out)
    assert "1 object " in out
    assert run("a/x.jpg", "--max-detections", "1") == 0
    assert "1 object " in capsys.readouterr().out
    assert detector.settings["max_detections"] == 1
    assert run("a/x.jpg", "--max-detections", "300") == 0
    assert detector.settings["max_detections"] == 300, "more than the model gives by itself"


def test_all_kinds_of_sources_and_results(detector, folder, capsys):
    Path("a/deep").mkdir()
    make_clip("a/deep/clip.avi", 4)
    with zipfile.ZipFile("photos.zip", "w") as archive:
        archive.write("b/y.png", "z.png")
    Path("list.txt").write_text("b/y.png\ngone.jpg\n")
    options = ["--recursive", "--frame-step", "2", "--json", "r/f.json", "--jsonl", "r/f.jsonl", "--csv", "r/f.csv"]
    options += ["--coco", "r/coco.json", "--yolo", "r/yolo", "--voc", "r/voc", "--crops", "r/crops"]
    assert run("a", "photos.zip", "list.txt", *options) == 2
    captured = capsys.readouterr()
    assert captured.err.splitlines() == [
        "error: list.txt, line 2: gone.jpg: no such file or folder; check the path",
        "1 of 5 sources failed",
    ]
    assert "a/deep/clip.avi: 2 objects (cat 2) in 2 frames, " in captured.out
    images = ["a/deep/clip.avi#0", "a/deep/clip.avi#2", "a/x.jpg", "photos.zip/z.png", "b/y.png"]
    assert [entry["image"] for entry in json.loads(Path("r/f.json").read_text())] == images
    assert files(folder / "runs") == ["detect/clip.mp4", "detect/x.jpg", "detect/y.png", "detect/z.png"]
    assert len(files(folder / "r" / "yolo")) == len(files(folder / "r" / "voc")) + 1 == 6
    assert files(folder / "r" / "crops")[-1] == "dog/x-2.jpg"


def test_standard_input(detector, folder, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(Path("a/x.jpg").read_bytes())))
    assert run("-", "--json", "found.json") == 0
    assert "-: 2 objects in 150x60 pixels" in capsys.readouterr().out
    assert json.loads(Path("found.json").read_text())[0]["image"] == "-"
    assert files(folder / "runs") == ["detect/stdin.jpg"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_names_that_are_no_valid_text(detector, folder):
    name = os.fsdecode(b"caf\xe9.jpg")
    write_photo(Path(f"c/{name}"))
    assert run("c", "--json", "found.json") == 0
    assert json.loads(Path("found.json").read_text())[0]["image"] == f"c/{name}"
    assert files(folder / "runs") == [f"detect/{name}"]


def test_an_interrupted_run_continues_in_its_number_format_and_with_the_same_content(detector, folder, capsys):
    def interrupt(image: Image) -> None:
        if image.name == "b/y.png":
            raise KeyboardInterrupt

    arguments = ("a/x.jpg", "b", "--csv", "f.csv")
    detector.before = interrupt
    assert run(*arguments) == 130
    error = capsys.readouterr().err
    assert "2 of 3" in error
    assert "--resume" in error
    assert files(folder / "runs") == ["detect/unfinished.jsonl", "detect/x-2.jpg", "detect/x.jpg"]
    detector.before = lambda image: None
    detector.fingerprint = "another"
    assert run(*arguments, "--resume") == 2
    assert "content of model and configuration was rule, is another" in capsys.readouterr().err
    detector.fingerprint, detector.precision, detector.seen = "rule", "bfloat16", []  # what a timing would choose now
    assert run(*arguments, "--resume") == 0
    assert (detector.seen, detector.precision) == (["b/y.png"], "float32")
    assert "2 of 3 are done already" in capsys.readouterr().out
    images = [row.split(",")[0] for row in Path("f.csv").read_text().splitlines()[1:]]
    assert images == ["a/x.jpg", "a/x.jpg", "b/x.jpg", "b/y.png"]
    assert files(folder / "runs") == ["detect/x-2.jpg", "detect/x.jpg", "detect/y.png"]


def test_photos_of_the_same_name(detector, folder):
    """Each gets a picture of its own. The same run makes the same names again, and a failure changes none."""
    write_photo(folder / "c" / "X.JPG")
    write_photo(folder / "d" / "x-2.jpg")
    (folder / "e").mkdir()
    PillowImage.new("RGB", (60, 40)).save("e/x.webp")
    arguments = ("a/x.jpg", "b/x.jpg", "c/X.JPG", "d/x-2.jpg", "e")
    names = ["X-3.jpg", "x-2-2.jpg", "x-2.jpg", "x-4.jpg", "x.jpg"]
    for _ in range(2):
        assert run(*arguments, "--overwrite") == 0
        assert files(folder / "runs" / "detect") == names
    for path in (folder / "runs" / "detect").iterdir():
        path.unlink()
    (folder / "a" / "x.jpg").write_bytes(b"broken")
    assert run(*arguments, "--overwrite") == 2
    assert files(folder / "runs" / "detect") == names[:-1]


def test_the_folder_that_is_not_named_is_a_new_one(detector, folder):
    for _ in range(3):
        assert run("b/y.png") == 0
    assert files(folder / "runs") == ["detect-2/y.png", "detect-3/y.png", "detect/y.png"]
    assert run("b/x.jpg", "--overwrite") == 0
    assert files(folder / "runs" / "detect") == ["x.jpg", "y.png"]


def test_quiet_prints_errors_only(detector, folder, capsys):
    assert run("a/x.jpg", "--quiet") == 0
    assert capsys.readouterr() == ("", "")
    assert run("a/x.jpg", "missing.jpg", "--quiet") == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 2
    assert files(folder / "runs") == ["detect-2/x.jpg", "detect/x.jpg"]


def test_progress_is_shown_on_a_terminal_for_several_photos(detector, folder, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert run("a/x.jpg", "b") == 0
    captured = capsys.readouterr()
    assert "/3 " in captured.err
    assert len(captured.out.splitlines()) == 8, "the bar does not disturb the results"
    assert run("a/x.jpg") == 0
    assert run("a/x.jpg", "b", "--quiet") == 0
    assert capsys.readouterr().err == ""
    make_clip("clip.avi", 4)
    assert run("clip.avi") == 0
    assert "/4 " in capsys.readouterr().err, "of one video, its frames"


def test_recorded_category_ids_from_detect_to_evaluate_and_back(detector, folder, command):
    """And VOC's image ids: one rule for both commands."""
    detector.class_ids = (90, 17, 3)
    for name in ("000000", "000012"):
        write_photo(folder / f"voc/{name}.jpg", (150, 60))
    assert run("voc", "--json", "f.json", "--jsonl", "f.jsonl", "--coco", "coco.json") == 0
    entries = json.loads(Path("f.json").read_text())
    assert entries[0].pop("classes") == ["bird", "cat", "dog"]
    assert [json.loads(line) for line in Path("f.jsonl").read_text().splitlines()] == entries
    assert [one["category_id"] for entry in entries for one in entry["detections"]] == [17, 3] * 2
    results = json.loads(Path("coco.json").read_text())
    assert [(one["image_id"], one["category_id"]) for one in results] == [(0, 17), (0, 3), (12, 17), (12, 3)]
    categories = [{"id": 90, "name": "bird"}, {"id": 17, "name": "cat"}, {"id": 3, "name": "dog"}]
    assert json.loads(Path("coco.json.categories.json").read_text()) == {"categories": categories}

    annotations = {
        "images": [{"id": i, "file_name": f"{i:06}.jpg", "width": 150, "height": 60} for i in (0, 12)],
        "categories": categories,
        "annotations": [one | {"id": i, "area": 9, "iscrowd": 0} for i, one in enumerate(results)],
    }
    Path("instances.json").write_text(json.dumps(annotations))
    options = ("evaluate", "--dataset", "coco", "--annotations", "instances.json", "--detections")
    for found in ("f.json", "coco.json"):
        ended = command(*options, found, "--export", "coco", "back.json")
        assert (ended.code, "AP 100.0" in ended.out) == (0, True)
        back = json.loads(Path("back.json").read_text())
        assert [(one["image_id"], one["category_id"]) for one in back] == [(0, 17), (0, 3), (12, 17), (12, 3)]
    assert run("voc", "--voc", "xml", "--no-draw", "--out", "other") == 0
    options = ("evaluate", "--annotations", "xml", "--export", "coco", "back.json", "--detections")
    for found in ("f.json", "coco.json"):
        ended = command(*options, found)
        assert (ended.code, "mAP      " in ended.out) == (0, True)
        back = json.loads(Path("back.json").read_text())
        assert [(one["image_id"], one["category_id"]) for one in back] == [(0, 17), (0, 18), (12, 17), (12, 18)]


@pytest.mark.parametrize("files_", [("--coco", "found.json"), ("--yolo", "found")])
def test_results_name_the_classes_of_their_numbers(detector, folder, command, files_):
    """Whose order is not that of the data set, and whose ids are no one's."""
    write_photo(folder / "c/p.jpg", (150, 60))
    assert run("c", "--voc", "xml", *files_) == 0
    ended = command("evaluate", "--annotations", "xml", "--detections", files_[1], "--classes", "dog,cat")
    assert ended.out.splitlines()[3].split() == ["mAP", "2", "2", "100.0"]


@pytest.mark.parametrize("results", [("--json", "found.json"), ("--coco", "found.json"), ("--yolo", "found")])
def test_results_of_other_classes_than_those_of_voc_are_evaluated(detector, folder, command, monkeypatch, results):
    detector.class_names = ("bird", "raccoon", "dog")
    monkeypatch.setattr("tests.tools.detect_tools.CLASSES", detector.class_names)
    write_photo(folder / "c/p.jpg", (150, 60))
    assert run("c", "--voc", "xml", *results) == 0
    ended = command("evaluate", "--annotations", "xml", "--detections", results[1])
    rows = [line.split() for line in ended.out.splitlines()[1:5]]
    assert [row[0] for row in rows] == ["bird", "raccoon", "dog", "mAP"]
    assert rows[-1] == ["mAP", "2", "2", "100.0"]


def test_how_the_detector_looks(detector, folder, monkeypatch):
    """The options are the settings of the detector; with tiles it sees more than the whole photo."""
    options = ("--size", "320", "--iou", "0.4", "--agnostic-nms", "--tile", "64", "--overlap", "0.5")
    assert run("a/x.jpg", *options, "--no-draw") == 0
    assert detector.settings == {"size": 320, "iou": 0.4, "agnostic_nms": True, "max_detections": None}
    assert len(detector.seen) > 1
    seen = len(detector.seen)
    assert run("a/x.jpg", "--no-draw") == 0
    assert len(detector.seen) == seen + 1
    assert detector.settings == {"size": None, "iou": None, "agnostic_nms": None, "max_detections": None}


def test_sources_from_a_list_and_the_last_line(detector, folder, capsys, monkeypatch):
    Path("names").write_text("b/x.jpg\n\nb/y.png\n")
    assert run("a/x.jpg", "--from-file", "names", "--json", "found.json", "--crops", "crops") == 0
    assert [entry["image"] for entry in json.loads(Path("found.json").read_text())] == ["a/x.jpg", "b/x.jpg", "b/y.png"]
    assert capsys.readouterr().out.splitlines()[-1] == "written: runs/detect, found.json, crops"
    monkeypatch.setattr("sys.stdin", types.SimpleNamespace(buffer=io.BytesIO(b"b/y.png\n")))
    assert run("--from-file", "-", "--no-draw") == 0
    assert (out := capsys.readouterr().out).startswith("b/y.png: cat")
    assert "written" not in out


@pytest.mark.parametrize(
    ("options", "path"),
    [
        (("--out", "drawn"), "drawn/y.png"),
        (("--json", "found.json"), "--json found.json"),
        (("--coco", "found.json"), "--coco found.json.categories.json"),
    ],
)
def test_nothing_is_replaced_without_being_asked(detector, folder, command, options, path):
    file = Path(path.split()[-1])
    file.parent.mkdir(exist_ok=True)
    file.write_text("mine")
    ended = command("detect", "b/y.png", *options)
    assert (ended.code, file.read_text()) == (2, "mine")
    assert ended.err.startswith(f"error: {path}: ")
    assert "--overwrite" in ended.err
    assert command("detect", "b/y.png", *options, "--overwrite").code == 0
    assert file.read_bytes() != b"mine"
