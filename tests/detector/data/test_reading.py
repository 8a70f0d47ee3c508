"""Data sets by their layout; what is restricted stays together."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from detector.data.blacklist import Blacklist
from detector.data.faults import FaultyDataError
from detector.data.ground_truth import GroundTruth
from detector.data.reading import DataSet, Layout, read_data_set
from detector.errors import InputError

ITEM = "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object>"
XML = "<annotation><size><width>20</width><height>20</height></size>{}</annotation>"
COCO: dict[str, Any] = {
    "images": [{"id": 3}, {"id": 4}], "categories": [{"id": 5, "name": "cat"}],
    "annotations": [{"id": 1, "image_id": 3, "category_id": 5, "bbox": [0, 0, 9, 9]}],
}  # fmt: skip
LAYOUTS: dict[Layout, tuple[dict[str, str], dict[str, str]]] = {
    "voc": (
        {"root": ".", "split": "val"},
        {"ImageSets/Main/val.txt": "a\nb\n", "Annotations/a.xml": XML.format(ITEM.format("cat", 1)),
         "Annotations/b.xml": XML.format(""), "JPEGImages/a.jpg": ""},
    ),
    "coco": ({"annotations": "a.json"}, {"a.json": json.dumps(COCO)}),
    "yolo": (
        {"annotations": "data.yaml"},
        {"data.yaml": "val: images\nnames: [cat]\n", "labels/a.txt": "0 0.225 0.225 0.45 0.45\n"},
    ),
    "ilsvrc": (
        {"annotations": "val", "split": "val.txt", "class_map": "map.txt", "blacklist": "blacklist.txt"},
        {"val/a.xml": XML.format(ITEM.format("n1", 1)), "val/b.xml": XML.format(""), "val.txt": "a\nb\n",
         "map.txt": "n1 1 cat\nn2 2 dog\n", "blacklist.txt": "1 n2\n"},
    ),
}  # fmt: skip
# A faulty label in the first image, and a third image whose labels cannot be read where the layout has a file an image.
BAD: dict[Layout, dict[str, str]] = {
    "voc": {
        "Annotations/a.xml": XML.format(ITEM.format("cat", 10) + ITEM.format("cat", 1)),
        "Annotations/c.xml": "<annotation>", "ImageSets/Main/val.txt": "a\nc\nb\n",
    },
    "coco": {"a.json": json.dumps(COCO | {"annotations": [
        COCO["annotations"][0] | {"id": 0, "bbox": [0, 0, 0, 9]}, *COCO["annotations"],
    ]})},
    "yolo": {"labels/a.txt": "0 0.5 0.5 0 0.45\n0 0.225 0.225 0.45 0.45\n", "labels/c.txt": "\udcff\udcfe"},
    "ilsvrc": {
        "val/a.xml": XML.format(ITEM.format("n1", 10) + ITEM.format("n1", 1)),
        "val/c.xml": "<annotation>", "val.txt": "a 1\nc 2\nb 3\n",
    },
}  # fmt: skip


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def make(layout: Layout, changes: dict[str, str] | None = None, marked: str = "") -> dict[str, Any]:
    """Write a data set, with a byte-order mark before the file `marked`; returns the options of the reader."""
    options, files = LAYOUTS[layout]
    for name, text in (files | (changes or {})).items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text, "utf-8-sig" if name == marked else "utf-8", errors="surrogateescape")
    if layout == "yolo":
        Path("images").mkdir(exist_ok=True)
        for name in "abc" if changes else "ab":
            Image.new("RGB", (20, 20)).save(f"images/{name}.png")
    return {key: value if key == "split" else Path(value) for key, value in options.items()}


@pytest.mark.parametrize(
    ("layout", "marked"),
    [(layout, name) for layout, (_, files) in LAYOUTS.items() for name in files if not name.endswith(".jpg")],
)
def test_a_byte_order_mark_changes_nothing(layout: Layout, marked: str) -> None:
    data = read_data_set(layout, **make(layout, marked=marked))
    assert data.truth.boxes.tolist() == [[0, 0, 9, 9]]
    assert data.truth.class_names[data.truth.labels[0]] == "cat"
    assert data.truth.image_ids == ((3, 4) if layout == "coco" else ("a", "b"))
    assert (data.blacklist is None) == (layout != "ilsvrc")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_bad_labels_are_left_out_and_counted_on_demand(layout: Layout) -> None:
    options = make(layout, BAD[layout])
    with pytest.raises(FaultyDataError) as caught:
        read_data_set(layout, **options)
    count = 1 if layout == "coco" else 2
    assert len(caught.value.faults) == count
    data = read_data_set(layout, **options, skip_bad_labels=True)
    assert data.truth.boxes.tolist() == [[0, 0, 9, 9]]
    assert data.truth.images.tolist() == [0]
    # an image whose labels cannot be read is not one without objects
    assert len(data.truth.image_ids) == len(data.truth.files) == 2
    assert sum(f"{count} label" in note and str(caught.value.faults[0]) in note for note in data.notes) == 1


def test_an_unknown_class_is_no_bad_label_to_skip() -> None:
    options = make("voc", BAD["voc"] | {"Annotations/b.xml": XML.format(ITEM.format("raccoon", 1))})
    with pytest.raises(FaultyDataError) as caught:
        read_data_set("voc", **options, skip_bad_labels=True)
    (fault,) = caught.value.faults
    assert (fault.file, fault.record, "'raccoon'" in fault.fault) == ("Annotations/b.xml", "object 1", True)
    data = read_data_set("voc", **options, class_names=("cat", "raccoon"), skip_bad_labels=True)
    assert data.truth.labels.tolist() == [0, 1]


def test_where_all_labels_are_bad_they_are_named() -> None:
    options = make("yolo", BAD["yolo"] | {"labels/a.txt": "0 0.5 0.5 0 0.45\n"})
    with pytest.raises(FaultyDataError, match=r"a\.txt: line 1: fields w h are 0"):
        read_data_set("yolo", **options, skip_bad_labels=True)


def test_what_readers_leave_out_is_noted() -> None:
    data = read_data_set("ilsvrc", **make("ilsvrc", {"val/b.xml": XML.format(ITEM.format("n3", 1))}))
    assert data.blacklist is not None
    assert (data.blacklist.images.tolist(), data.blacklist.labels.tolist()) == ([0], [1])
    assert [("n3 (1)" in note, "blacklist" in note) for note in data.notes] == [(True, False), (False, True)]
    data = read_data_set("yolo", **make("yolo", {"labels/a.txt": "0 0.5 0.5 0.2 0.2\n" * 2}))
    assert (len(data.truth), len(data.notes)) == (1, 1)


def test_the_photos_of_yolo_lie_in_its_folder() -> None:
    make("yolo")
    Path("set").mkdir()
    for folder in ("images", "labels"):
        Path(folder).rename(f"set/{folder}")
    Path("data.yaml").write_text("path: set\nval: images\nnames: [cat]\n")
    data = read_data_set("yolo", annotations=Path("data.yaml"))
    assert data.folder is not None
    assert (data.folder / data.truth.files[0]).is_file()


def test_the_blacklist_follows_classes_and_images() -> None:
    truth = GroundTruth(
        image_ids=("a", "b"), class_names=("cat", "dog", "hen"), images=[0, 1], labels=[2, 0], boxes=[[0, 0, 1, 1]] * 2
    )
    data = DataSet(truth=truth, name="val", blacklist=Blacklist(np.array([0, 1, 1]), np.array([0, 2, 1])))
    some, first = data.of_classes(["hen", "cat"]), data.first(1)
    assert some.blacklist is not None
    assert (some.blacklist.images.tolist(), some.blacklist.labels.tolist()) == ([0, 1], [1, 0])
    assert first.blacklist is not None
    assert (first.blacklist.images.tolist(), first.blacklist.labels.tolist()) == ([0], [0])
    assert first.truth.image_ids == ("a",)
    plain = DataSet(truth=truth, name="val")
    assert plain.of_classes(["dog"]).blacklist is plain.first(1).blacklist is None


@pytest.mark.parametrize(
    ("layout", "options", "message"),
    [
        ("xml", {}, "layout 'xml' is unknown"),
        ("voc", {}, "--dataset voc needs --root"),
        ("voc", {"root": Path("x")}, "--dataset voc needs --root"),
        ("coco", {"root": Path("x")}, "--dataset coco needs --annotations: the JSON file"),
        ("yolo", {}, "--dataset yolo needs --annotations: the data.yaml"),
        ("ilsvrc", {}, "--dataset ilsvrc needs --annotations: the folder of XML files"),
        ("ilsvrc", {"annotations": Path("x"), "split": "y"}, "--dataset ilsvrc needs --split, the list file, and"),
    ],
)
def test_what_is_missing_is_named(layout: Layout, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_data_set(layout, **options)


@pytest.mark.parametrize("module", ["data.reading", "data.custom_dataset", "data.formats", "structures.detections"])
def test_torch_is_not_imported(module: str) -> None:
    program = f"import sys, detector.{module}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
