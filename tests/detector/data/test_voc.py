"""Data sets in VOC's layout, and the same annotations from folders and archives."""

import os
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.data import VOC_CLASSES, VOCDataset
from detector.data.faults import Faults, FaultyDataError
from detector.data.ground_truth import GroundTruth
from detector.data.voc import read_voc
from detector.data.voc_xml import parse_annotation, parse_xml
from detector.errors import InputError

MakeVOC = Callable[..., Path]

BODY = "<size><width>100</width><height>80</height></size>"
BOX = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
BOMB = b"""<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "lol">
<!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">
<!ENTITY d "&c;&c;&c;&c;&c;&c;&c;&c;&c;&c;"><!ENTITY e "&d;&d;&d;&d;&d;&d;&d;&d;&d;&d;">]>
<annotation>&e;&e;&e;&e;&e;&e;&e;&e;&e;&e;</annotation>"""


@pytest.fixture
def root(make_voc: MakeVOC) -> Path:
    """A devkit folder with split val, and 000001 alone in split one."""
    made = make_voc(
        {
            "2008_000003": [("aeroplane", (5, 6, 7, 8), 0)],
            "000001": [("dog", (1, 1, 100, 80), 0), ("person", (11, 21.5, 11.25, 40), 1)],
            "000002": [],
        }
    )
    (made / "ImageSets/Main/one.txt").write_text("000001\n")
    (made / "ImageSets/Layout").mkdir()
    (made / "ImageSets/Layout/val.txt").write_text("elsewhere\n")
    return made


def check_error(path: Path | str, message: str, call: Callable[[], object]) -> None:
    with pytest.raises(InputError) as caught:
        call()
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert message in text
    assert "\n" not in text


# The data set


def test_samples_in_the_order_of_the_split(root: Path) -> None:
    dataset = VOCDataset(root, "val")
    assert [sample.id for sample in dataset] == ["2008_000003", "000001", "000002"]
    sample = dataset[1]
    assert sample.image_path == root / "JPEGImages/000001.jpg"
    assert sample.annotations.boxes.tolist() == [[0, 0, 100, 80], [10, 20.5, 11.25, 40]]
    assert [VOC_CLASSES[label] for label in sample.annotations.labels] == ["dog", "person"]
    assert sample.annotations.difficult.tolist() == [False, True]
    assert sample.annotations.image_size == (100, 80)
    assert len(dataset[-1].annotations) == 0
    with pytest.raises(IndexError):
        dataset[3]


def test_the_packages_lists_serve_data_without_a_list_of_that_name(root: Path) -> None:
    assert len(VOCDataset(root, "val500")) == 500
    assert len(VOCDataset(root, "train4508")) == 4508
    assert not {*VOCDataset(root, "val500").ids} & {*VOCDataset(root, "train4508").ids}
    (root / "ImageSets/Main/val500.txt").write_text("000001\n")
    assert VOCDataset(root, "val500").ids == ("000001",)


def test_first_takes_the_first_images(root: Path) -> None:
    dataset = VOCDataset(root, "val")
    assert dataset.first(2).ids == ("2008_000003", "000001")
    assert len(dataset.first(10)) == len(dataset) == 3
    with pytest.raises(InputError, match="at least 1"):
        dataset.first(0)


def test_annotations_are_read_lazily(root: Path) -> None:
    (root / "Annotations/000001.xml").unlink()
    assert VOCDataset(root, "val")[2].id == "000002"


def test_own_classes(root: Path) -> None:
    assert VOCDataset(root, "val", ("person", "dog", "aeroplane"))[1].annotations.labels.tolist() == [1, 0]
    names = ("person", "cat")
    message = "object 1: unknown class 'dog', known are person, cat"
    check_error(root / "Annotations/000001.xml", message, lambda: VOCDataset(root, "val", names)[1])
    ignored = VOCDataset(root, "val", names, ignore_other_classes=True)[1].annotations
    assert (ignored.labels.tolist(), ignored.boxes.tolist()) == ([0], [[10, 20.5, 11.25, 40]])
    with pytest.raises(InputError, match="class names: 'cat' is repeated"):
        VOCDataset(root, "val", ("cat", "cat"))


@pytest.mark.parametrize("suffix", [".jpeg", ".png", ".JPG"])
def test_other_image_suffixes(make_voc: MakeVOC, suffix: str) -> None:
    root = make_voc({"photo.1": [], "photo.2": []})  # an id may hold a dot
    path = root / f"JPEGImages/photo.2{suffix}"
    (root / "JPEGImages/photo.2.jpg").rename(path)
    dataset = VOCDataset(root, "val")
    assert dataset[1].image_path == path
    assert dataset.ground_truth().files == ("photo.1.jpg", path.name)


@pytest.mark.parametrize(
    ("given_box", "expected"),
    [
        ((0, 0, 50, 40), (0, 0, 50, 40)),
        ((11, 21, 101, 81), (10, 20, 100, 80)),
        ((45.5, 3.25, 60.75, 70.0), (44.5, 2.25, 60.75, 70.0)),
        ((7, 8, 7, 8), (6, 7, 7, 8)),
    ],
)
def test_a_pixel_outside_is_clipped(make_voc: MakeVOC, given_box: tuple, expected: tuple) -> None:
    dataset = VOCDataset(make_voc({"a": [("cat", given_box, 0)]}), "val")
    assert dataset[0].annotations.boxes.tolist() == [list(expected)]


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ((-1, 1, 5, 5), "bndbox (-1, 1, 5, 5): xmin is outside the image of 100 x 80 pixels"),
        ((1, 1, 102, 5), "xmax is outside"),
        ((1, -3, 5, 5), "ymin is outside"),
        ((1, 1, 5, 82), "ymax is outside"),
        ((9, 1, 5, 5), "bndbox (9, 1, 5, 5) has no area"),
        ((1, 7, 5, 6), "has no area"),
        (("x", 1, 5, 5), "field bndbox/xmin is 'x', expected a number"),
        ((1, 1, "1e200", 5), "field bndbox/xmax is '1e200', expected a number"),
        ((1, 1, "nan", 5), "field bndbox/xmax is 'nan', expected a number"),
        ((1, "", 5, 5), "field bndbox/ymin is missing"),
    ],
)
def test_a_wrong_box_names_file_object_and_field(make_voc: MakeVOC, box: tuple, message: str) -> None:
    root = make_voc({"a": [("cat", (1, 1, 5, 5), 0), ("cat", box, 0)]})
    check_error(f"{root / 'Annotations/a.xml'}: object 2", message, lambda: VOCDataset(root, "val")[0])


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        ("", "is not well-formed XML: no element found"),
        ("<annotation></size></annotation>", "is not well-formed XML: mismatched tag"),
        ('<?xml version="1.0" encoding="nonsense"?><annotation/>', "is not well-formed XML: unknown encoding"),
        ("<html/>", "the root element is <html>, expected <annotation>"),
        ("<annotation/>", "field size/width is missing"),
        *(
            (
                f"<annotation>{BODY.replace('80', value)}</annotation>",
                f"field size/height is {float(value):g}, expected",
            )
            for value in ("0", "-1", "9e99", "8.5")
        ),
        (f"<annotation>{BODY}<object>{BOX}</object></annotation>", "object 1: field name is missing"),
        (f"<annotation>{BODY}<object><name>cat</name></object></annotation>", "field bndbox/xmin is missing"),
        (
            f"<annotation>{BODY}<object><name>cat</name>{BOX}<difficult>yes</difficult></object></annotation>",
            "object 1: field difficult is 'yes', expected 0 or 1",
        ),
    ],
)
def test_wrong_annotations(root: Path, xml: str, message: str) -> None:
    path = root / "Annotations/000002.xml"
    path.write_text(xml)
    check_error(path, message, lambda: VOCDataset(root, "val")[2])


def test_difficult_may_be_left_out_and_parts_are_no_objects(root: Path) -> None:
    part = f"<part><name>head</name>{BOX}</part>"
    (root / "Annotations/000002.xml").write_text(
        f"<annotation>{BODY}<object>{part}<name> cat </name>{BOX}</object></annotation>"
    )
    annotations = VOCDataset(root, "val")[2].annotations
    assert annotations.difficult.tolist() == [False]
    assert [VOC_CLASSES[label] for label in annotations.labels] == ["cat"]


def test_missing_and_unreadable_files(root: Path) -> None:
    photo, annotation = root / "JPEGImages/000002.jpg", root / "Annotations/000002.xml"
    dataset = VOCDataset(root, "val")
    photo.unlink()
    check_error(photo, "no such image, but split 'val' lists 000002", lambda: dataset[2])
    assert len(dataset.annotations(2)) == 0
    annotation.unlink()
    check_error(annotation, "no such annotation", lambda: dataset.annotations(2))
    annotation.mkdir()
    check_error(annotation, "cannot be read: ", lambda: dataset.annotations(2))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "lists no image"),
        (b"\n \n", "lists no image"),
        (b"000001\n000002\n\n000001\n", "line 4 lists 000001 again, first on line 1"),
        (b"000001 -1\n", "line 1 has 2 fields; a split has one image id a line"),
        (b"000001\na\0\n", "line 2: 'a\\x00'"),
        (b"\xff\xfe\x00", "cannot be read as a list of image ids"),
        *(
            (f"a\n{name}\n".encode(), f"line 2: '{name}' points outside the data set")
            for name in ("../../x", "/etc/passwd", "a/../../x")
        ),
    ],
)
def test_wrong_split(root: Path, content: bytes, message: str) -> None:
    path = root / "ImageSets/Main/val.txt"
    path.write_bytes(content)
    check_error(path, message, lambda: VOCDataset(root, "val"))


def test_blank_lines_windows_line_ends_and_a_name_that_is_too_long(root: Path) -> None:
    (root / "ImageSets/Main/val.txt").write_bytes(b"000001\r\n\r\n000002 \r\n" + b"x" * 5000)
    dataset = VOCDataset(root, "val")
    assert dataset.ids == ("000001", "000002", "x" * 5000)
    with pytest.raises(InputError, match=r"x\.jpg: no such image, but split 'val' lists x"):
        dataset.image_path(2)


def test_wrong_root(root: Path) -> None:
    with pytest.raises(InputError, match="none: holds no folder JPEGImages"):
        VOCDataset(root / "none", "val")
    check_error(
        root.parent, f"give the folder that holds JPEGImages; {root} holds it", lambda: VOCDataset(root.parent, "val")
    )


@pytest.mark.skipif("VOC_ROOT" not in os.environ, reason="VOC_ROOT does not name a PASCAL VOC 2007 folder")
def test_the_real_data_set() -> None:
    truth = VOCDataset(os.environ["VOC_ROOT"], "trainval").ground_truth()
    # The published figures are 15,662 objects and 12,608 that are not difficult; copies of the data set exist
    # that lack a few of the 5,011 images.
    assert 5000 < len(truth.image_ids) <= 5011
    assert 15_600 < len(truth) <= 15_662
    assert 12_550 < (~truth.difficult).sum() <= 12_608


# XML


@pytest.mark.parametrize(
    "xml",
    [
        BOMB,
        b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/hostname">]><annotation>&b;</annotation>',
        b'<!DOCTYPE a SYSTEM "http://127.0.0.1/a.dtd"><annotation/>',
        b'<!DOCTYPE a [<!ENTITY % p SYSTEM "file:///etc/hostname"> %p;]><annotation/>',
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_entities_are_refused(xml: bytes, encoding: str) -> None:
    with pytest.raises(InputError, match="has a document type declaration"):
        parse_xml(xml.decode().encode(encoding))


def annotation(*boxes: tuple[int, ...]) -> bytes:
    tags = ("xmin", "ymin", "xmax", "ymax")
    sides = ("".join(f"<{tag}>{side}</{tag}>" for tag, side in zip(tags, box, strict=True)) for box in boxes)
    items = "".join(f"<object><name>cat</name><bndbox>{box}</bndbox></object>" for box in sides)
    return f"<annotation>{BODY}{items}</annotation>".encode()


@given(st.integers(0, 200))
def test_a_truncated_annotation_is_never_read_in_part(end: int) -> None:
    content = annotation((1, 1, 5, 5), (1, 1, 5, 5))
    with pytest.raises(InputError, match="is not well-formed XML: "):
        parse_xml(content[: min(end, len(content) - 1)])


@given(*[st.integers(1, 80)] * 4)
def test_a_box_has_the_pixels_that_both_ends_include(x1: int, y1: int, x2: int, y2: int) -> None:
    (xmin, xmax), (ymin, ymax) = sorted((x1, x2)), sorted((y1, y2))
    _, (found,) = parse_annotation(annotation((xmin, ymin, xmax, ymax)), "a.xml", {"cat": 0}, Faults())
    left, top, right, bottom = found.box
    assert right - left == len(range(xmin, xmax + 1))
    assert bottom - top == len(range(ymin, ymax + 1))
    assert (left, top) == (xmin - 1, ymin - 1)


# Annotations alone, in folders and archives


def zipped(folder: Path, path: Path, *, inside: str = "VOCdevkit/VOC2007") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, f"{inside}/{file.relative_to(folder)}")
    return path


def tarred(folder: Path, path: Path) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, "./VOC2007")
    return path


SOURCES = {
    "devkit": lambda root: root,
    "folder above": lambda root: root.parent,
    "zip": lambda root: zipped(root, root.parent / "a.zip"),
    "flat zip": lambda root: zipped(root, root.parent / "a.zip", inside="."),
    "tar": lambda root: tarred(root, root.parent / "a.tar.gz"),
}
all_sources = pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)


def check_same(one: GroundTruth, other: GroundTruth) -> None:
    for name in ("image_ids", "class_names", "files", "images", "labels", "boxes", "difficult", "image_sizes"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


@all_sources
def test_every_source_gives_what_the_data_set_gives(root: Path, source: Callable[[Path], Path]) -> None:
    path = source(root)
    truth = read_voc(path, "val")
    assert truth.image_ids == ("2008_000003", "000001", "000002")
    assert truth.boxes.tolist() == [[4, 5, 7, 8], [0, 0, 100, 80], [10, 20.5, 11.25, 40]]
    check_same(truth, VOCDataset(root, "val").ground_truth())
    assert read_voc(path).image_ids == ("000001", "000002", "2008_000003")
    one = read_voc(path, "one")
    assert (one.image_ids, len(one)) == (("000001",), 2)
    with pytest.raises(InputError, match="no split test; there are: one, val"):
        read_voc(path, "test")


def test_xml_files_alone(root: Path, tmp_path: Path) -> None:
    truth = read_voc(root)
    check_same(read_voc(root / "Annotations"), truth)
    check_same(read_voc(zipped(root / "Annotations", tmp_path / "a.zip", inside=".")), truth)
    shutil.rmtree(root / "JPEGImages")
    shutil.rmtree(root / "ImageSets")
    check_same(read_voc(root), truth)


def test_files_that_macos_adds_are_no_annotations(root: Path) -> None:
    (root / "__MACOSX/Annotations").mkdir(parents=True)
    for folder in ("__MACOSX/Annotations", "Annotations"):
        (root / folder / "._000001.xml").write_bytes(b"\0\5\x16\7")
    assert len(read_voc(root).image_ids) == 3
    assert len(read_voc(zipped(root, root.parent / "a.zip")).image_ids) == 3


@all_sources
def test_all_faults_are_named_by_file_object_and_field(root: Path, source: Callable[[Path], Path]) -> None:
    bad = root / "Annotations/000001.xml"
    bad.write_text(bad.read_text().replace("<xmin>11<", "<xmin>x<").replace(">dog<", ">lynx<"))
    (root / "Annotations/000002.xml").write_bytes(BOMB)
    (root / "Annotations/2008_000003.xml").unlink()
    path = source(root)
    with pytest.raises(FaultyDataError) as caught:
        read_voc(path, "val")
    assert all(fault.file.startswith(str(path)) for fault in caught.value.faults)
    assert [(Path(fault.file).name, fault.record, fault.fault[:34]) for fault in caught.value.faults] == [
        ("2008_000003.xml", "", "no such annotation, but the list o"),
        ("000001.xml", "object 1", "unknown class 'lynx', known are ae"),
        ("000001.xml", "object 2", "field bndbox/xmin is 'x', expected"),
        ("000002.xml", "", "has a document type declaration (<"),
    ]


def test_a_hostile_archive_is_refused(root: Path, tmp_path: Path) -> None:
    path = zipped(root, tmp_path / "a.zip", inside="..")
    with pytest.raises(InputError, match=r"a.zip: member '\.\./Annotations.*' points outside the archive"):
        read_voc(path)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["VOC", "a.zip"]


def test_other_classes_are_left_out_only_on_demand(root: Path) -> None:
    with pytest.raises(FaultyDataError, match="object 1: unknown class 'aeroplane', known are dog"):
        read_voc(root, "val", ["dog"])
    truth = read_voc(root, "val", ["dog"], ignore_other_classes=True)
    assert (truth.labels.tolist(), truth.images.tolist(), truth.class_names) == ([0], [1], ("dog",))


def test_several_data_sets_are_not_mixed(root: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for year in ("VOC2007", "VOC2012"):
            archive.write(root / "Annotations/000001.xml", f"{year}/Annotations/000001.xml")
    shutil.copytree(root, root.parent / "VOC2")
    for path in (tmp_path / "a.zip", tmp_path):
        with pytest.raises(InputError, match=r"holds several folders of annotations, .*VOC.*, .*VOC.*; give one"):
            read_voc(path)


def test_wrong_paths(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("readme.md", "x")
    for name, message in {
        "none": "no such file or folder",
        "a.txt": "is neither a zip nor a tar",
        "empty": "holds no annotation",
        "a.zip": "holds no annotation",
    }.items():
        with pytest.raises(InputError, match=f"{name}: {message}"):
            read_voc(tmp_path / name)
