from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detector.data.faults import Faults, FaultyDataError
from detector.data.yolo import read_yolo
from detector.errors import InputError

YAML = "path: .\ntrain: images/train\nval: images/val\nnames:\n  0: cat\n  1: dog\n"


def add_image(root: Path, name: str, size: tuple[int, int] = (200, 100), labels: str | None = None) -> Path:
    """Adds `images/<name>` and, if there are labels, their file."""
    path = root / "images" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, "gray").save(path)
    if labels is not None:
        label_file = (root / "labels" / name).with_suffix(".txt")
        label_file.parent.mkdir(parents=True, exist_ok=True)
        label_file.write_text(labels)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    add_image(root, "val/b.jpg", labels="1 0.5 0.5 0.5 0.4\n\n0 0.25 0.5 0.5 1\n")
    add_image(root, "val/a.png", (64, 32))
    add_image(root, "train/c.jpg", labels="0 0.5 0.5 1 1\n")
    (root / "data.yaml").write_text(YAML)
    return root


def faults_of(root: Path, split: str = "val") -> list[str]:
    with pytest.raises(FaultyDataError) as caught:
        read_yolo(root / "data.yaml", split)
    return [f"{Path(one.file).name}: {one.record}: {one.fault}" for one in caught.value.faults]


def test_every_column(root: Path) -> None:
    truth = read_yolo(root / "data.yaml", "val")
    assert truth.image_ids == ("a", "b")
    assert truth.files == ("images/val/a.png", "images/val/b.jpg")
    assert truth.image_sizes.tolist() == [[64, 32], [200, 100]]
    assert truth.class_names == ("cat", "dog")
    assert (truth.images.tolist(), truth.labels.tolist()) == ([1, 1], [1, 0])
    np.testing.assert_allclose(truth.boxes, [[50, 30, 150, 70], [0, 0, 100, 100]], rtol=1e-12)
    assert not truth.crowd.any()
    assert not truth.difficult.any()


def test_a_photo_that_lies_on_its_side_is_measured_upright(root: Path) -> None:
    path = add_image(root, "val/a.jpg", (200, 100), labels="0 0.5 0.5 1 1")
    (root / "images/val/a.png").unlink()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (200, 100)).save(path, exif=exif)
    truth = read_yolo(root / "data.yaml", "val")
    assert truth.image_sizes[0].tolist() == [100, 200]
    assert truth.boxes[0].tolist() == [0, 0, 100, 200]


def test_a_width_is_kept_as_the_file_gives_it(root: Path) -> None:
    add_image(root, "val/a.png", (640, 320), labels="0 0.3141 0.271 0.05 0.1\n0 0.9805 0.5 0.04 0.1\n")
    truth = read_yolo(root / "data.yaml", "val").of_images([0])
    assert truth.sides[0].tolist() == [32, 32]
    assert truth.areas[0] == 32**2
    np.testing.assert_allclose(truth.sides[1], [25.28, 32])  # cut at the border of the image


@pytest.mark.parametrize(
    ("line", "box"),
    [
        ("0 0.1 0.2 0.5 0.1 0.3 0.8", (20, 10, 100, 80)),
        ("0 0.1 0.2 0.5 0.2 0.5 0.8 0.1 0.8", (20, 20, 100, 80)),
        ("0.0 5e-1 .5 1.0 1", (0, 0, 200, 100)),
        ("1 0.5005 0.5 1 1", (0.1, 0, 200, 100)),
        ("1 0.333333 0.666667 0.333333 0.666667", (33.3333, 33.3333, 100, 100)),
    ],
)
def test_lines(root: Path, line: str, box: tuple[float, ...]) -> None:
    (root / "labels/val/b.txt").write_text(line)
    truth = read_yolo(root / "data.yaml", "val")
    np.testing.assert_allclose(truth.boxes, [box], atol=2e-4)
    assert (truth.boxes >= 0).all()
    assert (truth.boxes <= (200, 100, 200, 100)).all()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.5 0.5 0.5", "has 4 fields, expected 5, or 7 and more of an outline"),
        ("0 0.5 0.5 0.5 0.5 0.9", "has 6 fields, expected 5, or 7 and more of an outline; the sixth of a detection is"),
        ("0 0.1 0.2 0.5 0.1 0.3 0.8 0.4", "has 8 fields"),
        ("2 0.5 0.5 0.5 0.5", "field class is 2, expected a whole number in 0..1"),
        ("-1 0.5 0.5 0.5 0.5", "field class is -1, expected"),
        ("0.5 0.5 0.5 0.5 0.5", "field class is 0.5, expected"),
        ("cat 0.5 0.5 0.5 0.5", "field class is 'cat', expected a number"),
        ("0 x 0.5 0.5 0.5", "field cx is 'x', expected a number"),
        ("0 0.5 nan 0.5 0.5", "field cy is 'nan', expected a number"),
        ("0 0.1 0.2 0.5 inf 0.3 0.8", "field 5 is 'inf', expected a number"),
        ("0 0.5 0.5 0 0.5", "fields w h are 0 0.5, expected numbers above 0"),
        ("0 0.5 0.5 0.5 -0.1", "fields w h are 0.5 -0.1, expected numbers above 0"),
        ("0 100 50 20 20", "box (90, 40, 110, 60) is outside the image"),
        ("0 0.502 0.5 1 1", "box (0.002, 0, 1.002, 1) is outside the image"),
        ("0 1.0005 0.5 0.001 1", "box (1, 0, 1, 1) has no area"),
        ("0 0.1 0.2 0.1 0.1 0.1 0.8", "box (0.1, 0.1, 0.1, 0.8) has no area"),
    ],
)
def test_a_wrong_line_names_file_line_and_field(root: Path, line: str, message: str) -> None:
    (root / "labels/val/b.txt").write_text(f"0 0.5 0.5 1 1\n\n{line}\n")
    faults = faults_of(root)
    assert len(faults) == 1
    assert faults[0].startswith(f"b.txt: line 3: {message}")


def test_all_faults_are_named(root: Path) -> None:
    add_image(root, "val/a.png", labels="0 0.5 0.5 0 1\n7 0.5 0.5 1 1\n")
    (root / "labels/val/b.txt").write_bytes(b"\xff\xfe0")
    add_image(root, "val/d.png", labels="0")
    (root / "images/val/d.png").write_text("no image")
    assert [fault.split(";")[0].split(",")[0] for fault in faults_of(root)] == [
        "d.png: : not a photo in a known format",
        "a.txt: line 1: fields w h are 0 1",
        "a.txt: line 2: field class is 7",
        "b.txt: : cannot be read as labels: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte",
    ]


def test_a_line_that_is_there_twice_counts_once(root: Path) -> None:
    (root / "labels/val/b.txt").write_text("0 0.5 0.5 1 1\n1 0.5 0.5 1 1\n0 0.50 0.5 1 1.0\n")
    faults = Faults()
    assert read_yolo(root / "data.yaml", "val", faults).labels.tolist() == [0, 1]
    assert faults.notes == [f"{root}/data.yaml: 1 repeated labels of val count once"]


def test_keypoints_are_left_out(root: Path) -> None:
    (root / "data.yaml").write_text(YAML + "kpt_shape: [2, 2]\n")
    (root / "labels/val/b.txt").write_text("0 0.5 0.5 0.5 0.5 0.9 0.9 0.1 0.1\n")
    np.testing.assert_allclose(read_yolo(root / "data.yaml", "val").boxes, [[50, 25, 150, 75]])
    (root / "labels/val/b.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    assert faults_of(root) == ["b.txt: line 1: has 5 fields, expected 5 and 4 of keypoints"]


def test_labels_without_images_and_images_without_any_labels_are_faults(root: Path) -> None:
    (root / "labels/val/c.txt").write_text("0 0.5 0.5 1 1\n")
    (root / "labels/val/classes.txt").write_text("cat\ndog\n")
    assert faults_of(root) == [f"c.txt: : labels without an image of that name in {root}/images/val"]
    (root / "images/val/c.HEIC").write_bytes(b"no photo")
    (fault,) = faults_of(root)
    assert fault.startswith(f"c.txt: : its photo {root}/images/val/c.HEIC is in HEIC")
    (root / "labels").rename(root / "Labels")
    assert faults_of(root) == ["a.txt: : no such labels, nor those of any other image of the split val"]


def test_a_list_of_images_keeps_its_order(root: Path) -> None:
    outside = root.parent / "more"
    add_image(outside, "d.jpg", (10, 10), labels="0 0.5 0.5 1 1")
    (root / "val.txt").write_text(f"./images/val/b.jpg\n\nimages/train/c.jpg\n{outside}/images/d.jpg\n")
    (root / "data.yaml").write_text(YAML.replace("images/val", "val.txt"))
    truth = read_yolo(root / "data.yaml", "val")
    assert truth.files == ("images/val/b.jpg", "images/train/c.jpg", "../more/images/d.jpg")
    assert truth.images.tolist() == [0, 0, 1, 2]


def test_a_list_with_wrong_images(root: Path) -> None:
    name = "x" * 5000  # too long for a file
    (root / "val.txt").write_text(f"images/val/b.jpg\nimages/val/none.jpg\nimages/val/b.jpg\nimages/{name}.jpg")
    (root / "data.yaml").write_text(YAML.replace("images/val", f"[val.txt, images/none, {name}]"))
    assert faults_of(root) == [
        f"val.txt: line 2: no such image {root}/images/val/none.jpg",
        f"val.txt: line 3: lists {root}/images/val/b.jpg again",
        f"val.txt: line 4: no such image {root}/images/{name}.jpg",
        f"data.yaml: key val: {root}/images/none is neither a folder of images nor a .txt list of them",
        f"data.yaml: key val: {root}/{name} is neither a folder of images nor a .txt list of them",
    ]


def test_several_folders_whose_images_share_a_name(root: Path) -> None:
    add_image(root, "train/b.jpg", (30, 30))
    (root / "data.yaml").write_text(YAML.replace("val: images/val", "val: [images/val, images/train]"))
    truth = read_yolo(root / "data.yaml", "val")
    assert truth.files == ("images/val/a.png", "images/val/b.jpg", "images/train/b.jpg", "images/train/c.jpg")
    assert truth.image_ids == truth.files
    assert truth.images.tolist() == [1, 1, 3]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (YAML.replace("val: ", "test: "), "key val is missing, .* there are: train, test"),
        *((YAML.replace("images/val", value), r"\$\.val") for value in ("3", "[]", "['']")),
        (YAML.replace("path: .", "path: none"), "key path leads to .*none, which is not a folder"),
        (YAML.replace("path: .", "path: 5"), r"\$\.path"),
        (YAML.replace("  0: cat\n  1: dog\n", " 5\n"), r"\$\.names"),
        (YAML.replace("  1:", "  2:"), r"key names has the numbers \[0, 2\]"),
        (YAML.replace("  0:", "  '0':"), r"\$\.names"),
        (YAML.replace("dog", "no"), r"\$\.names.*in quotes"),
        (YAML.replace("dog", "cat"), "key names, 1: is 'cat', as is 0"),
        (YAML + "nc: 80\n", "key nc is 80, but there are 2 names"),
        (YAML + "kpt_shape: 17\n", r"\$\.kpt_shape"),
        ("a: [", "while parsing"),
        ("!!python/object/apply:os.system ['false']", "could not determine a constructor"),
        *((text, "Expected `object`") for text in ("- a\n", "")),
        (YAML.replace("images/val", "labels"), "key val leads to no images"),
    ],
)
def test_a_wrong_description(root: Path, text: str, message: str) -> None:
    (root / "data.yaml").write_text(text)
    with pytest.raises(InputError, match=f"^{root}/data.yaml: .*{message}[^\n]*$"):
        read_yolo(root / "data.yaml", "val")


def test_what_data_yaml_may_say(root: Path) -> None:
    (root / "data.yaml").write_text("val: ../images/val\nnames: [0, dog]\nnc: 2\n")  # as Roboflow writes paths
    truth = read_yolo(root / "data.yaml", "val")
    assert (truth.class_names, len(truth)) == (("0", "dog"), 2)
    with pytest.raises(InputError, match=r"none.yaml: cannot be read: No such file"):
        read_yolo(root / "none.yaml", "val")
