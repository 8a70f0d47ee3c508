"""COCO's annotation file: what is read of it, and how faults are named."""

import copy
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detector.data.coco import read_coco
from detector.data.faults import FaultyDataError
from detector.errors import InputError

CONTENT: dict[str, Any] = {
    "info": {"year": 2017},
    "images": [
        {"id": 9, "file_name": "nine.jpg", "width": 100, "height": 80, "license": 3},
        {"id": 0, "file_name": "zero.jpg", "width": 60, "height": 50},
    ],
    "categories": [{"id": 18, "name": "dog", "supercategory": "animal"}, {"id": 2, "name": "bicycle"}],
    "annotations": [
        {"id": 0, "image_id": 0, "category_id": 2, "bbox": [1.1, 2.2, 3.3, 4.4], "area": 7.5, "iscrowd": 0,
         "segmentation": [[1, 2, 3, 4, 5, 6]]},
        {"id": 5, "image_id": 9, "category_id": 18, "bbox": [0, 0, 10, 20], "iscrowd": 1,
         "segmentation": {"counts": [1, 2], "size": [80, 100]}, "ignore": 1},
    ],
}  # fmt: skip


def written(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


def changed(table: str, row: int, **fields: object) -> dict[str, Any]:
    """The content with other values of some fields; None leaves the field out."""
    content = copy.deepcopy(CONTENT)
    record = content[table][row] | fields
    content[table][row] = {key: value for key, value in record.items() if value is not None}
    return content


def test_what_is_read(tmp_path: Path) -> None:
    truth = read_coco(written(tmp_path / "a.json", CONTENT))
    assert truth.image_ids == (9, 0)
    assert truth.files == ("nine.jpg", "zero.jpg")
    assert truth.image_sizes.tolist() == [[100, 80], [60, 50]]
    assert truth.class_names == ("dog", "bicycle")
    assert truth.class_ids == (18, 2)
    assert truth.images.tolist() == [1, 0]
    assert truth.labels.tolist() == [1, 0]
    assert truth.boxes.tolist() == [[1.1, 2.2, 1.1 + 3.3, 2.2 + 4.4], [0, 0, 10, 20]]
    assert truth.areas.tolist() == [7.5, 200]  # the annotated one; without one that of the box
    assert truth.crowd.tolist() == [False, True]
    assert not truth.difficult.any()


def test_no_annotations(tmp_path: Path) -> None:
    truth = read_coco(written(tmp_path / "a.json", CONTENT | {"annotations": []}))
    assert (len(truth), len(truth.image_ids)) == (0, 2)
    nothing: dict[str, Any] = {"images": [], "categories": [], "annotations": []}
    assert len(read_coco(written(tmp_path / "b.json", nothing))) == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (changed("images", 1, id=9), "images[1]: field id: 9 comes twice"),
        (changed("categories", 1, id=18), "categories[1]: field id: 18 comes twice"),
        (changed("categories", 1, name="dog"), "categories[1]: field name: 'dog' comes twice"),
        (changed("annotations", 1, id=0), "annotations[1]: field id: 0 comes twice"),
        (changed("annotations", 1, image_id=7), "annotations[1] (id 5): field image_id: there is no image 7"),
        (changed("annotations", 0, category_id=1), "annotations[0] (id 0): field category_id: there is no category 1"),
        (changed("annotations", 0, iscrowd=2), "annotations[0] (id 0): field iscrowd is 2, not 0 or 1"),
        (changed("annotations", 0, area=-1), "annotations[0] (id 0): field area is -1, expected 0 or more"),
        (
            changed("annotations", 1, bbox=[1, 2, 0, 5]),
            "annotations[1] (id 5): field bbox is [1.0, 2.0, 0.0, 5.0], expected a width and height above 0",
        ),
        (changed("annotations", 1, bbox=[1, 2, 4, -5]), "expected a width and height above 0"),
        (changed("annotations", 0, image_id=None), "annotations[0] (id 0): field image_id is missing"),
        (changed("annotations", 0, id=None), "annotations[0]: field id is missing"),
        (changed("annotations", 0, image_id="0"), "annotations[0] (id 0): field image_id: expected int, got str"),
        (changed("annotations", 0, category_id=True), "field category_id: expected int, got bool"),
        (changed("annotations", 0, bbox=[1, 2, 3]), "annotations[0] (id 0): field bbox: expected array of length 4"),
        (changed("annotations", 0, bbox=[1, 2, 3, "4"]), "field bbox[3]: expected float, got str"),
        (changed("annotations", 0, bbox="1 2 3 4"), "field bbox: expected array, got str"),
        (changed("images", 0, width=None), "images[0] (id 9): field width is missing"),
        (changed("images", 0, height=80.5), "images[0] (id 9): field height: expected int, got float"),
        (changed("categories", 0, name=5), "categories[0] (id 18): field name: expected str, got int"),
        (CONTENT | {"annotations": [5]}, "annotations[0]: expected object, got int"),
    ],
)
def test_a_fault_is_named(tmp_path: Path, content: object, message: str) -> None:
    path = written(tmp_path / "a.json", content)
    with pytest.raises(FaultyDataError) as caught:
        read_coco(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value).splitlines()[0]


def test_all_faults_are_named_up_to_a_limit(tmp_path: Path) -> None:
    content = copy.deepcopy(CONTENT)
    record = content["annotations"][0]
    content["annotations"] = [record | {"id": i, "image_id": 77} for i in range(3)]
    with pytest.raises(FaultyDataError) as caught:
        read_coco(written(tmp_path / "a.json", content))
    assert len(str(caught.value).splitlines()) == 3
    content["annotations"] = [record | {"id": str(i)} for i in range(100)]
    with pytest.raises(FaultyDataError) as caught:
        read_coco(written(tmp_path / "a.json", content))
    assert len(str(caught.value).splitlines()) == 21
    assert str(caught.value).endswith("... and more: reading stopped at 20 faults")


def test_empty_boxes_are_left_out_on_request(tmp_path: Path) -> None:
    truth = read_coco(written(tmp_path / "a.json", changed("annotations", 0, bbox=[1, 2, 0, 5])), skip_empty_boxes=True)
    assert truth.labels.tolist() == [0]
    assert truth.areas.tolist() == [200]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"{", "is not JSON"),
        (b"no JSON", "is not JSON"),
        (b'{"images": [NaN]}', "is not JSON"),
        (b"[" * 100_000, "a list is a file of detections"),
        (b'[{"image_id": 1}]', "a list is a file of detections"),
        (b'{"images": []}', "field categories is missing; expected images, categories and annotations"),
        (b'{"images": {}, "categories": [], "annotations": []}', "field images: expected array, got object"),
    ],
)
def test_another_file(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_coco(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.json: cannot be read: No such file"):
        read_coco(tmp_path / "none.json")


@pytest.mark.skipif("COCO_ANNOTATIONS" not in os.environ, reason="COCO_ANNOTATIONS does not name COCO's annotations")
def test_it_is_what_pycocotools_reads(capsys: pytest.CaptureFixture[str]) -> None:
    from pycocotools.coco import COCO

    path = os.environ["COCO_ANNOTATIONS"]
    truth, other = read_coco(path), COCO(path)
    annotations = [one for one in other.dataset["annotations"]]
    assert [truth.image_ids[i] for i in truth.images] == [one["image_id"] for one in annotations]
    assert [truth.class_ids[i] for i in truth.labels] == [one["category_id"] for one in annotations]
    assert truth.areas.tolist() == [one["area"] for one in annotations]
    assert truth.crowd.tolist() == [bool(one["iscrowd"]) for one in annotations]
    boxes = np.array([one["bbox"] for one in annotations])
    np.testing.assert_array_equal(truth.boxes, np.hstack((boxes[:, :2], boxes[:, :2] + boxes[:, 2:])))
