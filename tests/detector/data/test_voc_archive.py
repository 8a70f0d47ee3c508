import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from detector.data import VOC_CLASSES, VOCDataset
from detector.data.faults import FaultyDataError
from detector.data.ground_truth import GroundTruth
from detector.data.voc import read_voc
from detector.errors import InputError

MakeVOC = Callable[..., Path]


@pytest.fixture
def root(make_voc: MakeVOC) -> Path:
    """A devkit folder with the images 000001, 000002 and 2008_000003, split val, and 000001 alone in split one."""
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
    for name in ("image_ids", "class_names", "class_ids", "files"):
        assert getattr(one, name) == getattr(other, name)
    for name in ("images", "labels", "boxes", "difficult", "crowd", "areas", "image_sizes"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


@all_sources
def test_every_source_gives_what_the_data_set_with_photos_gives(root: Path, source: Callable[[Path], Path]) -> None:
    truth = read_voc(source(root), "val")
    assert truth.image_ids == ("2008_000003", "000001", "000002")
    assert truth.boxes.tolist() == [[4, 5, 7, 8], [0, 0, 100, 80], [10, 20.5, 11.25, 40]]
    assert [VOC_CLASSES[label] for label in truth.labels] == ["aeroplane", "dog", "person"]
    check_same(truth, VOCDataset(root, "val").ground_truth())


@all_sources
def test_without_a_split_all_annotations_are_read_by_name(root: Path, source: Callable[[Path], Path]) -> None:
    assert read_voc(source(root)).image_ids == ("000001", "000002", "2008_000003")


@all_sources
def test_a_split_is_a_part(root: Path, source: Callable[[Path], Path]) -> None:
    truth = read_voc(source(root), "one")
    assert (truth.image_ids, len(truth)) == (("000001",), 2)


def test_a_folder_of_xml_files_alone(root: Path) -> None:
    truth = read_voc(root / "Annotations")
    check_same(truth, read_voc(root))
    shutil.rmtree(root / "JPEGImages")
    shutil.rmtree(root / "ImageSets")
    check_same(truth, read_voc(root))


def test_a_zip_of_xml_files_alone(root: Path, tmp_path: Path) -> None:
    path = zipped(root / "Annotations", tmp_path / "a.zip", inside=".")
    check_same(read_voc(path), read_voc(root))


def test_files_that_macos_adds_are_no_annotations(root: Path) -> None:
    (root / "__MACOSX/Annotations").mkdir(parents=True)
    (root / "__MACOSX/Annotations/._000001.xml").write_bytes(b"\0\5\x16\7")
    (root / "Annotations/._000001.xml").write_bytes(b"\0\5\x16\7")
    assert len(read_voc(root).image_ids) == 3
    assert len(read_voc(zipped(root, root.parent / "a.zip")).image_ids) == 3


@all_sources
def test_all_faults_are_named_by_file_object_and_field(root: Path, source: Callable[[Path], Path]) -> None:
    bad = root / "Annotations/000001.xml"
    bad.write_text(bad.read_text().replace("<xmin>11<", "<xmin>x<").replace(">dog<", ">lynx<"))
    (root / "Annotations/000002.xml").write_text("<annotation>")
    (root / "Annotations/2008_000003.xml").unlink()
    path = source(root)
    with pytest.raises(FaultyDataError) as caught:
        read_voc(path, "val")
    named = []
    for fault in caught.value.faults:
        assert path.is_dir() or fault.file == str(path)
        where = f"{fault.file}, {fault.record}".removesuffix(", ")  # one of them names the file of a fault
        named.append(f"{where[where.index('Annotations/') :]}: {fault.fault}"[:80])
        if path.is_dir():
            assert Path(fault.file).parent == bad.parent
    assert named == [
        "Annotations/2008_000003.xml: no such annotation, but split 'val' lists 2008_0000",
        "Annotations/000001.xml, object 1: unknown class 'lynx', known are aeroplane, bic",
        "Annotations/000001.xml, object 2: field bndbox/xmin is 'x', expected a number",
        "Annotations/000002.xml: is not well-formed XML: no element found: line 1, column",
    ]


@all_sources
def test_an_entity_bomb_is_refused(root: Path, source: Callable[[Path], Path]) -> None:
    bomb = '<!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c "&b;&b;">]><annotation>&c;</annotation>'
    (root / "Annotations/000002.xml").write_text(bomb)
    with pytest.raises(FaultyDataError, match=r"Annotations/000002.xml: has a document type declaration"):
        read_voc(source(root))


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


@all_sources
def test_an_unknown_split_lists_those_there_are(root: Path, source: Callable[[Path], Path]) -> None:
    with pytest.raises(InputError, match="no split test; there are: one, val"):
        read_voc(source(root), "test")


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


def test_torch_is_not_needed() -> None:
    program = "import sys, detector.data.voc; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.skipif("VOC_ROOT" not in os.environ, reason="VOC_ROOT does not name a PASCAL VOC 2007 folder")
def test_the_real_data_set() -> None:
    root = os.environ["VOC_ROOT"]
    check_same(read_voc(root, "train").first(500), VOCDataset(root, "train").first(500).ground_truth())
