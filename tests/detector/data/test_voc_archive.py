"""VOC's annotations from folders and archives, trusted and not."""

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from detector.data import VOCDataset
from detector.data.faults import FaultyDataError
from detector.data.voc_archive import read_voc
from detector.errors import InputError

NAMES = ("cat", "dog")
GOOD = (
    "<annotation><size><width>100</width><height>80</height></size><object><name>cat</name><bndbox><xmin>1</xmin>"
    "<ymin>1</ymin><xmax>50</xmax><ymax>40</ymax></bndbox></object></annotation>"
)


@pytest.fixture
def root(make_voc: Callable[..., Path]) -> Path:
    return make_voc({"b": [("cat", (1, 1, 50, 40), 0)], "a": [("dog", (1, 1, 20, 20), 1), ("cat", (2, 2, 9, 9), 0)]})


def zipped(path: Path, files: dict[str, str | bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def packed(root: Path, kind: str, path: Path) -> Path:
    files = [file for file in sorted(root.rglob("*")) if file.is_file()]
    inside = {f"VOCdevkit/VOC2007/{file.relative_to(root).as_posix()}": file.read_bytes() for file in files}
    if kind == ".zip":
        return zipped(path.with_suffix(kind), inside)
    target = path.with_name(path.name + kind)
    with tarfile.open(target, "w:gz" if kind.endswith("gz") else "w") as archive:
        for name, content in inside.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return target


@pytest.mark.parametrize("kind", ["folder", ".zip", ".tar", ".tar.gz", ".tgz"])
def test_an_archive_is_what_the_folder_is(root: Path, tmp_path: Path, kind: str) -> None:
    path = root if kind == "folder" else packed(root, kind, tmp_path / "devkit")
    truth, expected = read_voc(path, "val", NAMES), VOCDataset(root, "val", NAMES).ground_truth()
    assert truth.image_ids == expected.image_ids == ("b", "a")
    for column in ("images", "labels", "boxes", "difficult", "image_sizes"):
        np.testing.assert_array_equal(getattr(truth, column), getattr(expected, column))
    assert read_voc(path, class_names=NAMES).image_ids == ("a", "b")  # without a split all of them, sorted


def test_a_folder_of_annotations_alone(root: Path) -> None:
    truth = read_voc(root / "Annotations", class_names=NAMES)
    assert truth.image_ids == ("a", "b")
    assert truth.files == ("a.jpg", "b.jpg")
    cats = read_voc(root / "Annotations", class_names=("cat",), ignore_other_classes=True)
    assert len(cats) == 2


def test_all_wrong_annotations_are_named(root: Path) -> None:
    (root / "Annotations/a.xml").write_text("<annotation><size>")
    (root / "ImageSets/Main/val.txt").write_text("b\na\nc\n")
    with pytest.raises(FaultyDataError) as caught:
        read_voc(root, "val", ("dog",))
    first, second, third = str(caught.value).splitlines()
    assert first == f"{root}: Annotations/b.xml: object 1: unknown class 'cat', known are dog"
    assert second.startswith(f"{root}: Annotations/a.xml: is not well-formed XML")
    assert third == f"{root}: c.xml: no such annotation, but split 'val' lists it"


ENTITIES = '<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;">]>'


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"Annotations/a.xml": ENTITIES + GOOD.replace("cat", "&c;")}, "has a document type declaration"),
        ({"Annotations/a.xml": GOOD[:-20]}, "is not well-formed XML"),
        ({"Annotations/a.xml": GOOD.replace("annotation", "annotated")}, "the root element is <annotated>"),
        ({"../a.xml": GOOD}, r"'\.\./a.xml' leads out of the archive; do not trust it"),
        ({"/etc/a.xml": GOOD}, "'/etc/a.xml' leads out of the archive"),
        ({"..\\a.xml": GOOD}, "leads out of the archive"),
        ({"Annotations/a.xml": b"<annotation>" + b" " * (17 * 2**20)}, "bytes unpacked, more than any annotation"),
        ({"x/Annotations/a.xml": GOOD, "y/Annotations/a.xml": GOOD}, "image a has two annotations"),
        ({"readme.txt": "nothing"}, "holds no annotations"),
    ],
)
def test_an_archive_that_is_not_to_be_trusted(tmp_path: Path, files: dict[str, str | bytes], message: str) -> None:
    path = zipped(tmp_path / "a.zip", files)
    with pytest.raises(InputError, match=message) as caught:
        read_voc(path, class_names=NAMES)
    assert str(caught.value).startswith(f"{path}: ")
    assert sorted(tmp_path.iterdir()) == [path]


def test_links_in_an_archive_are_not_followed(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        member = tarfile.TarInfo("Annotations/a.xml")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(member)
    with pytest.raises(FaultyDataError, match=r"Annotations/a\.xml: is a link or a device, expected a file"):
        read_voc(path, class_names=NAMES)


def test_other_files(tmp_path: Path, root: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"no archive")
    with pytest.raises(InputError, match="is no folder and no archive to be read"):
        read_voc(tmp_path / "a.zip")
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_voc(tmp_path / "none.zip")
    with pytest.raises(InputError, match="no split 'test'; there are: val"):
        read_voc(root, "test", NAMES)
    whole = packed(root, ".tar.gz", tmp_path / "devkit")
    whole.write_bytes(whole.read_bytes()[:-200])
    with pytest.raises(InputError, match="no archive to be read"):
        read_voc(whole, class_names=NAMES)
