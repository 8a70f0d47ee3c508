from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detector.data.faults import Faults, FaultyDataError
from detector.data.ground_truth import GroundTruth
from detector.data.ilsvrc import read_blacklist, read_ilsvrc
from detector.errors import InputError
from detector.evaluation.metrics.ilsvrc import object_thresholds

Object = tuple[str, tuple[float | str, ...]]

FIRST, SECOND = "ILSVRC2012_val_00000007", "ILSVRC2012_val_00000003"
CLASS_MAP = "n02672831 1 accordion\nn02691156 2 airplane\nn04557648 198 water bottle\n"


class Kit:
    """The files of a small part of the data set."""

    def __init__(self, folder: Path) -> None:
        self.annotations = folder / "val"
        self.image_list = folder / "val.txt"
        self.class_map = folder / "map_det.txt"
        self.blacklist = folder / "blacklist.txt"
        self.annotations.mkdir()
        self.image_list.write_text(f"{FIRST} 1\n{SECOND} 2\n")
        self.class_map.write_text(CLASS_MAP)
        self.write(FIRST, [("n04557648", (0, 11, 99, 80)), ("n02672831", (1, 1, 500, 1))])
        self.write(SECOND, [])

    def write(self, name: str, objects: Sequence[Object]) -> None:
        items = "".join(
            f"<object><name>{synset}</name><bndbox><xmin>{box[0]}</xmin><xmax>{box[2]}</xmax>"
            f"<ymin>{box[1]}</ymin><ymax>{box[3]}</ymax></bndbox></object>"
            for synset, box in objects
        )
        (self.annotations / f"{name}.xml").write_text(
            f"<annotation><size><width>500</width><height>375</height></size>{items}</annotation>"
        )

    def read(self, faults: Faults | None = None) -> GroundTruth:
        return read_ilsvrc(self.annotations, self.image_list, self.class_map, faults)

    def faults(self) -> list[str]:
        with pytest.raises(FaultyDataError) as caught:
            self.read()
        return [f"{Path(one.file).name}: {one.record}: {one.fault}" for one in caught.value.faults]


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    return Kit(tmp_path)


def test_every_column(kit: Kit) -> None:
    truth = kit.read()
    assert truth.image_ids == (FIRST, SECOND)
    assert truth.files == (f"{FIRST}.JPEG", f"{SECOND}.JPEG")
    assert truth.image_sizes.tolist() == [[500, 375]] * 2
    assert truth.class_ids == ("n02672831", "n02691156", "n04557648")
    assert truth.class_names == ("accordion", "airplane", "water bottle")
    assert (truth.images.tolist(), truth.labels.tolist()) == ([0, 0], [2, 0])
    assert truth.boxes.tolist() == [[-1, 10, 99, 80], [0, 0, 500, 1]]
    assert truth.image_numbers == (1, 2)
    assert truth.class_numbers == (1, 2, 198)


side = st.integers(-3, 600)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(st.tuples(side, side, side, side))
def test_thresholds_are_those_of_the_development_kit(kit: Kit, given_box: tuple[int, int, int, int]) -> None:
    """eval_detection.m: gt_w = xmax - xmin + 1, thr = w h / ((w + 10) (h + 10)), at most 0.5."""
    (xmin, xmax), (ymin, ymax) = sorted(given_box[:2]), sorted(given_box[2:])
    kit.write(SECOND, [("n02691156", (xmin, ymin, xmax, ymax))])
    width, height = xmax - xmin + 1, ymax - ymin + 1
    expected = min(0.5, width * height / ((width + 10) * (height + 10)))
    assert object_thresholds(kit.read())[-1] == pytest.approx(expected, rel=1e-12)


def test_objects_of_other_synsets_are_counted_and_left_out(kit: Kit) -> None:
    box, faults = (1, 1, 5, 5), Faults()
    kit.write(SECOND, [("n01", box), ("n02691156", box), ("n99", box), ("n01", box)])
    truth = kit.read(faults)
    assert [truth.class_ids[label] for label in truth.labels[2:]] == ["n02691156"]
    assert len(faults.notes) == 1
    assert faults.notes[0].endswith("n01 (2), n99 (1)")


def test_names_in_folders_and_without_numbers(kit: Kit) -> None:
    (kit.annotations / "train").mkdir()
    kit.write("train/x", [("n02691156", (1, 1, 5, 5))])
    kit.image_list.write_text(f"train/x\n{FIRST}\n")
    truth = kit.read()
    assert truth.image_numbers == (1, 2)
    assert truth.images.tolist() == [0, 1, 1]


def test_all_faults_of_the_annotations_are_named(kit: Kit) -> None:
    good = ("n02691156", (1, 1, 5, 5))
    kit.image_list.write_text(f"{FIRST}\n{SECOND}\nmissing\nbroken\n")
    kit.write(FIRST, [("", (1, 1, 5, 5)), good, ("n02691156", ("nan", 1, 5, 5))])
    kit.write(SECOND, [("n02691156", (6, 1, 5, 5)), ("n02691156", (1, 1, 5, 0.5))])
    (kit.annotations / "broken.xml").write_text("<annotation><object>")
    assert [fault[:75] for fault in kit.faults()] == [
        f"{FIRST}.xml: object 1: field name is missing",
        f"{FIRST}.xml: object 3: field bndbox/xmin is 'nan', expected a number"[:75],
        f"{SECOND}.xml: object 1: bndbox (6, 1, 5, 5) has no area",
        f"{SECOND}.xml: object 2: bndbox (1, 1, 5, 0.5) has no area",
        "missing.xml: : no such annotation, but the list of images has missing",
        "broken.xml: : is not well-formed XML: no element found: line 1, column 20"[:75],
    ]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("image_list", "a 1\nb 2 3\n", "val.txt: line 2: is 'b 2 3', expected an image's name and its number"),
        ("image_list", "a -1\n", "; the lists of one class, train_1.txt and so on, have flags instead"),
        ("image_list", "a 1\n\na 2\n", "val.txt: line 3: has a, like line 1"),
        ("image_list", "a 1\nb 1\n", "val.txt: line 2: has 1, like line 1"),
        ("image_list", "a " + "9" * 5000, "val.txt: line 1: is 'a 999"),
        ("image_list", "a\0 1\n", "val.txt: line 1: 'a\\x00'"),
        ("image_list", "../a 1\n", "val.txt: line 1: '../a' points outside the data set"),
        ("image_list", "", "val.txt: lists no image"),
        ("class_map", "n1 1 a\nn2 x b\n", "map_det.txt: line 2: is 'n2 x b', expected a synset, a number and a name"),
        ("class_map", "n1 1\n", "map_det.txt: line 1: is 'n1 1', expected a synset, a number and a name"),
        ("class_map", "n1 1 a\nn1 2 b\n", "map_det.txt: line 2: has n1, like line 1"),
        ("class_map", "n1 1 a\nn2 1 b\n", "map_det.txt: line 2: has 1, like line 1"),
        ("class_map", "n1 1 a\nn2 2 a\n", "map_det.txt: line 2: has a, like line 1"),
        ("class_map", "\n", "map_det.txt: holds no class"),
        ("class_map", "\udcff", "map_det.txt: is not UTF-8 text"),
        ("class_map", None, "map_det.txt: cannot be read: No such file"),
        ("annotations", None, "none: no such folder; give the folder of the XML files"),
    ],
)
def test_a_wrong_list(kit: Kit, name: str, text: str | None, message: str) -> None:
    if text is None:
        setattr(kit, name, getattr(kit, name).with_name("none" if name == "annotations" else "none_map_det.txt"))
    else:
        getattr(kit, name).write_text(text, errors="surrogateescape")
    with pytest.raises(InputError) as caught:
        kit.read()
    assert message in str(caught.value)


def test_the_blacklist_names_images_by_number_and_classes_by_synset_or_number(kit: Kit) -> None:
    kit.image_list.write_text(f"{FIRST} 51\n{SECOND} 12\n")
    kit.blacklist.write_text("12 n04557648\n51 n02672831\n\n51 2\n7 n02672831\n12 n00007846\n")
    blacklist = read_blacklist(kit.blacklist, kit.read())
    assert blacklist.images.tolist() == [1, 0, 0]
    assert blacklist.labels.tolist() == [2, 0, 1]
    kit.blacklist.write_text("")
    assert len(read_blacklist(kit.blacklist, kit.read()).images) == 0


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
        read_blacklist(kit.blacklist, kit.read())
    assert message in str(caught.value)
    assert str(kit.blacklist) in str(caught.value)
