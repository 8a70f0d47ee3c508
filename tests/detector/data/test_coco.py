import copy
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

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


@pytest.mark.parametrize("image_id", ["a-1", -3, 2**70])
def test_ids_may_be_any_texts_and_numbers(path: Path, image_id: int | str) -> None:
    content = changed("images", 1, id=image_id)
    content["annotations"][0] |= {"id": "first", "image_id": image_id}
    truth = read(path, content)
    assert truth.image_ids == (42, image_id)
    assert truth.images.tolist() == [1, 0]


def test_images_without_objects(path: Path) -> None:
    truth = read(path, CONTENT | {"annotations": []})
    assert (len(truth), len(truth.image_ids), truth.boxes.shape) == (0, 2, (0, 4))


def test_flags_and_borderline_values(path: Path) -> None:
    truth = read(path, changed("annotations", 0, iscrowd=True, area=0, bbox=[-1.5, 0, 1e-3, 1e6]))
    assert truth.crowd[0]
    assert truth.areas[0] == 0
    assert truth.boxes[0].tolist() == [-1.5, 0, -1.5 + 1e-3, 1e6]


@pytest.mark.parametrize(
    ("section", "record", "fields", "message"),
    [
        ("annotations", 1, {"id": ...}, "annotations[1]: {...}: object missing required field `id`"),
        ("annotations", 1, {"id": 7}, "annotations[1] (id 7): field id is the same as in annotations[0]"),
        *(("annotations", 1, {"id": value}, "annotations[1]: field id: ") for value in (1.5, False, [0], " ")),
        ("annotations", 0, {"image_id": 8}, "annotations[0] (id 7): field image_id is 8, which no record in images"),
        ("annotations", 0, {"image_id": "0"}, 'annotations[0] (id 7): field image_id is "0", which no'),
        ("annotations", 0, {"category_id": 2}, "annotations[0] (id 7): field category_id is 2, which no record in"),
        ("annotations", 0, {"category_id": 1.0}, "annotations[0]: field category_id: "),
        *(("annotations", 0, {"bbox": value}, "annotations[0]: field bbox: ") for value in (None, [1, 2, 3])),
        *(("annotations", 0, {"bbox": [1, value, 3, 4]}, "annotations[0]: field bbox[1]: ")
          for value in ("2", True, float("nan"), float("-inf"), 1e308)),
        *(("annotations", 0, {"bbox": value}, "annotations[0] (id 7): field bbox is [") for value in (
            [1, 2, 0, 5], [1, 2, 3, -5], [1e20, 2, 3, 5])),
        *(("annotations", 0, {"area": value}, "annotations[0]: field area: ") for value in (-1, "6", float("nan"))),
        *(("annotations", 0, {"iscrowd": value}, "annotations[0]: field iscrowd: ") for value in (2, "1")),
        ("images", 1, {"id": 42}, "images[1]: field id is 42, as in images[0]"),
        ("images", 1, {"id": "42"}, 'images[1]: field id is "42", as in images[0]'),
        ("images", 0, {"width": 0}, "images[0]: field width: "),
        *(("images", 0, {"height": value}, "images[0]: field height: ") for value in ("480", 2**65)),
        ("images", 0, {"file_name": 5}, "images[0]: field file_name: "),
        ("categories", 1, {"id": "90"}, 'categories[1]: field id is "90", as in categories[0]'),
        ("categories", 1, {"name": "toothbrush"}, 'categories[1]: field name is "toothbrush", as in categories[0]'),
        ("categories", 1, {"name": " "}, "categories[1]: field name: "),
    ],
)  # fmt: skip
def test_a_wrong_field_names_record_and_field(
    path: Path, section: str, record: int, fields: dict[str, Any], message: str
) -> None:
    fault, *_ = faults_of(path, changed(section, record, **fields))
    start, _, end = message.partition("{...}")
    assert fault.startswith(start)
    assert end in fault


@pytest.mark.parametrize("section", ["images", "categories", "annotations"])
@pytest.mark.parametrize("value", [..., None, {"a": 1}])
def test_a_wrong_section(path: Path, section: str, value: Any) -> None:
    with pytest.raises(InputError, match=rf"instances\.json: .*{section}.*; expected an object with images"):
        read(path, {k: v for k, v in (CONTENT | {section: value}).items() if v is not ...})


@pytest.mark.parametrize("section", ["images", "categories"])
def test_an_empty_section(path: Path, section: str) -> None:
    assert f"{section}: is empty" in faults_of(path, CONTENT | {section: []})


def test_all_faulty_records_are_named_up_to_a_limit(path: Path) -> None:
    content = changed("annotations", 0, image_id=9, category_id=8, bbox=[1, 2, 0, 5])
    content["annotations"] = [[1], *content["annotations"], {"id": 5, "bbox": "x"}]
    assert [fault.split(": ")[0] for fault in faults_of(path, content)] == [
        "annotations[0]", "annotations[3]", *["annotations[1] (id 7)"] * 3
    ]  # fmt: skip
    with pytest.raises(FaultyDataError, match=r"\n\.\.\. and 10 more$"):
        read(path, CONTENT | {"annotations": [{"id": number} for number in range(30)]})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not JSON"),
        ("id,x,y\n", "is not JSON"),
        ('{"images": [', "is not JSON"),
        ('{"images": [NaN}', "is not JSON"),
        ('[{"image_id": 1, "score": 0.5}]', "Expected `object`, got `array`; expected an object with images"),
        ('"x"', "Expected `object`, got `str`; expected an object with images, categories and annotations"),
        ('{"a":' * 100_000, "is not JSON: the brackets are nested too deeply"),
    ],
)
def test_no_annotations_at_all(path: Path, text: str, message: str) -> None:
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_coco(path)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)


def test_a_faulty_file_that_is_too_large_for_all_faults(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detector.data.coco._LENIENT_LIMIT", 10)
    with pytest.raises(InputError, match=r"instances\.json: .*annotations.*bbox\[1\]"):
        read(path, changed("annotations", 0, bbox=[1, "2", 3, 4]))


def test_a_text_that_is_not_utf_8(path: Path) -> None:
    path.write_bytes(json.dumps(CONTENT).encode().replace(b"b.jpg", b"\xff.jpg"))
    with pytest.raises(InputError, match=r"instances\.json: is not .*JSON.*(utf|UTF)-8"):
        read_coco(path)


def test_a_number_beyond_float64(path: Path) -> None:
    path.write_text(json.dumps(CONTENT).replace("3.5", "1e999"))
    with pytest.raises(FaultyDataError, match=r"annotations\[0\]: field bbox\[2\]: "):
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
        f"content = coco._decode(pathlib.Path({str(path)!r}), coco.Faults())\n"
        "print(memory() - before)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 20_000  # kB


@pytest.mark.skipif("COCO_ANNOTATIONS" not in os.environ, reason="COCO_ANNOTATIONS does not name an annotation file")
def test_agreement_with_pycocotools() -> None:
    coco_module = pytest.importorskip("pycocotools.coco")
    path = os.environ["COCO_ANNOTATIONS"]
    truth = read_coco(path)
    coco = coco_module.COCO(path)
    rows = zip(truth.images, truth.labels, truth.sides, truth.areas, truth.crowd, strict=True)
    for (image, label, (width, height), area, crowd), one in zip(rows, coco.dataset["annotations"], strict=True):
        assert (truth.image_ids[image], truth.class_ids[label]) == (one["image_id"], one["category_id"])
        assert (width, height, area, crowd) == (*one["bbox"][2:], one["area"], one["iscrowd"])
    for image_id, file, size in zip(truth.image_ids, truth.files, truth.image_sizes.tolist(), strict=True):
        image = coco.imgs[image_id]
        assert (file, size) == (image["file_name"], [image["width"], image["height"]])
    assert [coco.cats[one]["name"] for one in truth.class_ids] == list(truth.class_names)


def with_files(path: Path, *names: str) -> Any:
    images = [{"id": i, "file_name": name} for i, name in enumerate(names)]
    return read(path, {"images": images, "categories": [{"id": 1, "name": "cat"}], "annotations": []})


@pytest.mark.parametrize("name", ["/data/a.jpg", "../../a.jpg", "C:\\data\\a.jpg", "x/../../a.jpg"])
def test_a_photo_outside_the_folder_counts_by_its_name(path: Path, name: str):
    assert with_files(path, name).files == ("a.jpg",)


@pytest.mark.parametrize(
    ("first", "second"),
    [("/data/one/a.jpg", "/data/two/a.jpg"), ("a.jpg", "../a.jpg"), ("C:\\one\\a.jpg", "x/../../a.jpg")],
)
def test_two_images_that_would_share_a_photo(path: Path, first: str, second: str):
    with pytest.raises(FaultyDataError, match=r'^[^\n]*: images\[1\] .* counts as "a.jpg".* images\[0\][^\n]*$'):
        with_files(path, first, second)


def test_a_photo_of_two_images_and_folders_within_the_folder(path: Path):
    """Neither is changed: one photo may stand in the file twice, and folders tell photos apart."""
    names = ["one/a.jpg", "two/a.jpg", "b.jpg", "b.jpg", "/data/c.jpg", "/data/c.jpg"]
    assert with_files(path, *names).files == ("one/a.jpg", "two/a.jpg", "b.jpg", "b.jpg", "c.jpg", "c.jpg")
