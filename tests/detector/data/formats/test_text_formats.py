"""VOC's, ILSVRC's and YOLO's text files and CSV: conventions and faults."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from detector.data.detection_table import DetectionTable
from detector.data.faults import FaultyDataError
from detector.data.formats import Format, read_detections, write_detections
from detector.data.formats.files import valid_text
from detector.data.ground_truth import GroundTruth
from detector.errors import InputError
from detector.evaluation.metrics.voc import voc_average_precision

VOC, ILSVRC, YOLO = "comp4_det_test_cat.txt", "submission.txt", "a.txt"
CSV = "image,class,score,x1,y1,x2,y2\n"


def test_voc_counts_pixels_from_1_and_includes_the_last(truth: GroundTruth, tmp_path: Path) -> None:
    (tmp_path / VOC).write_text("a 0.5 1 1 10 20\n\n13 0.25 3 4 3 4\n")
    (tmp_path / "comp4_det_test_traffic light.txt").write_text("")
    read = read_detections(tmp_path, truth)
    assert read.format == "voc"
    assert read.table.boxes.tolist() == [[0, 0, 10, 20], [2, 3, 3, 4]]
    assert read.table.images.tolist() == [0, 2]
    assert read.table.labels.tolist() == [0, 0]
    assert read.table.scores.tolist() == [0.5, 0.25]
    single = read_detections(tmp_path / VOC, truth)
    assert (single.format, len(single.table)) == ("voc", 2)


@pytest.mark.parametrize(
    "name", ["cat.txt", "comp3_det_val_cat.txt", "results_cat.txt", "comp4_det_test_domestic_cat.txt"]
)
def test_the_class_in_a_files_name(truth: GroundTruth, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("a 0.5 1 1 10 20\n")
    assert read_detections(tmp_path, truth, "voc").table.labels.tolist() == [0]


def test_ilsvrc_counts_images_classes_and_pixels_from_1(truth: GroundTruth, tmp_path: Path) -> None:
    path = tmp_path / ILSVRC
    path.write_text("1 1 0.5 1 1 10 20\n3 2 0.25 3 4 3 4\n4 2 0.25 3 4 3 4\n")
    read = read_detections(path, truth)
    assert (read.format, read.outside) == ("ilsvrc", 1)
    assert read.table.images.tolist() == [0, 2]
    assert read.table.labels.tolist() == [0, 1]
    assert read.table.boxes.tolist() == [[0, 0, 10, 20], [2, 3, 3, 4]]


def test_ilsvrc_numbers_synsets_by_their_place(tmp_path: Path) -> None:
    truth = GroundTruth(
        image_ids=("x",), class_names=("cat", "dog"), class_ids=("n02", "n01"), images=[], labels=[], boxes=[]
    )
    path = tmp_path / ILSVRC
    path.write_text("1 1 0.5 1 1 10 20\n1 2 0.5 1 1 10 20\n1 n01 0.5 1 1 10 20\n")
    read = read_detections(path, truth)
    assert read.table.labels.tolist() == [0, 1, 1]
    assert read.classes == {"1": "cat", "2": "dog", "n01": "dog"}


def test_yolo_has_fractions_of_the_image(truth: GroundTruth, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("0 0.5 0.5 0.2 0.5 0.75\n")
    (tmp_path / "c.txt").write_text("1 0.25 0.25 0.5 0.5 0.5\n")
    (tmp_path / "z.txt").write_text("1 0.25 0.25 0.5 0.5 0.5\n")
    read = read_detections(tmp_path, truth)
    assert (read.format, read.outside) == ("yolo", 1)
    np.testing.assert_allclose(read.table.boxes, [[40, 20, 60, 60], [0, 0, 50, 40]], atol=1e-12)
    assert read.table.labels.tolist() == [0, 1]
    assert read.classes == {0: "cat", 1: "traffic light"}
    with pytest.raises(InputError, match="image 11: its width and height are unknown"):
        read_detections(tmp_path, dataclasses.replace(truth, image_sizes=None))


def test_csv_has_columns_in_any_order(truth: GroundTruth, tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_text('Y2,x2,y1,x1,score,class,image,note\n20,10,0,0,1,"traffic-light","sub/b.jpg","a, b"\n')
    read = read_detections(path, truth, "csv")
    assert read.table.boxes.tolist() == [[0, 0, 10, 20]]
    assert (read.table.images.tolist(), read.table.labels.tolist()) == ([1], [1])
    assert read.classes == {"traffic-light": "traffic light"}


@pytest.mark.parametrize(
    ("format_", "name", "content", "message"),
    [
        ("voc", VOC, "a 0.5 1 1 10\n", "line 1: has 5 columns, expected image score xmin ymin xmax ymax"),
        ("voc", VOC, "1 2 0.5 1 1 10 9\n", "line 1: has 7 columns, expected image score xmin ymin xmax ymax"),
        ("voc", VOC, "\na high 1 1 10 9\n", "line 2: field score is 'high', expected a number"),
        ("voc", VOC, "a 0.5 1_0 1 20 9\n", "line 1: field xmin is '1_0', expected a number"),
        ("voc", VOC, "a nan 1 1 10 9\n", "line 1 (image a): field score is nan, expected a finite number"),
        ("voc", VOC, "a 0.5 5 1 4 9\n", "line 1 (image a): field box: no width or height between 4, 0, 4, 9"),
        ("voc", VOC, "a 0.5 5 1 inf 9\n", "line 1 (image a): field box: corners 4, 0, inf, 9 are not finite"),
        ("ilsvrc", ILSVRC, "1 17 0.5 1 1 10\n", "line 1: has 6 columns, expected image_index class_id score"),
        ("ilsvrc", ILSVRC, "0 17 0.5 1 1 10 9\n", "line 1: field image_index is '0', expected a number from 1 on"),
        ("ilsvrc", ILSVRC, "a 17 0.5 1 1 10 9\n", "line 1: field image_index is 'a', expected a number from 1 on"),
        ("ilsvrc", ILSVRC, "1 17 0.5 1 1 x 9\n", "line 1: field xmax is 'x', expected a number"),
        (
            "yolo",
            YOLO,
            "0 0.5 0.5 0.1 0.1\n",
            "line 1: has 5 columns, expected class cx cy width height confidence; wri",
        ),
        ("yolo", YOLO, "0 1e308 0 1e308 1 1\n", "line 1: fields cx cy width height are not fractions"),
        ("yolo", YOLO, "0 50 40 10 10 1\n", "line 1: fields cx cy width height are not fractions of the image's width"),
        ("yolo", YOLO, "9" * 5000 + " 0.5 0.5 0.1 0.1 1\n", "line 1: field class is '9999"),
        ("ilsvrc", ILSVRC, "9" * 5000 + " 17 0.5 1 1 10 9\n", "line 1: field image_index is '9999"),
        ("yolo", YOLO, "cat 0.5 0.5 0.1 0.1 1\n", "line 1: field class is 'cat', expected a number from 0 on"),
        ("yolo", YOLO, "-1 0.5 0.5 0.1 0.1 1\n", "line 1: field class is '-1', expected a number from 0 on"),
        ("yolo", YOLO, "0 0.5 0.5 0.1 0 1\n", "line 1 (image a): field box: no width or height"),
        ("yolo", YOLO, "0 0.5 0.5 0.1 -0.1 1\n", "line 1 (image a): field box: no width or height"),
        ("csv", "f.csv", CSV + "11,cat,0.5,0,0,9\n", "line 2: has 6 values, the header 7"),
        ("csv", "f.csv", CSV + "11,cat,,0,0,9,9\n", "line 2: field score is '', expected a number"),
        ("csv", "f.csv", CSV + "11,cat,1,0,0,-9,9\n", "line 2 (image 11): field box: no width or height between"),
    ],
)
def test_a_wrong_record_is_named_with_its_file(
    truth: GroundTruth, tmp_path: Path, format_: Format, name: str, content: str, message: str
) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(FaultyDataError) as caught:
        read_detections(path if format_ in ("csv", "ilsvrc") else tmp_path, truth, format_)
    assert f"{path}: {message}" in str(caught.value)


def test_faults_are_told_together_and_lines_keep_their_numbers(truth: GroundTruth, tmp_path: Path) -> None:
    (tmp_path / VOC).write_text("a 0.5 1 1 9 9\n\na x 1 y 9 9\na 0.5 1 1 9 9\na 0.5 9 9 1 1\n")
    (tmp_path / "comp4_det_test_traffic light.txt").write_text("a 0.5\n")
    with pytest.raises(FaultyDataError) as caught:
        read_detections(tmp_path, truth)
    assert [(fault.record, fault.fault[:7]) for fault in caught.value.faults] == [
        ("line 3", "field s"), ("line 3", "field y"), ("line 5 (image a)", "field b"), ("line 1", "has 2 c"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("format_", "name", "content", "message"),
    [
        ("voc", "comp4_det_test_lynx.txt", "a 0.5 1 1 9 9\n", r"\('lynx'\); it has cat, traffic light; correct them"),
        ("ilsvrc", ILSVRC, "1 18 0.5 1 1 9 9\n", r"\('18'\); it has 1 cat, 2 traffic light"),
        ("yolo", YOLO, "2 0.5 0.5 0.1 0.1 1\n", r"\(2\); it has 0 cat, 1 traffic light"),
        ("csv", "f.csv", CSV + "11,lynx,1,0,0,9,9\n", r"\('lynx'\); it has cat, traffic light"),
    ],
)
def test_unknown_classes_and_images(
    truth: GroundTruth, tmp_path: Path, format_: Format, name: str, content: str, message: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        read_detections(tmp_path / name, truth, format_)
    read = read_detections(tmp_path / name, truth, format_, ignore_unknown_classes=True)
    assert (len(read.table), list(read.unknown_classes.values())) == (0, [1])
    others = dataclasses.replace(truth, image_ids=(1, 2, 3), files=("x", "y", "z"), image_numbers=(7, 8, 9))
    with pytest.raises(InputError, match="none of the images of its 1 detections is in the data set"):
        read_detections(tmp_path / name, others, format_, ignore_unknown_classes=True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"image,class,score,x1,y1,x2\n", "column y2 is missing; the header is image,class,score,x1,y1,x2,y2"),
        (b"image,class,score,x1,y1,x2,y2,y2\n", "column y2"),
        (b"", "column image is missing"),
        (CSV.encode() + b'11,"cat,1,0,0,9,9\n', "line 2: unexpected end of data"),
        (b"image,\xff\n", "is not UTF-8 text: invalid start byte at byte 6"),
    ],
)
def test_what_is_no_csv(truth: GroundTruth, tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "f.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_detections(path, truth, "csv")


def test_a_name_of_two_images_is_refused(tmp_path: Path) -> None:
    truth = GroundTruth(
        image_ids=(1, 2), class_names=("cat",), images=[], labels=[], boxes=[], files=("a/1.jpg", "b/1.jpg")
    )
    path = tmp_path / "f.csv"
    path.write_text(CSV + "b/1.jpg,cat,1,0,0,9,9\n1.jpg,cat,1,0,0,9,9\n")
    with pytest.raises(FaultyDataError, match=r"line 3 \(image 1.jpg\): field image"):
        read_detections(path, truth)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("f.txt", " \n", "is empty; if nothing was found, name the format"),
        ("f.txt", "some words\n", "is in no known format"),
        *(
            (name, "version https://git-lfs.github.com/spec/v1\noid sha256:0\n", f"{name}: is a Git LFS pointer")
            for name in ("f.json", "f.txt", "f.csv", "folder/a.txt")
        ),
        ("f.txt", "1 17 1 1 10 20\n", "has 6 columns; ILSVRC's files have 7, .* named after a class of the data"),
        ("folder/readme.txt", "x", "its files are named neither after the data set's images .* such as readme.txt"),
        ("folder/f.xml", "x", "holds no .txt files"),
    ],
)
def test_what_is_not_recognized(truth: GroundTruth, tmp_path: Path, name: str, content: str, message: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        read_detections(path.parent if name.startswith("folder") else path, truth)


@pytest.fixture
def birds_and_dogs() -> GroundTruth:
    """Of four classes two are judged, of images 5 and 7 of a list the second."""
    whole = GroundTruth(
        image_ids=("five", "seven"), class_names=("ant", "bee", "cat", "dog"), class_ids=(0, 1, 2, 3), images=[0, 1],
        labels=[3, 1], boxes=[[0, 0, 50, 40]] * 2, image_sizes=[[100, 80]] * 2, image_numbers=(5, 7),
        class_numbers=(11, 12, 13, 14),
    )  # fmt: skip
    return whole.of_classes(["dog", "bee"]).of_images([1])


def test_classes_and_images_keep_their_numbers_in_a_part(birds_and_dogs: GroundTruth, tmp_path: Path) -> None:
    path = tmp_path / "submission.txt"
    path.write_text("7 12 0.5 1 1 50 40\n7 11 0.6 1 1 50 40\n5 14 0.7 1 1 50 40\n7 14 0.4 1 1 50 40\n")
    read = read_detections(path, birds_and_dogs, "ilsvrc", ignore_unknown_classes=True)
    assert read.table.labels.tolist() == [1, 0]
    assert read.table.scores.tolist() == [0.5, 0.4]
    assert (read.outside, dict(read.unknown_classes)) == (1, {"11": 1})
    coco = tmp_path / "found.json"
    record = {"bbox": [0, 0, 50, 40], "score": 0.5, "image_id": "seven"}
    coco.write_text(json.dumps([record | {"category_id": i} for i in range(4)]))
    labels = dataclasses.replace(birds_and_dogs, image_ids=(7,))
    coco.write_text(coco.read_text().replace('"seven"', "7"))
    assert read_detections(coco, labels, ignore_unknown_classes=True).table.labels.tolist() == [1, 0]


@pytest.mark.parametrize("format", ["yolo", "ilsvrc", "coco"])
def test_a_part_is_written_as_it_is_read(birds_and_dogs: GroundTruth, tmp_path: Path, format: Format) -> None:
    truth = dataclasses.replace(birds_and_dogs, image_ids=(7,), class_numbers=(4, 2))
    table = DetectionTable(image_ids=(7,), class_names=truth.class_names, images=[0, 0], labels=[1, 0],
                           boxes=[[0, 0, 50, 40], [1, 1, 9, 9]], scores=[0.5, 0.25])  # fmt: skip
    write_detections(tmp_path / "found", table, truth, format)
    read = read_detections(tmp_path / "found", truth, format).table
    assert read.labels.tolist() == [1, 0]
    if format == "yolo":  # numbers of the whole data set, from 0
        lines = next((tmp_path / "found").glob("*.txt")).read_text().splitlines()
        assert [line.split()[0] for line in lines] == ["1", "3"]


def test_a_file_is_not_taken_for_the_id_of_another_image(tmp_path: Path) -> None:
    truth = GroundTruth(image_ids=(1, 2), class_names=("cat",), images=[0, 1], labels=[0, 0],
                        boxes=[[0, 0, 50, 40], [0, 0, 9, 9]], image_sizes=[[100, 80]] * 2,
                        files=("2.jpg", "1.jpg"))  # fmt: skip
    folder = tmp_path / "labels"
    folder.mkdir()
    (folder / "1.txt").write_text("0 0.045 0.05625 0.09 0.1125 0.5\n")
    assert read_detections(folder, truth, "yolo").table.images.tolist() == [1]
    path = tmp_path / "found.csv"
    path.write_text(CSV + "1,cat,0.5,0,0,9,9\n")
    with pytest.raises(FaultyDataError, match="field image"):
        read_detections(path, truth)
    path.write_text(CSV + "1.jpg,cat,0.5,0,0,9,9\n")
    assert read_detections(path, truth).table.images.tolist() == [1]


def test_of_equal_scores_voc_takes_the_first_line(tmp_path: Path) -> None:
    truth = GroundTruth(image_ids=("a", "b"), class_names=("dog",), images=[1], labels=[0], boxes=[[0, 0, 50, 40]])
    (tmp_path / "comp4_det_test_dog.txt").write_text("b 0.9 1 1 50 40\na 0.9 1 1 50 40\n")
    assert voc_average_precision(truth, read_detections(tmp_path, truth).table, "voc10").ap["dog"] == 1


def test_detections_are_not_counted_twice(truth: GroundTruth, tmp_path: Path) -> None:
    names = "comp3_det_test_cat.txt", "comp4_det_test_cat.txt"
    for name in names:
        (tmp_path / name).write_text("a 0.5 1 1 10 9\n")
    with pytest.raises(InputError) as caught:
        read_detections(tmp_path, truth)
    assert str(caught.value) == f"{tmp_path}: {names[0]} and {names[1]} are of the same class; remove one"


EMPTY: dict[Format, tuple[str, str]] = {
    "coco": ("f.json", '[{"image_id": 11, "category_id": 17, "bbox": [4, 5, 0, 6], "score": 0.5}]'),
    "csv": ("f.csv", CSV + "11,cat,0.5,4,5,4,11\n"),
    "ilsvrc": (ILSVRC, "1 1 0.5 5 6 4 11\n"),
    "voc": (VOC, "11 0.5 5 6 4 11\n"),
    "yolo": (YOLO, "0 0.04 0.1 0 0.075 0.5\n"),
}


@pytest.mark.parametrize("format_", EMPTY)
def test_boxes_of_no_width_are_kept_on_demand_and_counted(truth: GroundTruth, tmp_path: Path, format_: Format) -> None:
    name, content = EMPTY[format_]
    (tmp_path / name).write_text(content)
    path = tmp_path if format_ in ("voc", "yolo") else tmp_path / name
    with pytest.raises(FaultyDataError, match=r"no width or height .*; keep empty boxes to count it as a"):
        read_detections(path, truth)
    found = read_detections(path, truth, keep_empty_boxes=True)
    assert (found.format, found.empty_boxes) == (format_, 1)
    assert found.table.boxes[0].tolist() == pytest.approx([4, 5, 4, 11])
    assert found.table.boxes[0, 0] == found.table.boxes[0, 2]
    assert "1 boxes" in found.notes()[-1]


def test_negative_sizes_are_never_kept(truth: GroundTruth, tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_text(CSV + "11,cat,0.5,4,5,4,4\n")
    with pytest.raises(FaultyDataError, match=r"field box: no width or height between 4, 5, 4, 4$"):
        read_detections(tmp_path / "f.csv", truth, keep_empty_boxes=True)


def test_numbers_find_ids_of_digits(tmp_path: Path) -> None:
    """Detectors that name images after their files write 139 for 000000000139.jpg."""
    ids = ("000000000139", "0285", "285", "x12", "9" * 5000)
    truth = GroundTruth(image_ids=ids, class_names=("cat",), images=[], labels=[], boxes=[])
    path = tmp_path / "f.json"
    record = '{"image_id": %s, "category_id": 17, "bbox": [4, 5, 1, 6], "score": 0.5}'
    path.write_text(f"[{record % 139}, {record % 285}, {record % 12}]")
    found = read_detections(path, truth)
    assert (found.table.images.tolist(), found.outside) == ([0, 2], 1)
    path.write_text(f"[{record % 139}]")
    twice = GroundTruth(image_ids=("139.0", "0139", "00139"), class_names=("cat",), images=[], labels=[], boxes=[])
    with pytest.raises(FaultyDataError, match="field image"):
        read_detections(path, twice)


@pytest.mark.parametrize(
    ("text", "valid"),
    [("a.jpg", "a.jpg"), ("K\xe4tzchen", "K\xe4tzchen"), ("K\udcc3\udca4t", "K\xe4t"), ("\udcff.jpg", "\\xff.jpg")],
)
def test_names_of_files_become_text_in_any_locale(text: str, valid: str):
    """In a locale without UTF-8 the bytes of a name come as surrogates."""
    assert valid_text(text) == valid
