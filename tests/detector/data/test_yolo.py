"""YOLO's data.yaml, photos and label files."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from detector.data.faults import Faults, FaultyDataError
from detector.data.yolo import _objects, read_yolo
from detector.errors import InputError


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two photos of 100 x 80 pixels in val, the first with two objects, and a data.yaml."""
    root = tmp_path / "set"
    for folder in ("images/val", "labels/val"):
        (root / folder).mkdir(parents=True)
    for name in ("b.jpg", "a.png"):
        Image.new("RGB", (100, 80)).save(root / "images/val" / name)
    (root / "labels/val/a.txt").write_text("1 0.25 0.25 0.5 0.5\n\n0 0.1 0.1 0.3 0.1 0.3 0.5\n")
    path = tmp_path / "data.yaml"
    path.write_text("path: set\nval: images/val\nnames: {0: cat, 1: dog}\n")
    return path


def test_what_is_read(data: Path) -> None:
    truth = read_yolo(data)
    assert truth.image_ids == truth.files == ("images/val/a.png", "images/val/b.jpg")
    assert truth.class_names == ("cat", "dog")
    assert truth.class_ids == (0, 1)
    assert truth.image_sizes.tolist() == [[100, 80], [100, 80]]
    assert truth.images.tolist() == [0, 0]
    assert truth.labels.tolist() == [1, 0]
    assert truth.boxes[0].tolist() == [0, 0, 50, 40]
    assert truth.boxes[1].tolist() == pytest.approx([10, 8, 30, 40])  # around the outline


@pytest.mark.parametrize("val", ["val.txt", "[images/val]", "[val.txt]"])
def test_lists_of_photos(data: Path, val: str) -> None:
    (data.parent / "set/val.txt").write_text("./images/val/b.jpg\nimages/val/a.png\n")
    data.write_text(f"path: set\nval: {val}\nnames: [cat, dog]\n")
    truth = read_yolo(data)
    assert sorted(truth.image_ids) == ["images/val/a.png", "images/val/b.jpg"]
    if "txt" in val:
        assert truth.image_ids[0] == "images/val/b.jpg"
    assert len(truth) == 2


def test_a_photo_that_lies_on_its_side(data: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (100, 80)).save(data.parent / "set/images/val/b.jpg", exif=exif)
    assert read_yolo(data).image_sizes.tolist() == [[100, 80], [80, 100]]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.5 0.5 0.1", "has 4 columns, expected class cx cy width height, or an outline"),
        ("0 0.5 0.5 0.1 0.1 0.9", "has 6 columns"),
        ("2 0.5 0.5 0.1 0.1", "field class is '2', expected a number in 0..1"),
        ("cat 0.5 0.5 0.1 0.1", "field class is 'cat', expected a number in 0..1"),
        ("0 0.5 x 0.1 0.1", "'0.5 x 0.1 0.1' are not all numbers"),
        ("0 0.5 nan 0.1 0.1", "holds a number that is not finite"),
        ("0 50 40 10 10", "the box is not inside the image; give fractions of its width and height"),
        ("0 0.9 0.5 0.3 0.1", "the box is not inside the image"),
        ("0 0.5 0.5 0 0.1", "the box has no width or no height"),
        ("0 0.5 0.5 -0.1 0.1", "the box has no width or no height"),
    ],
)
def test_a_wrong_line_is_named(data: Path, line: str, message: str) -> None:
    file = data.parent / "set/labels/val/b.txt"
    file.write_text(f"0 0.5 0.5 0.1 0.1\n{line}\n")
    with pytest.raises(FaultyDataError) as caught:
        read_yolo(data)
    assert f"set/labels/val/b.txt: line 2: {message}" in str(caught.value)


def test_photos_that_cannot_be_read_are_all_named(data: Path) -> None:
    for name in ("b.jpg", "a.png"):
        (data.parent / "set/images/val" / name).write_bytes(b"no photo")
    with pytest.raises(FaultyDataError) as caught:
        read_yolo(data)
    assert [line.split(": ")[1:3] for line in str(caught.value).splitlines()] == [["photo", "cannot be read"]] * 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("val: images/val", "field names is missing"),
        ("names: [cat]\nval: images/val\n", "is no folder of photos"),  # without `path` it is beside the data.yaml
        ("names: [cat]\n", "has no split 'val'"),
        ("names: {0: cat, 2: dog}\nval: x\n", "field names: numbers are not 0 to 1"),
        ("names: [cat]\npath: set\nval: labels\n", "split 'val' has no photos"),
        ("[]", "is no data.yaml"),
        ("a: [", "is not YAML"),
        ("names: !!python/object/apply:os.system [ls]\n", "is not YAML"),
    ],
)
def test_a_wrong_data_yaml(data: Path, content: str, message: str) -> None:
    data.write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        read_yolo(data)
    assert str(caught.value).startswith(f"{data}: ")
    data.unlink()
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_yolo(data)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_boxes_are_those_that_were_written(tmp_path_factory: pytest.TempPathFactory, a: float, b: float, c: float,
                                           d: float) -> None:  # fmt: skip
    (x1, x2), (y1, y2) = sorted((a, b)), sorted((c, d))
    if min(x2 - x1, y2 - y1) < 1e-9:
        return
    file = tmp_path_factory.getbasetemp() / "labels.txt"
    file.write_text(f"0 {(x1 + x2) / 2!r} {(y1 + y2) / 2!r} {x2 - x1!r} {y2 - y1!r}\n")
    ((label, box),) = _objects(file, 1, Faults())
    assert label == 0
    assert box.tolist() == pytest.approx([x1, y1, x2, y2], abs=1e-12)
