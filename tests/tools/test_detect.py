"""The command `detect`, from its arguments to its files and exit code; its detector answers by rule."""

import io
import json
import re
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image as PillowImage

from detector.structures.image import Image
from tests.tools.detect_tools import clip, command, files, run, write_photo


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
    assert run("b", "a/x.jpg", "--json", "results/found.json", "--out", "drawn") == 0
    results = json.loads(Path("results/found.json").read_text())
    assert [entry["image"] for entry in results] == ["b/x.jpg", "b/y.png", "a/x.jpg"]
    assert all(entry.pop("seconds") >= 0 for entry in results)
    assert results[0] == {
        "image": "b/x.jpg",
        "classes": ["bird", "cat", "dog"],
        "width": 60,
        "height": 40,
        "detections": [{"label": "cat", "category_id": 17, "score": 0.876543, "box": [0.0, 0.0, 20.0, 40.0]}],
    }
    assert [item["label"] for item in results[2]["detections"]] == ["cat", "dog"]
    assert files(folder / "results") == ["found.json"]
    assert files(folder / "drawn") == ["x-2.jpg", "x.jpg", "y.png"]


def test_boxes_in_json_are_rounded_to_hundredths(detector, folder):
    write_photo(folder / "wide.png", (100, 31))
    assert run("wide.png", "--json", "found.json") == 0
    (entry,) = json.loads(Path("found.json").read_text())
    assert entry["detections"][0]["box"] == [0.0, 0.0, 33.33, 31.0]


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
    clip(folder / "a" / "deep" / "clip.avi")
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


def test_only_results_and_no_pictures(detector, folder, capsys):
    assert run("a/x.jpg", "--no-draw", "--csv", "f.csv") == 0
    assert files(folder / "runs") == []
    assert "->" not in capsys.readouterr().out


def test_an_interrupted_run_goes_on(detector, folder, capsys):
    def interrupt(image: Image) -> None:
        if image.name == "b/y.png":
            raise KeyboardInterrupt

    detector.before = interrupt
    assert run("a/x.jpg", "b", "--csv", "f.csv") == 130
    detector.before = lambda image: None
    detector.seen.clear()
    assert run("a/x.jpg", "b", "--csv", "f.csv", "--resume") == 0
    assert detector.seen == ["b/y.png"]
    assert "2 of 3 are done already" in capsys.readouterr().out
    assert [row.split(",")[0] for row in Path("f.csv").read_text().splitlines()[1:]] == ["a/x.jpg"] * 2 + [
        "b/x.jpg",
        "b/y.png",
    ]
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


def test_nothing_is_replaced_without_being_asked(detector, folder, capsys):
    assert run("b/y.png", "--out", "drawn", "--json", "found.json") == 0
    before = Path("drawn/y.png").read_bytes()
    Path("drawn/y.png").write_bytes(b"old")
    for arguments, message in (
        (("--out", "drawn"), "drawn/y.png: "),
        (("--json", "found.json"), "--json found.json: "),
    ):
        assert run("b/y.png", "--quiet", *arguments) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"error: {message}")
        assert "--overwrite" in error
    assert Path("drawn/y.png").read_bytes() == b"old"
    assert run("b/y.png", "--out", "drawn", "--json", "found.json", "--overwrite") == 0
    assert Path("drawn/y.png").read_bytes() == before
    assert files(folder / "drawn") == ["y.png"]


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
    assert len(captured.out.splitlines()) == 7, "the bar does not disturb the results"
    assert run("a/x.jpg") == 0
    assert run("a/x.jpg", "b", "--quiet") == 0
    assert capsys.readouterr().err == ""
    clip(folder / "clip.avi")
    assert run("clip.avi") == 0
    assert "/4 " in capsys.readouterr().err, "of one video, its frames"


def interrupted(detector, *arguments: str) -> None:
    def interrupt(image: Image) -> None:
        if image.name == "b/y.png":
            raise KeyboardInterrupt

    detector.before = interrupt
    assert run("a/x.jpg", "b", *arguments) == 130
    detector.before = lambda image: None


def test_a_run_goes_on_with_the_same_content_of_model_and_configuration_only(detector, folder, capsys):
    interrupted(detector)
    detector.fingerprint = "another"
    capsys.readouterr()
    assert run("a/x.jpg", "b", "--resume") == 2
    assert "content of model and configuration was rule, is another" in capsys.readouterr().err


def test_a_run_goes_on_in_its_number_format(detector, folder):
    interrupted(detector)
    detector.precision = "bfloat16"  # what a timing would choose now
    assert run("a/x.jpg", "b", "--resume") == 0
    assert detector.precision == "float32"


def test_recorded_category_ids_from_detect_to_evaluate_and_back(detector, folder, capsys):
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
        assert command(*options, found, "--export", "coco", "back.json") == 0
        assert "AP 100.0" in capsys.readouterr().out
        back = json.loads(Path("back.json").read_text())
        assert [(one["image_id"], one["category_id"]) for one in back] == [(0, 17), (0, 3), (12, 17), (12, 3)]
    assert run("voc", "--voc", "xml", "--no-draw", "--out", "other") == 0
    options = ("evaluate", "--annotations", "xml", "--export", "coco", "back.json", "--detections")
    for found in ("f.json", "coco.json"):
        assert command(*options, found) == 0
        assert "mAP      " in capsys.readouterr().out
        back = json.loads(Path("back.json").read_text())
        assert [(one["image_id"], one["category_id"]) for one in back] == [(0, 17), (0, 18), (12, 17), (12, 18)]


@pytest.mark.parametrize("files_", [("--coco", "found.json"), ("--yolo", "found")])
def test_results_name_the_classes_of_their_numbers(detector, folder, capsys, files_):
    """Whose order is not that of the data set, and whose ids are no one's."""
    write_photo(folder / "c/p.jpg", (150, 60))
    assert run("c", "--voc", "xml", *files_) == 0
    capsys.readouterr()
    assert command("evaluate", "--annotations", "xml", "--detections", files_[1], "--classes", "dog,cat") == 0
    assert capsys.readouterr().out.splitlines()[3].split() == ["mAP", "2", "2", "100.0"]


@pytest.mark.parametrize("results", [("--json", "found.json"), ("--coco", "found.json"), ("--yolo", "found")])
def test_results_of_other_classes_than_those_of_voc_are_evaluated(detector, folder, capsys, monkeypatch, results):
    detector.class_names = ("bird", "raccoon", "dog")
    monkeypatch.setattr("tests.tools.detect_tools.CLASSES", detector.class_names)
    write_photo(folder / "c/p.jpg", (150, 60))
    assert run("c", "--voc", "xml", *results) == 0
    capsys.readouterr()
    assert command("evaluate", "--annotations", "xml", "--detections", results[1]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:5]]
    assert [row[0] for row in rows] == ["bird", "raccoon", "dog", "mAP"]
    assert rows[-1] == ["mAP", "2", "2", "100.0"]


def test_categories_of_an_earlier_run_are_not_replaced(detector, folder, capsys):
    Path("found.json.categories.json").write_text("mine")
    assert run("b/y.png", "--coco", "found.json") == 2
    assert "--coco found.json.categories.json: " in capsys.readouterr().err
    assert Path("found.json.categories.json").read_text() == "mine"


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
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"b/y.png\n")))
    assert run("--from-file", "-", "--no-draw") == 0
    assert (out := capsys.readouterr().out).startswith("b/y.png: cat")
    assert "written" not in out


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ((), "--from-file"),
        (("a/x.jpg", "--overlap", "0.3"), "tile"),
        (("a/x.jpg", "--tile", "64", "--batch", "2"), "--batch"),
        (("a", "b", "--explain", "why.html"), "--explain"),
        (("-", "--explain", "why.html"), "--explain"),
        (("a/x.jpg", "--explain", "a/x.jpg"), "--explain"),
    ],
)
def test_options_that_do_not_fit(detector, folder, capsys, arguments, word):
    assert run(*arguments) == 2
    assert word in capsys.readouterr().err
