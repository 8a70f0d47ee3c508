"""Photos and labels as users have them: every layout gives the same, and what is wrong is named."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detector.data.custom_dataset import CustomDataset, read_custom_dataset
from detector.data.faults import FaultyDataError
from detector.errors import InputError
from detector.training.custom_dataset.split import split_data

SIZE = (100, 80)
OBJECTS: dict[str, list[tuple[str, tuple[int, int, int, int]]]] = {
    "a": [("mug", (10, 10, 60, 50)), ("cup", (0, 0, 20, 20))],
    "b": [("cup", (50, 40, 100, 80))],
    "c": [],
}
NAMES = ("cup", "mug")


def photo(path: Path, size: tuple[int, int] = SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, "gray").save(path)


def xml(path: Path, objects: list[tuple[str, tuple[int, int, int, int]]], size: tuple[int, int] = SIZE) -> None:
    items = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin><xmax>{x2}</xmax>"
        f"<ymax>{y2}</ymax></bndbox></object>"
        for name, (x1, y1, x2, y2) in objects
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"<annotation><size><width>{size[0]}</width><height>{size[1]}</height></size>{items}</annotation>")


def coco(path: Path, objects: dict[str, list[tuple[str, tuple[int, int, int, int]]]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    ids = {image: number for number, image in enumerate(objects)}
    rows = [(ids[image], name, box) for image, found in objects.items() for name, box in found]
    content = {
        "images": [{"id": i, "file_name": f"{name}.jpg", "width": 100, "height": 80} for name, i in ids.items()],
        "categories": [{"id": i, "name": name} for i, name in enumerate(NAMES)],
        "annotations": [
            {"id": i, "image_id": image, "category_id": NAMES.index(name) if name in NAMES else 9,
             "bbox": [x1, y1, x2 - x1, y2 - y1]}
            for i, (image, name, (x1, y1, x2, y2)) in enumerate(rows)
        ],
    }  # fmt: skip
    path.write_text(json.dumps(content))


def flat_voc(root: Path) -> Path:
    for image, objects in OBJECTS.items():
        photo(root / f"{image}.png")
        xml(root / f"{image}.xml", objects)
    return root


def devkit(root: Path) -> Path:
    for image, objects in OBJECTS.items():
        photo(root / f"JPEGImages/{image}.jpg")
        xml(root / f"Annotations/{image}.xml", objects)
    return root


def voc_list(root: Path) -> Path:
    devkit(root)
    photo(root / "JPEGImages/z.jpg")
    xml(root / "Annotations/z.xml", [("tea", (1, 1, 9, 9))])
    lists = root / "ImageSets/Main"
    lists.mkdir(parents=True)
    (lists / "mine.txt").write_text("a\nb\nc\n")
    return lists / "mine.txt"


def coco_folder(root: Path) -> Path:
    for image in OBJECTS:
        photo(root / f"images/{image}.jpg")
    coco(root / "annotations/instances_default.json", OBJECTS)
    return root


def coco_file(root: Path) -> Path:
    return coco_folder(root) / "annotations/instances_default.json"


def coco_download(root: Path) -> Path:
    for image in OBJECTS:
        photo(root / f"train2017/{image}.jpg")
    coco(root / "annotations/instances_train2017.json", OBJECTS)
    return root / "annotations/instances_train2017.json"


def yolo(root: Path) -> Path:
    for image, objects in OBJECTS.items():
        photo(root / f"images/{image}.jpg")
        lines = [
            f"{NAMES.index(name)} {(x1 + x2) / 200} {(y1 + y2) / 160} {(x2 - x1) / 100} {(y2 - y1) / 80}"
            for name, (x1, y1, x2, y2) in objects
        ]
        (root / "labels").mkdir(exist_ok=True)
        (root / f"labels/{image}.txt").write_text("\n".join(lines))
    (root / "data.yaml").write_text("train: images\nval: images\nnames: [cup, mug]\n")
    return root


def seen(data: CustomDataset) -> dict[str, list[tuple[str, tuple[float, ...]]]]:
    return {
        sample.image_path.stem: [
            (data.class_names[label], tuple(box))
            for label, box in zip(sample.annotations.labels, sample.annotations.boxes.round(3).tolist(), strict=True)
        ]
        for sample in data.samples
    }


LAYOUTS = [
    *((make, "voc") for make in (flat_voc, devkit, voc_list)),
    *((make, "coco") for make in (coco_folder, coco_file, coco_download)),
    (yolo, "yolo"),
]


@pytest.mark.parametrize(("make", "layout"), LAYOUTS, ids=lambda one: getattr(one, "__name__", one))
def test_every_layout_is_found_out(tmp_path: Path, make: Callable[[Path], Path], layout: str):
    data = read_custom_dataset(make(tmp_path / "data"))
    assert data.layout == layout
    assert seen(data) == {image: [(n, tuple(map(float, b))) for n, b in found] for image, found in OBJECTS.items()}
    assert data.class_names == NAMES
    assert (data.faults, data.val) == ((), frozenset())
    assert data.class_ids == ((0, 1) if layout == "coco" else ())


@pytest.mark.parametrize("make", [flat_voc, coco_folder, yolo])
def test_some_classes_and_photos_that_cannot_be_used(tmp_path: Path, make: Callable[[Path], Path]):
    root = make(tmp_path / "data")
    data = read_custom_dataset(root, classes=["mug"])
    assert seen(data) == {"a": [("mug", (10.0, 10.0, 60.0, 50.0))], "b": [], "c": []}
    with pytest.raises(InputError, match="class 'tea' is unknown; known are cup, mug"):
        read_custom_dataset(root, classes=["tea"])
    broken = next(root.rglob("b.*g"))
    broken.write_bytes(b"no photo")
    data = read_custom_dataset(root)
    assert set(seen(data)) == {"a", "c"}
    (fault,) = map(str, data.faults)
    assert fault.startswith(f"{broken}: not a photo")


@pytest.mark.parametrize("make", [flat_voc, coco_folder])
def test_a_missing_photo_and_one_of_another_size(tmp_path: Path, make: Callable[[Path], Path]):
    root = make(tmp_path / "data")
    next(root.rglob("b.*g")).unlink()
    photo(next(root.rglob("c.*g")), (50, 50))
    data = read_custom_dataset(root)
    assert set(seen(data)) == {"a"}
    missing, resized = map(str, data.faults)
    assert "b.jpg: no such photo" in missing
    assert "is 50x50 pixels, but its labels say 100x80" in resized


@pytest.mark.parametrize("make", [flat_voc, devkit, coco_folder])
@pytest.mark.parametrize("folder", ["", "deep"])
def test_labels_of_a_heic_photo(tmp_path: Path, make: Callable[[Path], Path], folder: str):
    root = make(tmp_path / "data")
    path = next(root.rglob("b.*g"))
    heic = path.parent / folder / "b.HEIC"
    heic.parent.mkdir(exist_ok=True)
    path.rename(heic)
    (fault,) = map(str, read_custom_dataset(root).faults)
    assert f"{heic} is in HEIC" in fault


def test_heic_photos_that_the_labels_name(tmp_path: Path):
    root = coco_folder(tmp_path / "data")
    (root / "images/b.jpg").rename(root / "images/b.heic")
    (root / "images/b.heic").write_bytes(b"no photo")
    labels = root / "annotations/instances_default.json"
    labels.write_text(labels.read_text().replace("b.jpg", "b.heic"))
    (fault,) = map(str, read_custom_dataset(root).faults)
    assert "b.heic: is in HEIC" in fault


def test_parts_of_the_data_set_are_respected(tmp_path: Path):
    """As Roboflow exports VOC and COCO: a folder for each part."""
    for layout in ("voc", "coco"):
        for part, image in (("train", "a"), ("valid", "b"), ("test", "c")):
            photo(tmp_path / layout / part / f"{image}.jpg")
            if layout == "voc":
                xml(tmp_path / layout / part / f"{image}.xml", OBJECTS["b"])
            else:
                coco(tmp_path / layout / part / "_annotations.coco.json", {image: OBJECTS["b"]})
        data = read_custom_dataset(tmp_path / layout)
        assert [sample.id for sample in data.samples] == ["train/a.jpg", "valid/b.jpg"]
        assert data.val == {"valid/b.jpg"}
        assert data.notes == ()


def test_yolo_holds_back_its_val(tmp_path: Path):
    root = yolo(tmp_path / "data")
    for kind, suffix in (("images", "jpg"), ("labels", "txt")):
        for part, image in (("train", "a"), ("val", "b"), ("train", "c")):
            (root / kind / part).mkdir(exist_ok=True)
            (root / kind / f"{image}.{suffix}").rename(root / kind / part / f"{image}.{suffix}")
    (root / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [cup, mug]\n")
    assert read_custom_dataset(root).val == {"images/val/b.jpg"}
    (root / "data.yaml").write_text("train: images/train\nval: images/gone\nnames: [cup, mug]\n")
    assert read_custom_dataset(root).val == frozenset()


def test_crowds_stay_marked(tmp_path: Path):
    path = coco_file(tmp_path / "data")
    path.write_text(path.read_text().replace('"id": 0, "image_id"', '"iscrowd": 1, "id": 0, "image_id"'))
    samples = read_custom_dataset(path).samples
    assert np.concatenate([sample.annotations.difficult for sample in samples]).tolist() == [True, False, False]


def test_boxes_are_cut_at_the_border_and_refused_far_outside(tmp_path: Path):
    near = {"a": [("cup", (-1, 10, 101, 80))]}
    coco(tmp_path / "coco.json", near | {"b": [("cup", (50, 10, 160, 80))]})
    photo(tmp_path / "a.jpg")
    photo(tmp_path / "b.jpg")
    fault = r"annotations\[1\] \(id 1\): box \(50, 10, 160, 80\) is outside the photo b\.jpg of 100x80"
    with pytest.raises(InputError, match=rf"coco\.json: {fault}"):
        read_custom_dataset(tmp_path)
    coco(tmp_path / "coco.json", near)
    data = read_custom_dataset(tmp_path)
    assert data.samples[0].annotations.boxes.tolist() == [[0, 10, 100, 80]]
    assert len(data.notes) == 1
    assert str(tmp_path / "b.jpg") in data.notes[0]


def test_all_faults_of_all_files_are_named_at_once_with_their_real_paths(tmp_path: Path):
    """What cannot be read, what is no class and what is outside its photo, in several folders of labels."""
    voc = tmp_path / "voc"
    for part, image in (("train", "a"), ("train", "b"), ("valid", "c")):
        photo(voc / part / f"{image}.jpg")
    xml(voc / "train/a.xml", [("cup", (10, 10, 160, 50)), ("tea", (10, 10, 20, 20))])
    (voc / "train/b.xml").write_text("<annotation>")
    xml(voc / "valid/c.xml", [("cup", (9, 10, 9, 20)), ("cup", (1, 1, 9, 9)), ("cup", (10, 10, 60, 150))])
    (voc / "classes.txt").write_text("cup\n")
    flat = flat_voc(tmp_path / "flat")
    xml(flat / "a.xml", [("cup", (10, 10, 160, 50))])
    (flat / "b.xml").write_text("")
    rows = coco_file(tmp_path / "coco")
    content = json.loads(rows.read_text())
    content["annotations"][0]["category_id"] = 9
    content["annotations"][2]["bbox"] = [50, 10, 110, 70]
    rows.write_text(json.dumps(content))
    lines = yolo(tmp_path / "yolo") / "labels"
    (lines / "a.txt").write_text("0 0.5 0.5 0.5 0.5\n2 0.5 0.5 0.5 0.5\n")
    (lines / "c.txt").write_text("0 0.5 0.5 1.5 0.5\n")
    (lines / "z.txt").write_text("")
    for path, expected in (
        (voc, [
            "train/a.xml: object 2: unknown class 'tea', known are cup",
            "train/a.xml: object 1: box (10, 10, 160, 50) is outside the photo a.jpg of 100x80 pixels",
            "train/b.xml: is not well-formed XML",
            "valid/c.xml: object 1: bndbox (10, 11, 9, 20) has no area",
            "valid/c.xml: object 3: box (10, 10, 60, 150) is outside the photo c.jpg of 100x80 pixels",
        ]),
        (flat, ["a.xml: object 1: box (10, 10, 160, 50) is outside", "b.xml: is not well-formed XML"]),
        (tmp_path / "coco", [
            "annotations/instances_default.json: annotations[0] (id 0): field category_id is 9",
            "annotations/instances_default.json: annotations[2] (id 2): box (50, 10, 160, 80) is outside the photo b.",
        ]),
        (tmp_path / "yolo", [
            "labels/a.txt: line 2: field class is 2",
            "labels/c.txt: line 1: box (-0.25, 0.25, 1.25, 0.75) is outside",
            "labels/z.txt: labels without an image",
        ]),
    ):  # fmt: skip
        with pytest.raises(FaultyDataError) as caught:
            read_custom_dataset(path)
        named = str(caught.value).splitlines()
        assert len(named) == len(expected), named
        for line, start in zip(named, expected, strict=True):
            assert line.startswith(f"{path}/{start}")


def bad_flat_voc(root: Path) -> Path:
    flat_voc(root)
    xml(root / "a.xml", [*OBJECTS["a"], ("mug", (9, 10, 9, 20)), ("mug", (10, 10, 160, 50))])
    (root / "c.xml").write_text("<annotation>")
    return root


def bad_coco_folder(root: Path) -> Path:
    coco(coco_folder(root) / "annotations/instances_default.json", {
        **OBJECTS, "a": [*OBJECTS["a"], ("mug", (9, 10, 9, 20)), ("mug", (10, 10, 160, 50))],
    })  # fmt: skip
    return root


def bad_yolo(root: Path) -> Path:
    with (yolo(root) / "labels/a.txt").open("a") as file:
        file.write("\n0 0.5 0.5 0 0.5\n0 0.5 0.5 1.5 0.5\n")
    (root / "labels/c.txt").write_bytes(b"\xff\xfe")
    return root


@pytest.mark.parametrize(("make", "lost"), [(bad_flat_voc, {"c"}), (bad_coco_folder, set()), (bad_yolo, {"c"})])
def test_bad_labels_are_left_out_and_counted_on_demand(tmp_path: Path, make: Callable[[Path], Path], lost: set[str]):
    """A photo whose labels cannot be read is left out with them: it may show objects."""
    root = make(tmp_path / "data")
    with pytest.raises(FaultyDataError) as caught:
        read_custom_dataset(root)
    assert len(caught.value.faults) == 2 + len(lost)
    data = read_custom_dataset(root, skip_bad_labels=True)
    right = {image: [(n, tuple(map(float, b))) for n, b in found] for image, found in OBJECTS.items()}
    assert seen(data) == {image: found for image, found in right.items() if image not in lost}
    counted = [note for note in data.notes if note.startswith(f"{2 + len(lost)} labels")]
    assert len(counted) == 1
    assert str(root) in counted[0]


def test_faulty_categories_cannot_be_skipped(tmp_path: Path):
    path = coco_file(tmp_path)
    path.write_text(path.read_text().replace('"name": "cup"', '"name": ""'))
    with pytest.raises(FaultyDataError, match=r"categories\[0\]"):
        read_custom_dataset(tmp_path, skip_bad_labels=True)


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"


@pytest.mark.parametrize("make", [flat_voc, coco_folder, yolo])
def test_pointers_in_place_of_photos_are_named_as_such(tmp_path: Path, make: Callable[[Path], Path]):
    root = make(tmp_path / "data")
    for number, path in enumerate(sorted(root.rglob("?.*g"))):
        path.write_bytes(POINTER)
        if number == 0:
            first = str(path)
            (fault,) = map(str, read_custom_dataset(root).faults)
            assert fault.startswith(first)
            assert "is a Git LFS pointer" in fault
    with pytest.raises(InputError, match="is a Git LFS pointer") as caught:
        read_custom_dataset(root)
    assert first in str(caught.value)


@pytest.mark.parametrize(
    ("make", "labels"), [(flat_voc, "a.xml"), (coco_file, ""), (yolo, "labels/a.txt"), (yolo, "data.yaml")]
)
def test_pointers_in_place_of_labels_are_named_as_such(tmp_path: Path, make: Callable[[Path], Path], labels: str):
    path = make(tmp_path / "data") / labels
    path.write_bytes(POINTER)
    with pytest.raises(InputError, match=f"^{path}: is a Git LFS pointer"):
        read_custom_dataset(path if path.suffix in (".json", ".yaml") else tmp_path / "data")


def test_unknown_classes_are_named_up_to_a_limit(tmp_path: Path):
    voc = flat_voc(tmp_path / "voc")
    (voc / "classes.txt").write_text("cup\nglass\n")
    with pytest.raises(InputError, match=r"a\.xml: object 1: unknown class 'mug', known are cup, glass"):
        read_custom_dataset(voc)
    coco(tmp_path / "coco.json", {"a": 15 * [("tea", (1, 1, 9, 9))] + 10 * [("cup", (50, 10, 160, 80))]})
    photo(tmp_path / "a.jpg")
    with pytest.raises(FaultyDataError, match=r"category_id is 9, which no record in categories has") as caught:
        read_custom_dataset(tmp_path / "coco.json")
    named = str(caught.value).splitlines()
    assert (len(named), named[-1]) == (21, "... and 5 more")


def test_what_is_no_data_is_refused_in_one_line(tmp_path: Path):
    empty, bare, lone, blank, both = (tmp_path / name for name in ("empty", "bare", "lone", "blank", "both"))
    empty.mkdir()
    photo(bare / "a.jpg")
    xml(lone / "a.xml", OBJECTS["a"])
    photo(blank / "a.jpg")
    xml(blank / "a.xml", [])
    flat_voc(both)
    coco(both / "labels.json", OBJECTS)
    (tmp_path / "a.csv").write_text("")
    for path, message in (
        (tmp_path / "none", "no such file or folder"),
        (empty, "holds no photos"),
        (bare, r"holds photos, but no labels of VOC \(\.xml\), COCO"),
        (lone, "the first: a.jpg: no such photo"),
        (blank, "no labeled object"),
        (both, "labels of several layouts, voc, coco; name one with --layout"),
        (tmp_path / "a.csv", "give a folder, COCO's JSON"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            read_custom_dataset(path)
        assert "\n" not in str(caught.value)
    (bare / "a.txt").write_text("0 0.5 0.5 0.5 0.5")
    with pytest.raises(InputError, match=r"add a data\.yaml"):
        read_custom_dataset(bare)
    assert read_custom_dataset(both, "voc").layout == "voc"


def test_two_files_of_coco_are_not_guessed_between(tmp_path: Path):
    for name in ("one", "two"):
        coco(tmp_path / f"{name}.json", OBJECTS)
    photo(tmp_path / "a.jpg")
    with pytest.raises(InputError, match=r"one\.json and .*two\.json may both be the labels"):
        read_custom_dataset(tmp_path)


def test_a_list_of_classes(tmp_path: Path):
    path = flat_voc(tmp_path)
    (path / "classes.txt").write_text("mug\ncup\n\ntea\n", encoding="utf-8-sig")
    assert read_custom_dataset(path).class_names == ("mug", "cup", "tea")
    (path / "classes.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"classes\.txt: is not UTF-8 text"):
        read_custom_dataset(path)


def test_cocos_category_ids_are_kept(tmp_path: Path):
    for part in ("train", "val"):
        coco(tmp_path / f"{part}/labels.json", OBJECTS)
        for image in OBJECTS:
            photo(tmp_path / f"{part}/{image}.jpg")
    data = read_custom_dataset(tmp_path)
    assert (data.class_names, data.class_ids) == (NAMES, (0, 1))
    assert data.of_classes(["mug"]).class_ids == (1,)
    assert split_data(data).train.class_ids == split_data(data).val.class_ids == (0, 1)
    content = json.loads((tmp_path / "val/labels.json").read_text())
    content["categories"].append({"id": 2, "name": "tea"})
    (tmp_path / "val/labels.json").write_text(json.dumps(content))
    assert read_custom_dataset(tmp_path).class_ids == (0, 1, 2), "the parts complete each other"
    content["categories"] = [{"id": 0, "name": "mug"}, {"id": 1, "name": "cup"}]
    (tmp_path / "val/labels.json").write_text(json.dumps(content))
    data = read_custom_dataset(tmp_path)
    assert data.class_ids == ()
    assert "different category ids" in data.notes[-1]
