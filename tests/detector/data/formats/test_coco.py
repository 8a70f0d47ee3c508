import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from detector.data import json_records
from detector.data.faults import FaultyDataError
from detector.data.formats import Format, read_detections, write_detections
from detector.data.formats.coco import categories_path
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
    assert read.classes == {17: "cat", 10: "traffic light"}
    assert "17 = cat, 10 = traffic light" in read.notes()[0]


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
    ("changes", "field"),
    [
        *(({"score": value}, "score") for value in ("0.9", None, True, float("nan"), float("inf"), 10**400, ...)),
        ({"bbox": [1, 2, 3]}, "bbox"),
        *(({"bbox": [1, 2, 3, value]}, "bbox[3]") for value in ("4", True)),
        *(({"bbox": value}, "bbox") for value in ({"x": 1}, [1, 2, 0, 4], [1, 2, 3, -4], [1e20, 2, 3, 4], ...)),
        ({"bbox": [1, float("nan"), 3, 4]}, "bbox"),
        *(({"image_id": value}, "image_id") for value in (1.5, None, ...)),
        *(({"category_id": value}, "category_id") for value in (True, [1], ...)),
    ],
)
def test_a_wrong_field_is_named(truth: GroundTruth, tmp_path: Path, changes: dict[str, object], field: str) -> None:
    bad = {key: value for key, value in (GOOD | changes).items() if value is not ...}
    path = saved(tmp_path / "f.json", GOOD, bad, GOOD)
    with pytest.raises(FaultyDataError) as caught:
        read_detections(path, truth)
    (fault,) = caught.value.faults
    assert (fault.file, fault.record.removesuffix(" (image 11)")) == (str(path), "record 2")
    assert field in fault.fault


def test_all_faulty_records_are_named_up_to_a_limit(truth: GroundTruth, tmp_path: Path) -> None:
    bad = [GOOD | {"score": "high"}, GOOD, 7, GOOD | {"bbox": [0, 0, 0, 0]}]
    with pytest.raises(FaultyDataError) as caught:
        read_detections(saved(tmp_path / "f.json", *bad), truth)
    assert [fault.record.split(" (")[0] for fault in caught.value.faults] == ["record 1", "record 3", "record 4"]
    with pytest.raises(FaultyDataError) as caught:
        read_detections(saved(tmp_path / "f.json", *bad * 100), truth)
    assert (len(caught.value.faults), caught.value.more) == (20, 280)


def test_images_of_another_data_set(truth: GroundTruth, tmp_path: Path) -> None:
    read = read_detections(saved(tmp_path / "f.json", GOOD | {"image_id": 99}, GOOD, GOOD | {"image_id": "z"}), truth)
    assert (len(read.table), read.outside) == (1, 2)
    assert any("2 detections of images" in note for note in read.notes())
    path = saved(tmp_path / "f.json", GOOD | {"image_id": 99}, GOOD | {"image_id": 98})
    with pytest.raises(InputError, match=r"none of the images of its 2 detections .* such as 99; it has 11, 12, 13"):
        read_detections(path, truth)


def test_unknown_classes(truth: GroundTruth, tmp_path: Path) -> None:
    path = saved(tmp_path / "f.json", GOOD | {"category_id": 0}, GOOD, GOOD | {"category_id": 0})
    with pytest.raises(InputError, match=r"2 detections .* \(0\); it has 17 cat, 10 traffic light; .*--ignore-unknown"):
        read_detections(path, truth)
    read = read_detections(path, truth, ignore_unknown_classes=True)
    assert (len(read.table), read.unknown_classes, read.outside) == (1, {0: 2}, 0)
    assert any("0 (2)" in note for note in read.notes())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[{]",
        b"\xff\xfe",
        b'[{"image_id": "\xff"}]',
        b"[" * 100_000,
        b'{"annotations": []}',
        b'[{"image_id": 11, "category_id": 17, "bbox": [0, 0, 1, 1], "score": 1},',
        b"[] []",
    ],
)
@pytest.mark.parametrize("format_", ["coco", "native"])
def test_what_is_no_json_list(truth: GroundTruth, tmp_path: Path, content: bytes, format_: Format) -> None:
    path = tmp_path / "f.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match="JSON") as caught:
        read_detections(path, truth, format_)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_files_with_a_byte_order_mark(truth: GroundTruth, tmp_path: Path) -> None:
    path = tmp_path / "f.json"
    path.write_text(json.dumps([GOOD]), encoding="utf-8-sig")
    categories = {"categories": [{"id": 17, "name": "traffic light"}]}
    categories_path(path).write_text(json.dumps(categories), encoding="utf-8-sig")
    assert read_detections(path, truth).table.labels.tolist() == [1]


@pytest.mark.parametrize(
    ("names", "conflict"),
    [
        ({17: "Cat", 10: "traffic_light", 1: "dog"}, None),
        ({17: "cat", 10: "cat"}, "10 is cat, not traffic light"),
        ({17: "cat", "10": "lynx"}, "10 is lynx, not traffic light"),
    ],
)
def test_categories_that_differ_from_those_of_the_data_set_are_noted(
    truth: GroundTruth, tmp_path: Path, names: dict[int | str, str], conflict: str | None
) -> None:
    path = saved(tmp_path / "f.json", GOOD)
    categories = {"categories": [{"id": key, "name": name} for key, name in names.items()]}
    categories_path(path).write_text(json.dumps(categories))
    notes = [note for note in read_detections(path, truth).notes() if str(categories_path(path)) in note]
    assert [note.endswith(f": {conflict}") for note in notes] == ([] if conflict is None else [True])


def test_results_whose_names_differ_after_a_dot_have_a_file_of_categories_each(
    truth: GroundTruth, tmp_path: Path
) -> None:
    table = read_detections(saved(tmp_path / "f.json", GOOD), truth).table
    for name in ("run.v1", "run.v2"):
        write_detections(tmp_path / name, table, truth, "coco")
    assert {path.name for path in tmp_path.glob("run*")} == {
        "run.v1", "run.v2", "run.v1.categories.json", "run.v2.categories.json"
    }  # fmt: skip


def test_records_of_several_batches(truth: GroundTruth, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_records, "BATCH", 7)
    records = [GOOD | {"score": n / 100} for n in range(60)]
    path = saved(tmp_path / "f.json", *records)
    assert read_detections(path, truth).table.scores.tolist() == [n / 100 for n in range(60)]
    records[41]["score"] = float("nan")
    with pytest.raises(FaultyDataError, match=r"record 42 \(image 11\): field score"):
        read_detections(saved(path, *records), truth)


def test_memory_is_a_few_times_the_file(truth: GroundTruth, tmp_path: Path) -> None:
    """So that results of 300 MB can be read on any machine."""
    path, count = tmp_path / "f.json", 30_000
    path.write_text("[" + ",".join([json.dumps(GOOD)] * count) + "]")
    tracemalloc.start()
    try:
        read = read_detections(path, truth)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(read.table) == count
    assert np.unique(read.table.scores).tolist() == [0.75]
    assert peak < 10 * path.stat().st_size
