import copy
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detector.data.coco import read_coco
from detector.data.faults import FaultyDataError
from detector.errors import InputError

CONTENT: dict[str, Any] = {
    "info": {"year": 2017},
    "images": [
        {"id": 42, "file_name": "b.jpg", "width": 640, "height": 480},
        {"id": 0, "file_name": "a.jpg", "width": 10, "height": 20},
    ],
    "categories": [{"id": 90, "name": "toothbrush", "supercategory": "indoor"}, {"id": 1, "name": "person"}],
    "annotations": [
        {"id": 7, "image_id": 0, "category_id": 1, "bbox": [1, 2, 3.5, 4], "area": 6.25, "iscrowd": 0, "ignore": 1,
         "segmentation": [[1, 2, 4.5, 2, 4, 6]]},
        {"id": 0, "image_id": 42, "category_id": 90, "bbox": [0.5, 0, 600, 480], "area": 9, "iscrowd": 1,
         "segmentation": {"counts": "abc", "size": [480, 640]}},
    ],
}  # fmt: skip


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "instances.json"


def read(path: Path, content: Any, **options: Any) -> Any:
    path.write_text(json.dumps(content))
    return read_coco(path, **options)


def changed(section: str, record: int, **fields: Any) -> dict[str, Any]:
    """The content with other fields in one record; a field that is `...` is left out."""
    content = copy.deepcopy(CONTENT)
    content[section][record] = {k: v for k, v in (content[section][record] | fields).items() if v is not ...}
    return content


def faults_of(path: Path, content: Any, **options: Any) -> list[str]:
    with pytest.raises(FaultyDataError) as caught:
        read(path, content, **options)
    assert all(fault.file == str(path) for fault in caught.value.faults)
    return [f"{fault.record}: {fault.fault}" if fault.record else fault.fault for fault in caught.value.faults]


def test_every_column(path: Path) -> None:
    truth = read(path, CONTENT)
    assert truth.image_ids == (42, 0)
    assert truth.files == ("b.jpg", "a.jpg")
    assert truth.image_sizes.tolist() == [[640, 480], [10, 20]]
    assert truth.class_names == ("toothbrush", "person")
    assert truth.class_ids == (90, 1)
    assert truth.images.tolist() == [1, 0]
    assert truth.labels.tolist() == [1, 0]
    assert truth.boxes.tolist() == [[1, 2, 4.5, 6], [0.5, 0, 600.5, 480]]
    assert truth.areas.tolist() == [6.25, 9]
    assert truth.crowd.tolist() == [False, True]  # the key `ignore` has no say
    assert not truth.difficult.any()


def test_what_may_be_missing(path: Path) -> None:
    content = {
        "images": [{"id": 3}],
        "categories": [{"id": 5, "name": "cat"}],
        "annotations": [{"id": 1, "image_id": 3, "category_id": 5, "bbox": [1, 1, 4, 5]}],
    }
    truth = read(path, content)
    assert (truth.areas.tolist(), truth.crowd.tolist()) == ([20], [False])
    assert (truth.files, truth.image_sizes.tolist()) == (("3",), [[0, 0]])


def test_ids_may_be_texts(path: Path) -> None:
    content = changed("images", 1, id="a-1")
    content["annotations"][0] |= {"id": "first", "image_id": "a-1"}
    truth = read(path, content)
    assert truth.image_ids == (42, "a-1")
    assert truth.images.tolist() == [1, 0]
    content["annotations"][1]["id"] = "first"
    fault = 'field id is "first", as in annotations[0]'
    assert faults_of(path, content) == [f'annotations[1] (id "first"): {fault}']


def test_images_without_objects(path: Path) -> None:
    truth = read(path, CONTENT | {"annotations": []})
    assert (len(truth), len(truth.image_ids), truth.boxes.shape) == (0, 2, (0, 4))


def test_flags_and_borderline_values(path: Path) -> None:
    truth = read(path, changed("annotations", 0, iscrowd=True, area=0, bbox=[-1.5, 0, 1e-3, 1e6]))
    assert truth.crowd[0]
    assert truth.areas[0] == 0
    assert truth.boxes[0].tolist() == [-1.5, 0, -1.5 + 1e-3, 1e6]


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_ids_in_any_order(path: Path, data: st.DataObject) -> None:
    """The objects are the same ones whatever the order of the records and of the keys in them."""
    ids = st.integers(-(2**40), 2**70)
    image_ids = data.draw(st.lists(ids, min_size=1, max_size=5, unique=True))
    class_ids = data.draw(st.lists(ids, min_size=1, max_size=5, unique=True))
    side = st.floats(2**-6, 1000, width=32)
    annotations = [
        {"id": number, "image_id": data.draw(st.sampled_from(image_ids)),
         "category_id": data.draw(st.sampled_from(class_ids)), "bbox": [data.draw(side) for _ in range(4)]}
        for number in data.draw(st.lists(ids, max_size=8, unique=True))
    ]  # fmt: skip
    shuffled = random.Random(data.draw(st.integers(0, 99)))
    sections = [
        ("annotations", [dict(shuffled.sample(list(one.items()), len(one))) for one in annotations]),
        ("images", [{"id": one} for one in image_ids]),
        ("categories", [{"id": one, "name": str(one)} for one in class_ids]),
    ]
    for _, records in sections:
        shuffled.shuffle(records)
    truth = read(path, dict(shuffled.sample(sections, 3)))
    rows = zip(truth.images.tolist(), truth.labels.tolist(), truth.boxes.tolist(), strict=True)
    got = [(truth.image_ids[image], truth.class_ids[label], box) for image, label, box in rows]
    want = [
        (one["image_id"], one["category_id"], [x, y, x + w, y + h])
        for one in annotations
        for x, y, w, h in [one["bbox"]]
    ]
    assert sorted(got) == sorted(want)
    assert truth.class_names == tuple(map(str, truth.class_ids))


NUMBERS = "four finite numbers x, y, width, height"


@pytest.mark.parametrize(
    ("section", "record", "fields", "message"),
    [
        ("annotations", 1, {"id": ...}, "annotations[1]: field id is missing"),
        ("annotations", 1, {"id": 7}, "annotations[1] (id 7): field id is 7, as in annotations[0]"),
        ("annotations", 1, {"id": 1.5}, "annotations[1]: field id is 1.5, expected a whole number or text"),
        ("annotations", 0, {"image_id": ...}, "annotations[0] (id 7): field image_id is missing"),
        ("annotations", 0, {"image_id": 8}, "annotations[0] (id 7): field image_id is 8, which no record in images"
                                            " has as its id"),
        ("annotations", 0, {"image_id": "0"}, 'field image_id is "0", which no record in images has as its id'),
        ("annotations", 0, {"image_id": False}, "field image_id is false, expected a whole number"),
        ("annotations", 0, {"image_id": [0]}, "field image_id is [0], expected a whole number"),
        ("annotations", 0, {"category_id": True}, "field category_id is true, expected a whole number"),
        ("annotations", 0, {"category_id": 1.0}, "field category_id is 1.0, expected a whole number"),
        ("annotations", 0, {"category_id": 2}, "field category_id is 2, which no record in categories has as its id"),
        ("annotations", 0, {"bbox": ...}, "annotations[0] (id 7): field bbox is missing"),
        ("annotations", 0, {"bbox": None}, f"field bbox is null, expected {NUMBERS}"),
        ("annotations", 0, {"bbox": [1, 2, 3]}, f"field bbox is [1, 2, 3], expected {NUMBERS}"),
        ("annotations", 0, {"bbox": [1, "2", 3, 4]}, f'field bbox is [1, "2", 3, 4], expected {NUMBERS}'),
        ("annotations", 0, {"bbox": [1, True, 3, 4]}, f"field bbox is [1, true, 3, 4], expected {NUMBERS}"),
        ("annotations", 0, {"bbox": [1, float("nan"), 3, 4]}, f"field bbox is [1, NaN, 3, 4], expected {NUMBERS}"),
        ("annotations", 0, {"bbox": [-float("inf"), 1, 3, 4]}, f"bbox is [-Infinity, 1, 3, 4], expected {NUMBERS}"),
        ("annotations", 0, {"bbox": [1, 2, 0, 5]}, "annotations[0] (id 7): field bbox is [1, 2, 0, 5], expected a "
                                                   "width and height above 0"),
        ("annotations", 0, {"bbox": [1, 2, 3, -5]}, "field bbox is [1, 2, 3, -5], expected a width and height above 0"),
        ("annotations", 0, {"bbox": [1e20, 2, 3, 5]}, "field bbox is [1e+20, 2, 3, 5], expected a width and height"),
        ("annotations", 0, {"bbox": [1e308, 2, 1e308, 5]}, f"field bbox is [1e+308, 2, 1e+308, 5], expected {NUMBERS}"),
        ("annotations", 0, {"area": -1}, "field area is -1, expected a number of at least 0"),
        ("annotations", 0, {"area": "6"}, 'field area is "6", expected a number of at least 0'),
        ("annotations", 0, {"area": float("nan")}, "field area is NaN, expected a number of at least 0"),
        ("annotations", 0, {"iscrowd": 2}, "field iscrowd is 2, expected 0 or 1"),
        ("annotations", 0, {"iscrowd": "1"}, 'field iscrowd is "1", expected 0 or 1'),
        ("images", 1, {"id": 42}, "images[1] (id 42): field id is 42, as in images[0]"),
        ("images", 1, {"id": "42"}, 'images[1] (id "42"): field id is "42", as in images[0] (42)'),
        ("images", 1, {"id": " "}, 'images[1]: field id is " ", expected a whole number or text'),
        ("images", 0, {"width": 0}, "images[0] (id 42): field width is 0, expected a whole number above 0"),
        ("images", 0, {"height": "480"}, 'field height is "480", expected a whole number above 0'),
        ("images", 0, {"height": 2**65}, f"field height is {2**65}, expected a whole number above 0"),
        ("images", 0, {"file_name": 5}, "field file_name is 5, expected text"),
        ("categories", 1, {"id": 90}, "categories[1] (id 90): field id is 90, as in categories[0]"),
        ("categories", 1, {"id": "90"}, 'categories[1] (id "90"): field id is "90", as in categories[0] (90)'),
        ("categories", 1, {"name": "toothbrush"}, 'categories[1] (id 1): field name is "toothbrush", as in '
                                                  "categories[0]"),
        ("categories", 1, {"name": ...}, "categories[1] (id 1): field name is missing"),
        ("categories", 1, {"name": " "}, 'categories[1] (id 1): field name is " ", expected text'),
    ],
)  # fmt: skip
def test_a_wrong_field_names_record_and_field(
    path: Path, section: str, record: int, fields: dict[str, Any], message: str
) -> None:
    assert any(message in fault for fault in faults_of(path, changed(section, record, **fields)))


@pytest.mark.parametrize("section", ["images", "categories", "annotations"])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (..., "field {0} is missing, expected a list of {0}"),
        (None, "field {0} is null, expected a list of {0}"),
        ({"a": 1}, 'field {0} is {{"a": 1}}, expected a list of {0}'),
        ([{"id": 1}, [1]], "{0}[1]: is [1], expected an object with fields"),
        (["x"], '{0}[0]: is "x", expected an object with fields'),
    ],
)
def test_a_wrong_section(path: Path, section: str, value: Any, message: str) -> None:
    content = {k: v for k, v in (CONTENT | {section: value}).items() if v is not ...}
    assert message.format(section) in faults_of(path, content)


@pytest.mark.parametrize("section", ["images", "categories"])
def test_an_empty_section(path: Path, section: str) -> None:
    assert f"{section}: is empty" in faults_of(path, CONTENT | {section: []})


def test_all_faults_are_named(path: Path) -> None:
    content = changed("annotations", 0, bbox=[1, 2, 0, 5], area="x", category_id=8)
    content["annotations"][1]["image_id"] = 5
    assert [fault.split(" is ")[0] for fault in faults_of(path, content)] == [
        "annotations[1] (id 0): field image_id",
        "annotations[0] (id 7): field category_id",
        "annotations[0] (id 7): field area",
        "annotations[0] (id 7): field bbox",
    ]


def test_faults_beyond_the_limit_are_counted(path: Path) -> None:
    content = CONTENT | {"annotations": [{"id": number} for number in range(30)]}
    with pytest.raises(FaultyDataError, match=r"\n\.\.\. and 70 more$"):
        read(path, content)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty, expected COCO annotations in JSON"),
        (" \n", "is empty, expected COCO annotations in JSON"),
        ("id,x,y\n", "is not JSON: JSON is malformed: invalid character (byte 0), at 'id,x,y"),
        ('{"images": [', "is not JSON: Input data was truncated"),
        ('{"images": [}', "is not JSON: JSON is malformed: invalid character (byte 12), at ' [}'"),
        ('{"images": [NaN}', "is not JSON: JSON is malformed: invalid character (byte 12)"),
        ('[{"image_id": 1, "score": 0.5}]', "holds a list, as a file of results has; give the annotations"),
        ("[]", "holds a list, expected an object with images"),
        ('"x"', "Expected `object`, got `str`; expected an object with images, categories and annotations"),
        ('{"a":' * 100_000, "is not usable JSON: maximum recursion depth"),
    ],
)
def test_no_annotations_at_all(path: Path, text: str, message: str) -> None:
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_coco(path)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)


def test_a_text_that_is_not_utf_8(path: Path) -> None:
    path.write_bytes(json.dumps(CONTENT).encode().replace(b"b.jpg", b"\xff.jpg"))
    with pytest.raises(InputError, match=r"instances\.json: is not .*JSON.*(utf|UTF)-8"):
        read_coco(path)


def test_a_number_beyond_float64(path: Path) -> None:
    path.write_text(json.dumps(CONTENT).replace("3.5", "1e999"))
    with pytest.raises(FaultyDataError, match=r"annotations\[0\] \(id 7\): field bbox is \[1, 2, Infinity, 4\]"):
        read_coco(path)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none.json: cannot be read: No such file"):
        read_coco(tmp_path / "none.json")
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        read_coco(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = subprocess.Popen([sys.executable, "-c", f"open({str(pipe)!r}, 'w').write({json.dumps(CONTENT)!r})"])
    try:
        assert len(read_coco(pipe)) == 2
    finally:
        assert writer.wait(timeout=10) == 0


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_polygons_take_no_memory(path: Path) -> None:
    """40 MB of polygons, as Python's objects about 200 MB, leave the process as small as it was."""
    points = ",".join(f"{number}.25" for number in range(1000))
    with path.open("w") as file:
        file.write('{"images":[{"id":1}],"categories":[{"id":1,"name":"a"}],"annotations":[')
        file.write(",".join(
            f'{{"segmentation":[[{points}]],"id":{number},"image_id":1,"category_id":1,"bbox":[0,0,1,1]}}'
            for number in range(6000)
        ))  # fmt: skip
        file.write("]}")
    assert path.stat().st_size > 40e6
    # Pages of the mapped file (RssFile) are the system's to take back; the objects are in RssAnon.
    program = (
        "import pathlib, msgspec, detector.data.coco as coco\n"
        "memory = lambda: int(open('/proc/self/status').read().split('RssAnon:')[1].split()[0])\n"
        "before = memory()\n"
        f"content = coco._decode(pathlib.Path({str(path)!r}))\n"
        "print(memory() - before)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 20_000  # kB


def test_torch_is_not_needed() -> None:
    program = "import sys, detector.data.coco; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.skipif("COCO_ANNOTATIONS" not in os.environ, reason="COCO_ANNOTATIONS does not name an annotation file")
def test_agreement_with_pycocotools() -> None:
    coco_module = pytest.importorskip("pycocotools.coco")
    path = os.environ["COCO_ANNOTATIONS"]
    truth = read_coco(path)
    coco = coco_module.COCO(path)
    annotations = coco.dataset["annotations"]
    assert list(truth.image_ids) == [image["id"] for image in coco.dataset["images"]]
    assert sorted(truth.class_ids) == coco.getCatIds()
    assert {coco.cats[one]["name"] for one in truth.class_ids} == set(truth.class_names)
    assert list(truth.class_names) == [coco.cats[one]["name"] for one in truth.class_ids]
    for index, image_id in enumerate(truth.image_ids):
        image = coco.imgs[image_id]
        assert truth.image_sizes[index].tolist() == [image["width"], image["height"]]
        assert truth.files[index] == image["file_name"]
    assert [truth.image_ids[index] for index in truth.images] == [one["image_id"] for one in annotations]
    assert [truth.class_ids[index] for index in truth.labels] == [one["category_id"] for one in annotations]
    assert truth.areas.tolist() == [one["area"] for one in annotations]
    assert truth.crowd.tolist() == [bool(one["iscrowd"]) for one in annotations]
    xywh = np.array([one["bbox"] for one in annotations], np.float64)
    np.testing.assert_array_equal(truth.boxes, np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1))


@pytest.mark.parametrize("name", ["/data/a.jpg", "../../a.jpg", "C:\\data\\a.jpg", "x/../../a.jpg"])
def test_a_photo_outside_the_folder_counts_by_its_name(tmp_path: Path, name: str):
    path = tmp_path / "a.json"
    image = {"id": 1, "file_name": name, "width": 9, "height": 9}
    path.write_text(json.dumps({"images": [image], "categories": [{"id": 1, "name": "cat"}], "annotations": []}))
    assert read_coco(path).files == ("a.jpg",)


@pytest.mark.parametrize(
    ("first", "second"),
    [("/data/one/a.jpg", "/data/two/a.jpg"), ("a.jpg", "../a.jpg"), ("C:\\one\\a.jpg", "x/../../a.jpg")],
)
def test_two_images_that_would_share_a_photo(tmp_path: Path, first: str, second: str):
    path = tmp_path / "a.json"
    images = [{"id": i, "file_name": name, "width": 9, "height": 9} for i, name in ((4, first), (7, second))]
    path.write_text(json.dumps({"images": images, "categories": [{"id": 1, "name": "cat"}], "annotations": []}))
    with pytest.raises(InputError) as refused:
        read_coco(path)
    (line,) = str(refused.value).splitlines()
    assert line.startswith(f"{path}: images[1] (id 7): file_name ")
    assert 'counts as "a.jpg"' in line
    assert "of images[0] (id 4); name both relative to the folder of the photos" in line


def test_a_photo_of_two_images_and_folders_within_the_folder(tmp_path: Path):
    """Neither is changed: one photo may stand in the file twice, and folders tell photos apart."""
    path = tmp_path / "a.json"
    names = ["one/a.jpg", "two/a.jpg", "b.jpg", "b.jpg", "/data/c.jpg", "/data/c.jpg"]
    images = [{"id": i, "file_name": name, "width": 9, "height": 9} for i, name in enumerate(names)]
    path.write_text(json.dumps({"images": images, "categories": [{"id": 1, "name": "cat"}], "annotations": []}))
    assert read_coco(path).files == ("one/a.jpg", "two/a.jpg", "b.jpg", "b.jpg", "c.jpg", "c.jpg")
