"""Data sets by their layout; what is restricted stays together."""

import json
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

TRUTH = GroundTruth(
    image_ids=("a", "b"), class_names=("cat", "dog", "hen"), images=[0, 1], labels=[2, 0], boxes=[[0, 0, 1, 1]] * 2
)


def test_the_blacklist_follows_classes_and_images() -> None:
    data = DataSet(truth=TRUTH, name="val", blacklist=Blacklist(np.array([0, 1, 1]), np.array([0, 2, 1])))
    some = data.of_classes(["hen", "cat"])
    assert some.blacklist is not None
    assert (some.blacklist.images.tolist(), some.blacklist.labels.tolist()) == ([0, 1], [1, 0])
    first = data.first(1)
    assert first.blacklist is not None
    assert (first.blacklist.images.tolist(), first.blacklist.labels.tolist()) == ([0], [0])
    assert first.truth.image_ids == ("a",)
    plain = DataSet(truth=TRUTH, name="val")
    assert plain.of_classes(["dog"]).blacklist is plain.first(1).blacklist is None


@pytest.mark.parametrize(
    ("layout", "options", "message"),
    [
        ("voc", {}, "--dataset voc needs --root"),
        ("voc", {"root": Path("x")}, "--dataset voc needs --root"),
        ("coco", {"root": Path("x")}, "--dataset coco needs --annotations: the JSON file"),
        ("yolo", {}, "--dataset yolo needs --annotations: the data.yaml"),
        ("ilsvrc", {}, "--dataset ilsvrc needs --annotations: the folder of XML files"),
        ("ilsvrc", {"annotations": Path("x"), "split": "y"}, "--dataset ilsvrc needs --split, the list file, and"),
    ],
)
def test_what_is_missing_is_named(layout: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_data_set(layout, **options)  # type: ignore[arg-type]


def test_the_photos_of_yolo_lie_in_its_folder(tmp_path: Path) -> None:
    for folder in ("set/images", "set/labels"):
        (tmp_path / folder).mkdir(parents=True)
    Image.new("RGB", (10, 10)).save(tmp_path / "set/images/a.png")
    (tmp_path / "set/labels/a.txt").write_text("0 0.5 0.5 1 1\n")
    (tmp_path / "data.yaml").write_text("path: set\nval: images\nnames: [cat]\n")
    data = read_data_set("yolo", annotations=tmp_path / "data.yaml")
    assert data.folder is not None
    assert (data.folder / data.truth.files[0]).is_file()


ITEM = "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object>"
XML = "<annotation><size><width>20</width><height>20</height></size>{}</annotation>"


def bad_coco(root: Path) -> dict[str, object]:
    """Two images, one label that is right, one of width 0; where the layout has a file an image, a third broken one."""
    content = {
        "images": [{"id": number, "width": 20, "height": 20} for number in (3, 4)],
        "categories": [{"id": 5, "name": "cat"}],
        "annotations": [{"id": i, "image_id": 3, "category_id": 5, "bbox": [0, 0, 9 * i, 9]} for i in (0, 1)],
    }
    (root / "a.json").write_text(json.dumps(content))
    return {"annotations": root / "a.json"}


def bad_voc(root: Path) -> dict[str, object]:
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    (root / "Annotations/a.xml").write_text(XML.format(ITEM.format("cat", 10) + ITEM.format("cat", 1)))
    (root / "Annotations/b.xml").write_text(XML.format(""))
    (root / "Annotations/c.xml").write_text("<annotation>")
    (root / "ImageSets/Main/val.txt").write_text("a\nc\nb\n")
    return {"root": root, "split": "val"}


def bad_ilsvrc(root: Path) -> dict[str, object]:
    bad_voc(root)
    (root / "ImageSets/Main/val.txt").write_text("a 1\nc 2\nb 3\n")
    (root / "map.txt").write_text("cat 1 cat\n")
    lists = {"split": str(root / "ImageSets/Main/val.txt"), "class_map": root / "map.txt"}
    return {"annotations": root / "Annotations", **lists}


def bad_yolo(root: Path) -> dict[str, object]:
    for folder in ("images", "labels"):
        (root / folder).mkdir()
    for name in ("a", "b", "c"):
        Image.new("RGB", (20, 20)).save(root / f"images/{name}.png")
    (root / "labels/a.txt").write_text("0 0.5 0.5 0 0.45\n0 0.225 0.225 0.45 0.45\n")
    (root / "labels/c.txt").write_bytes(b"\xff\xfe")
    (root / "data.yaml").write_text("val: images\nnames: [cat]\n")
    return {"annotations": root / "data.yaml"}


@pytest.mark.parametrize(("make", "faults"), [(bad_coco, 1), (bad_voc, 2), (bad_ilsvrc, 2), (bad_yolo, 2)])
def test_bad_labels_are_left_out_and_counted_on_demand(tmp_path: Path, make: Any, faults: int) -> None:
    layout = make.__name__.removeprefix("bad_")
    options = make(tmp_path)
    with pytest.raises(FaultyDataError) as caught:
        read_data_set(layout, **options)
    assert len(caught.value.faults) == faults
    data = read_data_set(layout, **options, skip_bad_labels=True)
    assert data.truth.boxes.tolist() == [[0, 0, 9, 9]]
    assert data.truth.images.tolist() == [0]
    # an image whose labels cannot be read is not one without objects
    assert len(data.truth.image_ids) == len(data.truth.files) == 2
    assert sum(f"{faults} label" in note and str(caught.value.faults[0]) in note for note in data.notes) == 1


def test_an_unknown_class_is_no_bad_label_to_skip(tmp_path: Path) -> None:
    options = bad_voc(tmp_path)
    annotation = tmp_path / "Annotations/b.xml"
    annotation.write_text(XML.format(ITEM.format("raccoon", 1)))
    with pytest.raises(FaultyDataError) as caught:
        read_data_set("voc", **options, skip_bad_labels=True)  # type: ignore[arg-type]
    assert [(fault.file, fault.record, "'raccoon'" in fault.fault) for fault in caught.value.faults] == [
        (str(annotation), "object 1", True)
    ]
    data = read_data_set("voc", **options, class_names=("cat", "raccoon"), skip_bad_labels=True)  # type: ignore[arg-type]
    assert data.truth.labels.tolist() == [0, 1]


def test_where_all_labels_are_bad_they_are_named(tmp_path: Path) -> None:
    options = bad_yolo(tmp_path)
    (tmp_path / "labels/a.txt").write_text("0 0.5 0.5 0 0.45\n")
    with pytest.raises(FaultyDataError, match=r"a\.txt: line 1: fields w h are 0"):
        read_data_set("yolo", **options, skip_bad_labels=True)


def test_what_ilsvrc_leaves_out_is_told(tmp_path: Path) -> None:
    (tmp_path / "val").mkdir()
    item = "<object><name>{}</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object>"
    (tmp_path / "val/a.xml").write_text(
        "<annotation><size><width>20</width><height>20</height></size>"
        f"{item.format('n1')}{item.format('n3')}</annotation>"
    )
    (tmp_path / "val.txt").write_text("a 7\n")
    (tmp_path / "map.txt").write_text("n1 1 cat\nn2 2 dog\n")
    (tmp_path / "blacklist.txt").write_text("7 n2\n")
    data = read_data_set(
        "ilsvrc", annotations=tmp_path / "val", split=str(tmp_path / "val.txt"), class_map=tmp_path / "map.txt",
        blacklist=tmp_path / "blacklist.txt",
    )  # fmt: skip
    assert len(data.truth) == 1
    assert data.blacklist is not None
    assert (data.blacklist.images.tolist(), data.blacklist.labels.tolist()) == ([0], [1])
    assert [("n3 (1)" in note, "blacklist" in note) for note in data.notes] == [(True, False), (False, True)]


def test_what_a_reader_warns_of_is_a_note_every_time(tmp_path: Path) -> None:
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    Image.new("RGB", (10, 10)).save(tmp_path / "images/a.png")
    (tmp_path / "labels/a.txt").write_text("0 0.5 0.5 0.2 0.2\n0 0.5 0.5 0.2 0.2\n")
    (tmp_path / "data.yaml").write_text("val: images\nnames: [cat]\n")
    for _ in range(2):
        data = read_data_set("yolo", annotations=tmp_path / "data.yaml")
        assert len(data.truth) == 1
        assert len(data.notes) == 1


ONE_OBJECT = (
    "<annotation><size><width>20</width><height>20</height></size><object><name>{}</name><bndbox><xmin>1</xmin>"
    "<ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object></annotation>"
)
COCO = {"images": [{"id": 3}], "categories": [{"id": 5, "name": "cat"}],
        "annotations": [{"id": 1, "image_id": 3, "category_id": 5, "bbox": [1, 1, 4, 4]}]}  # fmt: skip
LAYOUTS: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "voc": (
        {"root": ".", "split": "val"},
        {"ImageSets/Main/val.txt": "a\n", "Annotations/a.xml": ONE_OBJECT.format("cat"), "JPEGImages/a.jpg": ""},
    ),
    "coco": ({"annotations": "a.json"}, {"a.json": json.dumps(COCO)}),
    "yolo": (
        {"annotations": "data.yaml"},
        {"data.yaml": "val: val.txt\nnames: [cat]\n", "val.txt": "a.png\n", "a.txt": "0 0.5 0.5 1 1\n"},
    ),
    "ilsvrc": (
        {"annotations": "val", "split": "val.txt", "class_map": "map.txt", "blacklist": "blacklist.txt"},
        {"val/a.xml": ONE_OBJECT.format("n1"), "val.txt": "a\n", "map.txt": "n1 1 cat\n", "blacklist.txt": "1 n1\n"},
    ),
}


@pytest.mark.parametrize(
    ("layout", "marked"),
    [(layout, name) for layout, (_, files) in LAYOUTS.items() for name in files if not name.endswith(".jpg")],
)
def test_a_byte_order_mark_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: Layout, marked: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (10, 10)).save("a.png")
    options, files = LAYOUTS[layout]
    for name, text in files.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text, encoding="utf-8-sig" if name == marked else "utf-8")
    data = read_data_set(layout, **{k: v if k == "split" else Path(v) for k, v in options.items()})  # type: ignore[arg-type]
    assert len(data.truth) == 1
    assert data.truth.class_names[data.truth.labels[0]] == "cat"
    assert data.truth.image_ids == ((3,) if layout == "coco" else ("a",))
    assert (data.blacklist is None) == (layout != "ilsvrc")
