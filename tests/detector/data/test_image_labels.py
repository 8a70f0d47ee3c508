"""Photos that are labeled as a whole."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detector.data.annotations import Annotations
from detector.data.image_labels import best_of_class, read_image_labels, whole_photo
from detector.errors import InputError
from detector.structures.detections import Detections

NAMES = ("cat", "dog", "fox")


@pytest.fixture
def photo(tmp_path: Path) -> Callable[..., Path]:
    """Writes a photo of 30 x 20 pixels of one color."""

    def write(name: str, gray: int = 0) -> Path:
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (30, 20), (gray,) * 3).save(path)
        return path

    return write


def shown(path: Path, **options: object) -> dict[str, list[str]]:
    data = read_image_labels(path, **options)  # type: ignore[arg-type]
    assert data.image_labels
    for sample in data.samples:
        assert (sample.annotations.boxes == (0, 0, 30, 20)).all()
    return {s.id: [data.class_names[label] for label in s.annotations.labels] for s in data.samples}


def test_folders_by_class(photo: Callable[..., Path], tmp_path: Path):
    """In val they are for validation; an equal photo of the same name has both labels, an equal one of another name is
    another photo."""
    for name, gray in (("cat/1.jpg", 1), ("cat/2.jpg", 2), ("dog/1.jpg", 3), ("dog/2.jpg", 2), ("dog/3.jpg", 2)):
        photo(f"train/{name}", gray)
    photo("val/cat/1.jpg", 4)
    photo("test/fox/1.jpg", 5)
    root = tmp_path / "data"
    assert shown(root) == {
        "train/cat/1.jpg": ["cat"],
        "train/cat/2.jpg": ["cat", "dog"],
        "train/dog/1.jpg": ["dog"],
        "train/dog/3.jpg": ["dog"],
        "val/cat/1.jpg": ["cat"],
    }
    assert read_image_labels(root).val == {"val/cat/1.jpg"}
    assert shown(root, classes="dog")["train/cat/1.jpg"] == []


def test_a_class_named_like_a_part(photo: Callable[..., Path], tmp_path: Path):
    for gray, name in enumerate(("train/1.jpg", "cat/2.jpg", "val/train/3.jpg", "val/cat/4.jpg")):
        photo(name, gray)
    found = shown(tmp_path / "data")
    assert [found[name] for name in sorted(found)] == [["cat"], ["train"], ["cat"], ["train"]]


def test_photos_of_test_in_a_csv_file_are_left_out(photo: Callable[..., Path], tmp_path: Path):
    for gray, name in enumerate(("a.jpg", "test/b.jpg", "val/c.jpg")):
        photo(name, gray)
    table = tmp_path / "data" / "labels.csv"
    table.write_text("image,class\na.jpg,fox\ntest/b.jpg,cat\nval/c.jpg,cat\n")
    assert shown(table) == {"a.jpg": ["fox"], "val/c.jpg": ["cat"]}
    assert read_image_labels(table).val == {"val/c.jpg"}
    table.write_text("image,class\ntest/b.jpg,cat\n")
    with pytest.raises(InputError, match="test"):
        read_image_labels(table)


def test_a_csv_file(photo: Callable[..., Path], tmp_path: Path):
    for name in "abc":
        photo(f"{name}.jpg", ord(name))
    table = tmp_path / "data" / "labels.csv"
    table.write_text("image,class\na.jpg,fox\na.jpg,cat\nb.jpg,\nc.jpg,cat\n")
    assert shown(table) == {"a.jpg": ["cat", "fox"], "b.jpg": [], "c.jpg": ["cat"]}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a.jpg,cat\n", r"labels.csv: the first line must be image,class"),
        ("image,class\na.jpg\n", r"labels.csv, line 2: 1 fields"),
        ("image,class\na.jpg,cat\nz.jpg,cat\n", r"labels.csv, line 3: no such photo: .*z.jpg"),
        ("image,class\na.jpg,\na.jpg,cat\nb.jpg,\n", r"says that .*a.jpg shows no class, and that it shows cat"),
        ("image,class\na.jpg,\nb.jpg,\n", r"labels.csv: names no class"),
        ("image,class\na.jpg,cat\nb.jpg,cat\nb.jpg,dog\n", r"labels.csv: every photo shows 'cat'"),
    ],
)
def test_wrong_csv_files(photo: Callable[..., Path], tmp_path: Path, rows: str, message: str):
    for name in "ab":
        photo(f"{name}.jpg", ord(name))
    table = tmp_path / "data" / "labels.csv"
    table.write_text(rows)
    with pytest.raises(InputError, match=message):
        read_image_labels(table)


def test_wrong_folders(photo: Callable[..., Path], tmp_path: Path):
    root = tmp_path / "data"
    photo("cat/1.jpg")
    with pytest.raises(InputError, match="every photo shows 'cat'"):
        read_image_labels(root)
    damaged = root / "dog" / "2.jpg"
    damaged.parent.mkdir()
    damaged.write_bytes(b"no photo")
    photo("3.jpg")
    with pytest.raises(InputError, match=r"3.jpg: lies in no folder of a class"):
        read_image_labels(root)


def test_boxes_become_labels():
    boxes = [[0, 0, 9, 9], [1, 1, 5, 5], [2, 2, 8, 8]]
    labels = whole_photo(Annotations(boxes, [2, 0, 2], [True, True, False], (30, 20)))  # type: ignore[arg-type]
    assert labels.labels.tolist() == [0, 2]
    assert labels.difficult.tolist() == [True, False]
    assert labels.boxes.tolist() == [[0, 0, 30, 20]] * 2


def test_only_the_best_detection_of_a_class_counts():
    found = Detections(
        boxes=np.array([[0, 0, 9, 9], [1, 1, 8, 8], [2, 2, 7, 7]], np.float32),
        scores=np.array([0.9, 0.8, 0.7], np.float32),
        labels=np.array([1, 1, 0]),
        class_names=NAMES,
        image_size=(30, 20),
    )
    whole = [0, 0, 30, 20]
    annotations, best = best_of_class(Annotations([whole, whole], [1, 2], [False, False], (30, 20)), found)  # type: ignore[arg-type]
    assert best.labels.tolist() == [1, 0]
    assert best.boxes.tolist() == [[0, 0, 9, 9], [2, 2, 7, 7]]
    assert annotations.boxes.tolist() == [[0, 0, 9, 9], whole]  # cat is a false alarm, fox is missed
