"""The files of a run's results: what is in them, names with any letters, and places that cannot be."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from defusedxml.ElementTree import parse
from PIL import Image as PillowImage

from detector.data.formats import read_detections
from detector.data.ground_truth import GroundTruth
from detector.errors import InputError
from detector.io.yaml import parse_yaml
from detector.runner.results import ResultFiles
from detector.structures.selection import Selection
from tests.detector.run_tools import ALL, RuleDetector, files


def test_every_format_of_photos_and_a_video(runs):
    assert runs("b", "a/x.jpg", "clip.avi", step=4, files=ALL) == 0
    images = ["b/x.jpg", "b/y.png", "a/x.jpg", "clip.avi#0", "clip.avi#4", "clip.avi#8"]
    stems = ["x", "y", "x-2", "clip#000000", "clip#000004", "clip#000008"]
    assert runs.detector.seen == images
    assert files("out") == ["clip.mp4", "x-2.jpg", "x.jpg", "y.png"]

    entries = json.loads(Path("r/f.json").read_text())
    assert entries[0].pop("classes") == list(runs.detector.class_names)
    assert [json.loads(line) for line in Path("r/f.jsonl").read_text().splitlines()] == entries
    assert [entry["image"] for entry in entries] == images
    assert {key: entries[4][key] for key in ("video", "frame", "time", "width", "height")} == {
        "video": "clip.avi",
        "frame": 4,
        "time": 0.8,
        "width": 64,
        "height": 48,
    }
    with open("r/f.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["image", "class", "score", "x1", "y1", "x2", "y2"]
    assert rows[5] == ["a/x.jpg", "cat", "0.9", "0.0", "0.0", "45.0", "60.0"]
    results = json.loads(Path("r/f.coco.json").read_text())
    assert results[5] == {"image_id": "a/x.jpg", "category_id": 10, "bbox": [60, 1, 30, 58], "score": 0.6}
    assert files("r/yolo") == sorted(["data.yaml", *(f"{stem}.txt" for stem in stems)])
    assert parse_yaml(Path("r/yolo/data.yaml").read_bytes()) == {"names": dict(enumerate(RuleDetector.class_names))}
    assert files("r/voc") == sorted(f"{stem}.xml" for stem in stems)
    assert Path("r/yolo/x-2.txt").read_text().splitlines()[0] == "1 0.25 0.5 0.5 1.0 0.9"
    tree = parse("r/voc/x-2.xml")
    assert (tree.findtext("filename"), tree.findtext("size/width")) == ("x.jpg", "90")
    assert [[one.text for one in found.find("bndbox")] for found in tree.iterfind("object")] == [
        ["1", "1", "45", "60"],
        ["61", "2", "90", "59"],
    ]
    assert tree.findtext("object/confidence") == "0.9"
    crops = files("r/crops")
    assert crops == sorted([f"cat/{stem}-1.jpg" for stem in stems] + [f"traffic light/{stem}-2.jpg" for stem in stems])
    with PillowImage.open("r/crops/traffic light/x-2-2.jpg") as crop:
        assert crop.size == (30, 58)


def test_the_formats_are_read_again_by_the_evaluation(runs):
    assert runs("b", "a/x.jpg", files=ALL) == 0
    truth = GroundTruth(
        image_ids=("b/x.jpg", "b/y.png", "a/x.jpg"),
        class_names=RuleDetector.class_names,
        images=[],
        labels=[],
        boxes=np.zeros((0, 4)),
        image_sizes=np.array([[60, 40], [60, 40], [90, 60]]),
        files=("x.jpg", "y.png", "x-2.jpg"),
    )
    tables = [read_detections(path, truth).table for path in (ALL.json, ALL.csv, ALL.coco, ALL.yolo) if path]
    for table in (table[np.lexsort((-table.scores, table.images))] for table in tables):
        np.testing.assert_allclose(table.boxes, tables[0].boxes, atol=0.01)
        np.testing.assert_array_equal(table.images, [0, 0, 1, 1, 2, 2])
        np.testing.assert_array_equal(table.labels, [1, 2] * 3)


def test_other_images_have_the_names_of_their_files_and_numbers_are_round(runs):
    PillowImage.new("RGB", (61, 41)).save("b/z.jpg")
    assert runs("b/y.png", "b/z.jpg", files=ResultFiles(coco=Path("f.json"))) == 0
    results = json.loads(Path("f.json").read_text())
    assert [one["image_id"] for one in results] == ["y", "y", "z", "z"]
    assert results[3]["bbox"] == [40.67, 1.0, 20.33, 39.0]


def test_pycocotools_takes_the_results_of_images_with_numbers(runs):
    coco = pytest.importorskip("pycocotools.coco")
    for name in ("000000000139.jpg", "000000000285.jpg"):
        PillowImage.new("RGB", (61, 41)).save(name)
    assert runs("000000000139.jpg", "000000000285.jpg", files=ResultFiles(coco=Path("f.json"))) == 0
    truth = coco.COCO()
    truth.dataset = {
        "info": {},
        "images": [{"id": 139, "width": 61, "height": 41}, {"id": 285, "width": 61, "height": 41}],
        "categories": [
            {"id": number, "name": name}
            for name, number in zip(RuleDetector.class_names, RuleDetector.class_ids, strict=True)
        ],
        "annotations": [],
    }
    truth.createIndex()
    loaded = truth.loadRes("f.json")
    assert sorted(loaded.getImgIds()) == [139, 285]
    assert [one["bbox"] for one in loaded.loadAnns(loaded.getAnnIds(imgIds=[285], catIds=[10]))] == [
        [40.67, 1.0, 20.33, 39.0]
    ]


@pytest.mark.parametrize("name", ["été 日本.jpg", "a b?*:.jpg", "x.tar.jpg", 'quoted "name", comma.jpg', "&<x>.jpg"])
def test_names_with_any_letters(runs, name):
    PillowImage.new("RGB", (60, 40)).save(name)
    assert runs(name, files=ALL) == 0
    assert runs.told.errors == []
    stem = name.removesuffix(".jpg")
    assert (files("out"), files("r/voc")) == ([name], [f"{stem}.xml"])
    assert files("r/yolo") == sorted([f"{stem}.txt", "data.yaml"])
    assert parse(f"r/voc/{stem}.xml").findtext("filename") == name
    with open("r/f.csv", newline="", encoding="utf-8") as file:
        assert list(csv.reader(file))[1][0] == name


def test_a_submission_to_ilsvrc(runs):
    """Images and classes are numbered from 1, and pixels counted as in VOC."""
    assert runs("a/x.jpg", "b/y.png", files=ResultFiles(ilsvrc=Path("f.txt"))) == 0
    rows = [line.split() for line in Path("f.txt").read_text().splitlines()]
    assert [row[0] for row in rows][:: len(rows) - 1] == ["1", "2"]
    assert {row[1] for row in rows} == {"2", "3"}, "cat and dog, of bird, cat, dog"
    assert rows[0][3:5] == ["1.0", "1.0"]


def test_nothing_found_is_a_result_too(runs):
    assert runs("a/x.jpg", selection=Selection(score=0.95), files=ALL) == 0
    assert json.loads(Path("r/f.json").read_text())[0]["detections"] == []
    assert json.loads(Path("r/f.coco.json").read_text()) == []
    assert Path("r/f.csv").read_text() == "image,class,score,x1,y1,x2,y2\n"
    assert Path("r/yolo/x.txt").read_text() == ""
    assert files("r/crops") == []


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (ResultFiles(csv=Path("f"), coco=Path("./f")), "--csv and --coco "),
        (ResultFiles(yolo=Path("a")), "--yolo a: "),
        (ResultFiles(voc=Path("b/y.png")), "--voc b/y.png: b/y.png is not a folder"),
        (ResultFiles(jsonl=Path("f.png")), "--jsonl f.png: "),
    ],
)
def test_unusable_paths(runs, result, message):
    with pytest.raises(InputError, match=f"^{message}"):
        runs("a/x.jpg", files=result)
    assert runs.detector.seen == []


def test_a_path_without_permission(runs, monkeypatch):
    def denied(**options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", denied)  # chmod would not stop root
    for result, choices, what in (
        (ResultFiles(crops=Path("c")), {}, "--crops c"),
        (ResultFiles(csv=Path("r/f.csv")), {}, "--csv r/f.csv"),
        (None, {}, "--out out"),
        (None, {"draw": False}, "--out out"),
    ):
        with pytest.raises(InputError, match=rf"^{what}: .*\(Permission denied\)"):
            runs("a/x.jpg", files=result, **choices)
