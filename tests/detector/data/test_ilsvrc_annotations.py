import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detector.data.faults import FaultyDataError
from detector.data.ilsvrc import ILSVRCData, read_blacklist, read_ilsvrc
from detector.errors import InputError
from detector.evaluation.metrics.ilsvrc import object_thresholds

Object = tuple[str, tuple[float | str, ...]]

CLASS_MAP = "n02672831 1 accordion\nn02691156 2 airplane\nn04557648 198 water bottle\n"
IMAGE_LIST = "ILSVRC2012_val_00000007 1\nILSVRC2012_val_00000003 2\n"


class Kit:
    """The files of a small part of the data set."""

    def __init__(self, folder: Path) -> None:
        self.annotations = folder / "val"
        self.image_list = folder / "val.txt"
        self.class_map = folder / "map_det.txt"
        self.blacklist = folder / "blacklist.txt"
        self.annotations.mkdir()
        self.image_list.write_text(IMAGE_LIST)
        self.class_map.write_text(CLASS_MAP)
        self.write("ILSVRC2012_val_00000007", [("n04557648", (0, 11, 99, 80)), ("n02672831", (1, 1, 500, 1))])
        self.write("ILSVRC2012_val_00000003", [])

    def write(self, name: str, objects: Sequence[Object]) -> None:
        items = "".join(
            f"<object><name>{synset}</name><bndbox><xmin>{box[0]}</xmin><xmax>{box[2]}</xmax>"
            f"<ymin>{box[1]}</ymin><ymax>{box[3]}</ymax></bndbox></object>"
            for synset, box in objects
        )
        (self.annotations / f"{name}.xml").write_text(
            f"<annotation><folder>val</folder><filename>{name}</filename>"
            f"<size><width>500</width><height>375</height></size>{items}</annotation>"
        )

    def read(self) -> ILSVRCData:
        return read_ilsvrc(self.annotations, self.image_list, self.class_map)

    def faults(self) -> list[str]:
        with pytest.raises(FaultyDataError) as caught:
            self.read()
        return [f"{Path(one.file).name}: {one.record}: {one.fault}" for one in caught.value.faults]


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    return Kit(tmp_path)


def test_every_column(kit: Kit) -> None:
    data = kit.read()
    truth = data.truth
    assert truth.image_ids == ("ILSVRC2012_val_00000007", "ILSVRC2012_val_00000003")
    assert truth.files == ("ILSVRC2012_val_00000007.JPEG", "ILSVRC2012_val_00000003.JPEG")
    assert truth.image_sizes.tolist() == [[500, 375]] * 2
    assert truth.class_ids == ("n02672831", "n02691156", "n04557648")
    assert truth.class_names == ("accordion", "airplane", "water bottle")
    assert (truth.images.tolist(), truth.labels.tolist()) == ([0, 0], [2, 0])
    assert truth.boxes.tolist() == [[-1, 10, 99, 80], [0, 0, 500, 1]]
    assert data.truth.image_numbers == (1, 2)
    assert data.truth.class_numbers == (1, 2, 198)
    assert data.other_synsets == {}


side = st.integers(-3, 600)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(st.tuples(side, side, side, side))
def test_thresholds_are_those_of_the_development_kit(kit: Kit, given_box: tuple[int, int, int, int]) -> None:
    """eval_detection.m: gt_w = xmax - xmin + 1, thr = w h / ((w + 10) (h + 10)), at most 0.5."""
    (xmin, xmax), (ymin, ymax) = sorted(given_box[:2]), sorted(given_box[2:])
    kit.write("ILSVRC2012_val_00000003", [("n02691156", (xmin, ymin, xmax, ymax))])
    width, height = xmax - xmin + 1, ymax - ymin + 1
    expected = min(0.5, width * height / ((width + 10) * (height + 10)))
    assert object_thresholds(kit.read().truth)[-1] == pytest.approx(expected, rel=1e-12)


def test_objects_of_other_synsets_are_counted_and_left_out(kit: Kit) -> None:
    box = (1, 1, 5, 5)
    kit.write("ILSVRC2012_val_00000003", [("n01", box), ("n02691156", box), ("n99", box), ("n01", box)])
    data = kit.read()
    assert data.other_synsets == {"n01": 2, "n99": 1}
    assert [data.truth.class_ids[label] for label in data.truth.labels[2:]] == ["n02691156"]


def test_a_list_of_names_alone_counts_its_lines(kit: Kit) -> None:
    kit.image_list.write_text("ILSVRC2012_val_00000003\nILSVRC2012_val_00000007\n")
    data = kit.read()
    assert data.truth.image_numbers == (1, 2)
    assert data.truth.images.tolist() == [1, 1]


def test_a_missing_annotation_is_a_fault(kit: Kit) -> None:
    (kit.annotations / "ILSVRC2012_val_00000003.xml").unlink()
    expected = f"no such annotation, but {kit.image_list} lists ILSVRC2012_val_00000003"
    assert kit.faults() == [f"ILSVRC2012_val_00000003.xml: : {expected}"]


def test_a_folder_without_any_of_the_annotations(kit: Kit) -> None:
    for path in kit.annotations.iterdir():
        path.rename(path.with_name(f"other{path.name}"))
    with pytest.raises(FaultyDataError, match=r"val: holds no annotation of any image in .*val.txt"):
        kit.read()


def test_all_faults_of_the_annotations_are_named(kit: Kit) -> None:
    good = ("n02691156", (1, 1, 5, 5))
    kit.write("ILSVRC2012_val_00000007", [("", (1, 1, 5, 5)), good, ("n02691156", ("nan", 1, 5, 5))])
    path = kit.annotations / "ILSVRC2012_val_00000003.xml"
    kit.write(path.stem, [("n02691156", (6, 1, 5, 5)), ("n02691156", (1, 1, 5, 0.5))])
    assert kit.faults() == [
        "ILSVRC2012_val_00000007.xml: object 1: field name is missing",
        "ILSVRC2012_val_00000007.xml: object 3: field bndbox/xmin is 'nan', expected a number",
        "ILSVRC2012_val_00000003.xml: object 1: bndbox (6, 1, 5, 5) has no area",
        "ILSVRC2012_val_00000003.xml: object 2: bndbox (1, 1, 5, 0.5) has no area",
    ]


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        ("<annotation><object>", "is not well-formed XML"),
        ("<html/>", "the root element is <html>"),
        ("<annotation/>", "field size/width is missing"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>', "has a document type declaration"),
    ],
)
def test_a_wrong_annotation(kit: Kit, xml: str, message: str) -> None:
    (kit.annotations / "ILSVRC2012_val_00000003.xml").write_text(xml)
    assert kit.faults()[0].startswith(f"ILSVRC2012_val_00000003.xml: : {message}")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("image_list", "a 1\nb 2 3\n", "val.txt: line 2: is 'b 2 3', expected an image's name and its number"),
        ("image_list", "a -1\n", "; the lists of one class, train_1.txt and so on, have flags instead"),
        ("image_list", "a 1\n\na 2\n", "val.txt: line 3: has a, like line 1"),
        ("image_list", "a 1\nb 1\n", "val.txt: line 2: has 1, like line 1"),
        ("image_list", "a " + "9" * 5000, "val.txt: line 1: is 'a 999"),
        ("image_list", "a\0 1\n", "val.txt: line 1: name 'a\\x00'"),
        ("image_list", "../a 1\n", "val.txt: line 1: name '../a' points outside the folder of the annotations"),
        ("class_map", "n1 1 a\nn2 x b\n", "map_det.txt: line 2: is 'n2 x b', expected a synset, a number and a name"),
        ("class_map", "n1 1\n", "map_det.txt: line 1: is 'n1 1', expected a synset, a number and a name"),
        ("class_map", "n1 1 a\nn1 2 b\n", "map_det.txt: line 2: has n1, like line 1"),
        ("class_map", "n1 1 a\nn2 1 b\n", "map_det.txt: line 2: has 1, like line 1"),
        ("class_map", "n1 1 a\nn2 2 a\n", "map_det.txt: line 2: has a, like line 1"),
    ],
)
def test_a_wrong_list(kit: Kit, name: str, text: str, message: str) -> None:
    getattr(kit, name).write_text(text)
    assert any(message in fault for fault in kit.faults())


def test_files_that_cannot_be_read(kit: Kit) -> None:
    kit.class_map.write_text("\n")
    with pytest.raises(InputError, match=r"map_det.txt: holds no class"):
        kit.read()
    kit.class_map.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"map_det.txt: is not UTF-8 text"):
        kit.read()
    kit.class_map.unlink()
    with pytest.raises(InputError, match=r"map_det.txt: cannot be read: No such file"):
        kit.read()
    kit.class_map.write_text(CLASS_MAP)
    kit.image_list.write_text("")
    with pytest.raises(InputError, match=r"val.txt: lists no image"):
        kit.read()
    with pytest.raises(InputError, match="none: no such folder; give the folder of the XML files"):
        read_ilsvrc(kit.annotations / "none", kit.image_list, kit.class_map)


def test_the_blacklist_names_images_by_number_and_classes_by_synset_or_number(kit: Kit) -> None:
    kit.image_list.write_text("ILSVRC2012_val_00000007 51\nILSVRC2012_val_00000003 12\n")
    kit.blacklist.write_text("12 n04557648\n51 n02672831\n\n51 2\n7 n02672831\n12 n00007846\n")
    blacklist = read_blacklist(kit.blacklist, kit.read().truth)
    assert blacklist.images.tolist() == [1, 0, 0]
    assert blacklist.labels.tolist() == [2, 0, 1]


def test_an_empty_blacklist(kit: Kit) -> None:
    kit.blacklist.write_text("")
    assert len(read_blacklist(kit.blacklist, kit.read().truth).images) == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 n02672831\nx n1\n", "line 2: is 'x n1', expected an image's number and a synset"),
        ("1\n", "line 1: is '1', expected an image's number and a synset"),
        ("9" * 5000 + " n1\n", "line 1: is '9999"),
        ("99 n02672831\n1 n7\n", "none of its 2 lines is about an image and a class of the data"),
    ],
)
def test_a_wrong_blacklist(kit: Kit, text: str, message: str) -> None:
    kit.blacklist.write_text(text)
    with pytest.raises(InputError) as caught:
        read_blacklist(kit.blacklist, kit.read().truth)
    assert message in str(caught.value)
    assert str(kit.blacklist) in str(caught.value)


def test_torch_is_not_needed() -> None:
    program = "import sys, detector.data.ilsvrc; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
