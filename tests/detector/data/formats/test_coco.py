import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from detector.data.faults import FaultyDataError
from detector.data.formats import json_stream, read_detections
from detector.data.ground_truth import GroundTruth
from detector.errors import InputError

GOOD = {"image_id": 11, "category_id": 17, "bbox": [1.5, 2, 10, 20.25], "score": 0.75}


def saved(path: Path, *records: object) -> Path:
    path.write_text(json.dumps(records))
    return path


def test_records_become_rows(truth: GroundTruth, tmp_path: Path) -> None:
    other = {"score": -3, "bbox": [0, 0, 1, 1], "category_id": 10, "image_id": 13, "segmentation": {"counts": "},{"}}
    read = read_detections(saved(tmp_path / "f.json", GOOD, other), truth)
    assert read.table.images.tolist() == [0, 2]
    assert read.table.labels.tolist() == [0, 1]
    assert read.table.boxes.tolist() == [[1.5, 2, 11.5, 22.25], [0, 0, 1, 1]]
    assert read.table.scores.tolist() == [0.75, -3]
    assert read.notes() == ["classes of the detections, as the data set names them: 17 = cat, 10 = traffic light"]


@pytest.mark.parametrize(
    ("image_id", "index"), [(12, 1), ("12", 1), ("b.jpg", 1), ("sub/b.jpg", 1), ("photos/b.png", 1), (r"C:\x\c.jpg", 2)]
)
def test_images_go_by_id_or_by_file(truth: GroundTruth, tmp_path: Path, image_id: object, index: int) -> None:
    read = read_detections(saved(tmp_path / "f.json", GOOD | {"image_id": image_id}), truth)
    assert read.table.images.tolist() == [index]


def test_classes_may_have_text_for_ids(tmp_path: Path) -> None:
    truth = GroundTruth(
        image_ids=("a",), class_names=("cat", "dog"), class_ids=("n02", "7"), images=[], labels=[], boxes=[]
    )
    records = [GOOD | {"image_id": "a", "category_id": class_id} for class_id in ("n02", "7", 7)]
    assert read_detections(saved(tmp_path / "f.json", *records), truth).table.labels.tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"score": "0.9"}, 'record 2: field score is "0.9", expected a number'),
        ({"score": None}, "record 2: field score is null, expected a number"),
        ({"score": True}, "record 2: field score is true, expected a number"),
        ({"score": float("nan")}, "record 2 (image 11): field score is nan, expected a finite number"),
        ({"score": float("inf")}, "record 2 (image 11): field score is inf, expected a finite number"),
        ({"score": 10**400}, "record 2: field score is 1000"),
        ({"bbox": [1, 2, 3]}, "record 2: field bbox is [1, 2, 3], expected four numbers [x, y, width, height]"),
        ({"bbox": [1, 2, 3, "4"]}, 'record 2: field bbox is [1, 2, 3, "4"], expected four numbers'),
        ({"bbox": [1, 2, 3, True]}, "record 2: field bbox is [1, 2, 3, true], expected four numbers"),
        ({"bbox": {"x": 1}}, 'record 2: field bbox is {"x": 1}, expected four numbers'),
        ({"bbox": [1, 2, 0, 4]}, "record 2 (image 11): field bbox: no width or height between 1, 2, 1, 6"),
        ({"bbox": [1, 2, 3, -4]}, "record 2 (image 11): field bbox: no width or height between 1, 2, 4, -2"),
        ({"bbox": [1, float("nan"), 3, 4]}, "record 2 (image 11): field bbox: corners 1, nan, 4, nan are not finite"),
        ({"bbox": [1e20, 2, 3, 4]}, "record 2 (image 11): field bbox: no width or height between 1e+20"),
        ({"image_id": 1.5}, "record 2: field image_id is 1.5, expected a whole number or text"),
        ({"image_id": None}, "record 2: field image_id is null, expected a whole number or text"),
        ({"category_id": True}, "record 2: field category_id is true, expected a whole number or text"),
        ({"category_id": [1]}, "record 2: field category_id is [1], expected a whole number or text"),
    ],
)
def test_a_wrong_field_is_named(truth: GroundTruth, tmp_path: Path, changes: dict[str, object], message: str) -> None:
    path = saved(tmp_path / "f.json", GOOD, GOOD | changes, GOOD)
    with pytest.raises(FaultyDataError) as caught:
        read_detections(path, truth)
    assert f"{path}: {message}" in str(caught.value)


@pytest.mark.parametrize("field", GOOD)
def test_a_missing_field_is_named(truth: GroundTruth, tmp_path: Path, field: str) -> None:
    record = {key: value for key, value in GOOD.items() if key != field}
    with pytest.raises(FaultyDataError, match=f"record 1: field {field} is missing"):
        read_detections(saved(tmp_path / "f.json", record), truth, "coco")


def test_all_faults_are_told_up_to_a_limit(truth: GroundTruth, tmp_path: Path) -> None:
    bad = [GOOD | {"score": "high", "bbox": None}, GOOD, 7, GOOD | {"bbox": [0, 0, 0, 0]}]
    with pytest.raises(FaultyDataError) as caught:
        read_detections(saved(tmp_path / "f.json", *bad), truth)
    for part in ("record 1: field score", "record 1: field bbox", "record 3: is 7, expected an object", "record 4"):
        assert part in str(caught.value)
    assert "record 2" not in str(caught.value)
    with pytest.raises(FaultyDataError) as caught:
        read_detections(saved(tmp_path / "f.json", *bad * 100), truth)
    assert "record 13" in str(caught.value)
    assert "record 99" not in str(caught.value)


def test_unknown_images_are_counted(truth: GroundTruth, tmp_path: Path) -> None:
    read = read_detections(saved(tmp_path / "f.json", GOOD | {"image_id": 99}, GOOD, GOOD | {"image_id": "z"}), truth)
    assert (len(read.table), read.outside) == (1, 2)
    assert "2 detections of images that are not in the data set, left out" in read.notes()


def test_results_of_another_data_set_are_refused(truth: GroundTruth, tmp_path: Path) -> None:
    path = saved(tmp_path / "f.json", GOOD | {"image_id": 99}, GOOD | {"image_id": 98})
    with pytest.raises(InputError, match=r"none of the images of its 2 detections .* such as 98; it has 11, 12, 13"):
        read_detections(path, truth)


def test_unknown_classes(truth: GroundTruth, tmp_path: Path) -> None:
    path = saved(tmp_path / "f.json", GOOD | {"category_id": 0}, GOOD, GOOD | {"category_id": 0})
    with pytest.raises(InputError, match=r"2 detections are of classes .* \(0\); it has 17 cat, 10 traffic light; "):
        read_detections(path, truth)
    read = read_detections(path, truth, ignore_unknown_classes=True)
    assert (len(read.table), read.unknown_classes, read.outside) == (1, {0: 2}, 0)
    assert "detections of classes that are not in the data set, left out: 0 (2)" in read.notes()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not JSON: it is empty"),
        (b"[{]", "is not JSON, at record 1 or after it"),
        (b"\xff\xfe", "is not JSON: it does not begin with ["),
        (b'[{"image_id": "\xff"}]', "is not JSON, at record 1 or after it"),
        (b"[" * 100_000, "is not JSON, at record 1 or after it"),
        (b'{"annotations": []}', "holds no list"),
        (
            b'[{"image_id": 11, "category_id": 17, "bbox": [0, 0, 1, 1], "score": 1},',
            "at record 1 or after it: Expecting value near",
        ),
        (b"[] []", "is not JSON, at record 1 or after it"),
    ],
)
def test_what_is_no_json_list(truth: GroundTruth, tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "f.json"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_detections(path, truth)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("fault", [b'{"score": }', b'{"a" 1}', b"}", b'{"image_id": "\xff"}', b"[" * 10_000])
def test_a_fault_in_the_middle_is_told_before_the_rest_is_read(
    truth: GroundTruth, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: bytes
) -> None:
    many = b",\n".join([json.dumps(GOOD).encode()] * 50)
    path = tmp_path / "f.json"
    path.write_bytes(b"[" + many + b",\n" + fault + b",\n" + b",\n".join([many] * 40) + b"]")
    monkeypatch.setattr(json_stream, "CHUNK", 1000)
    monkeypatch.setattr(json_stream, "LONGEST", 40_000)
    with pytest.raises(InputError, match=r"is not JSON, at record (4\d|5\d) or after it"):
        read_detections(path, truth)


def test_an_endless_record_is_given_up(truth: GroundTruth, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "f.json"
    path.write_text(json.dumps(list(range(3000))))
    monkeypatch.setattr(json_stream, "CHUNK", 100)
    monkeypatch.setattr(json_stream, "LONGEST", 1000)
    with pytest.raises(InputError, match="record 1 does not end within 0 MiB, or is no object"):
        read_detections(path, truth)


def test_a_file_with_a_byte_order_mark(truth: GroundTruth, tmp_path: Path) -> None:
    path = tmp_path / "f.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps([GOOD]).encode())
    assert len(read_detections(path, truth).table) == 1


def test_a_missing_file(truth: GroundTruth, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none.json: cannot be read: No such file"):
        read_detections(tmp_path / "none.json", truth)


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("chunk", [1, 7, 100, 1000])
def test_parts_of_any_size_hold_the_same_records(
    truth: GroundTruth, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int, indent: int | None
) -> None:
    nested = {"parts": [{"a": 1}, {"b": {}}, {"c": [{}, {}]}], "text": '}, {"image_id": "\\"'}
    records = [GOOD | {"score": n / 100} | (nested if n % 3 else {}) for n in range(60)]
    path = tmp_path / "f.json"
    path.write_text(json.dumps(records, indent=indent))
    monkeypatch.setattr(json_stream, "CHUNK", chunk)
    assert read_detections(path, truth).table.scores.tolist() == [n / 100 for n in range(60)]
    records[41]["score"] = float("nan")
    path.write_text(json.dumps(records, indent=indent))
    with pytest.raises(FaultyDataError, match=r"record 42 \(image 11\): field score is nan"):
        read_detections(path, truth)


def test_memory_holds_a_part_and_columns_of_numbers(
    truth: GroundTruth, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Python object a detection would take 400 bytes and more; the columns, doubled when joined, take 160."""
    path, count = tmp_path / "f.json", 30_000
    path.write_text("[" + ",".join([json.dumps(GOOD)] * count) + "]")
    monkeypatch.setattr(json_stream, "CHUNK", 1 << 16)
    tracemalloc.start()
    try:
        read = read_detections(path, truth)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(read.table) == count
    assert np.unique(read.table.scores).tolist() == [0.75]
    assert peak < 250 * count + 2**20
