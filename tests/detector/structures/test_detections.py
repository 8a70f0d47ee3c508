"""Detections: what is accepted, what is refused in which words, selection and the round trip through JSON."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

from detector.data.formats import read_detections
from detector.data.ground_truth import GroundTruth
from detector.errors import InputError
from detector.structures.detections import Detection, Detections
from detector.structures.image import Image
from detector.visualization.boxes import draw_marks
from proposals.extras import needs_extra

CLASSES = ("bird", "cat", "dog")


def make(**changes: object) -> Detections:
    fields = {
        "boxes": [[10, 20, 110, 220], [0, 0, 320, 240], [5.25, 5, 8, 9]],
        "scores": [0.9, 0.5, 0.5],
        "labels": [2, 0, 2],
        "class_names": CLASSES,
        "image_size": (320, 240),
    }
    return Detections(**(fields | changes))


def test_fields_and_iteration():
    found = make()
    assert (found.boxes.dtype, found.scores.dtype, found.labels.dtype) == (np.float32, np.float32, np.int64)
    assert len(found) == 3
    assert list(found) == [
        Detection("dog", 18, pytest.approx(0.9), (10.0, 20.0, 110.0, 220.0)),
        Detection("bird", 16, 0.5, (0.0, 0.0, 320.0, 240.0)),
        Detection("dog", 18, 0.5, (5.25, 5.0, 8.0, 9.0)),
    ]
    assert found[-1] == found[np.int64(2)] == list(found)[2]
    with pytest.raises(IndexError):
        found[3]


@pytest.mark.parametrize("empty", [[], np.zeros((0, 4))])
def test_no_detections(empty):
    found = make(boxes=empty, scores=[], labels=[])
    assert found.boxes.shape == (0, 4)
    assert (len(found), list(found), found.to_dict()) == (0, [], [])
    assert len(found.filter(score=0.1, classes=["cat"])) == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"boxes": [[0, 0, 1, 1], [10, 5, 8, 9], [0, 0, 1, 1]]},
            "box 1 (10.0, 5.0, 8.0, 9.0) has no positive area",
        ),
        (
            {"boxes": [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 2, 5]]},
            "box 2 (2.0, 2.0, 2.0, 5.0) has no positive area",
        ),
        ({"boxes": [[0, 0, np.nan, 1]] * 3}, "box 0 (0.0, 0.0, nan, 1.0) is not finite"),
        ({"boxes": [[0, 0, np.inf, 1]] * 3}, "box 0 (0.0, 0.0, inf, 1.0) is not finite"),
        (
            {"boxes": [[0, 0, 320, 240], [0, 0, 321, 240], [0, 0, 1, 1]]},
            "box 1 (0.0, 0.0, 321.0, 240.0) is not inside the image of 320x240 pixels",
        ),
        (
            {"boxes": [[-1, 0, 5, 5]] * 3},
            "box 0 (-1.0, 0.0, 5.0, 5.0) is not inside the image of 320x240 pixels",
        ),
        (
            {"boxes": [[0, 0, 1]] * 3},
            "boxes, scores, labels have shapes (3, 3), (3,), (3,); give (N, 4), (N,), (N,)",
        ),
        ({"scores": [0.9, 0.5]}, "have shapes (3, 4), (2,), (3,)"),
        ({"labels": [[2, 0, 2]]}, "have shapes (3, 4), (3,), (1, 3)"),
        ({"scores": [1.5, 0.5, 0.5]}, "score 0 (1.5) is not in 0..1"),
        ({"scores": [0.5, 0.5, -0.5]}, "score 2 (-0.5) is not in 0..1"),
        ({"scores": [0.5, np.nan, 0.5]}, "score 1 (nan) is not in 0..1"),
        ({"scores": [0.5, 0.25, 0.75]}, "score 2 (0.75) is above the one before; sort best first"),
        ({"labels": [2, 0, 3]}, "label 2 (3) is not in 0..2"),
        ({"labels": [2, -1, 0]}, "label 1 (-1) is not in 0..2"),
        ({"labels": [2.0, 0.0, 2.0]}, "labels are float64; give whole numbers"),
        ({"class_names": ("cat", "dog", "cat")}, "class names must be given and all differ: cat, dog, cat"),
        ({"class_names": ()}, "class names must be given and all differ: none given"),
        ({"image_size": (0, 240)}, "image size 0x240 is not positive"),
    ],
)
def test_what_is_refused(changes, message):
    with pytest.raises(InputError) as caught:
        make(**changes)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_immutable():
    boxes = np.array([[0, 0, 5, 5]], np.float32)
    found = make(boxes=boxes, scores=[0.5], labels=[0])
    boxes[:] = 100
    assert found.boxes.tolist() == [[0, 0, 5, 5]]
    for array in (found.boxes, found.scores, found.labels, found[:1].boxes):
        with pytest.raises(ValueError, match="read-only"):
            array[:] = 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.boxes = boxes


def test_selection():
    found = make()
    assert found[:2].labels.tolist() == [2, 0]
    assert found[found.labels == 2].boxes.tolist() == [[10, 20, 110, 220], [5.25, 5, 8, 9]]
    assert found[np.array([0, 2])].labels.tolist() == [2, 2]
    assert found[:1].class_names == CLASSES
    assert found[:1].image_size == (320, 240)
    with pytest.raises(InputError, match="sort best first"):
        found[::-1]


def test_filter():
    found = make()
    assert found.filter().to_dict() == found.to_dict()
    assert found.filter(score=0.5).labels.tolist() == [2, 0, 2]
    assert found.filter(score=0.6).labels.tolist() == [2]
    assert found.filter(classes=["dog"]).scores.tolist() == pytest.approx([0.9, 0.5])
    assert found.filter(score=0.6, classes=["bird"]).labels.tolist() == []
    assert len(found.filter(classes=[])) == 0
    for classes in ("dog", (name for name in ["dog"]), {"dog": 1}.keys()):
        assert found.filter(classes=classes).labels.tolist() == [2, 2]
    assert make(labels=[0, 0, 0], class_names="bird").class_names == ("bird",)
    with pytest.raises(InputError, match="class 'lion' is unknown; known are bird, cat, dog"):
        found.filter(classes=["dog", "lion"])


@pytest.mark.parametrize("score", ["0.5", float("nan"), 2, {"cat": None}, {"cat": "0.5"}])
def test_filter_by_what_is_no_score(score):
    with pytest.raises(InputError, match=r"score .* is not a number in 0\.\.1"):
        make().filter(score=score)


def test_filter_by_scores_of_classes():
    found = make()
    assert found.filter(score={"dog": 0.6}).labels.tolist() == [2, 0]
    assert found.filter(score={"dog": 0.95, "bird": 0.5}).labels.tolist() == [0]
    assert found.filter(score={"cat": 1}).labels.tolist() == [2, 0, 2]
    assert found.filter(score={"dog": float(found.scores[0])}).labels.tolist() == [2, 0], "the score itself is enough"
    with pytest.raises(InputError, match="class 'lion' is unknown"):
        found.filter(score={"lion": 0.5})


def test_to_coco_is_what_the_evaluation_reads(tmp_path):
    found = make()
    path = tmp_path / "found.json"
    path.write_text(json.dumps(found.to_coco(7)))
    truth = GroundTruth(image_ids=(7,), class_names=CLASSES, images=[], labels=[], boxes=np.zeros((0, 4)))
    read = read_detections(path, truth)
    assert read.format == "coco"
    np.testing.assert_allclose(read.table.boxes, found.boxes, atol=0.011)
    np.testing.assert_allclose(read.table.scores, found.scores, atol=5e-6)
    np.testing.assert_array_equal(read.table.labels, found.labels)


def test_to_pandas():
    table = make().to_pandas()
    assert list(table.columns) == ["label", "category_id", "score", "x1", "y1", "x2", "y2"]
    assert table.iloc[2].tolist() == ["dog", 18, 0.5, 5.25, 5, 8, 9]
    assert (table[table.label == "dog"].x2 - table[table.label == "dog"].x1).tolist() == [100, 2.75]
    assert len(make(boxes=[], scores=[], labels=[]).to_pandas()) == 0


def test_to_supervision():
    supervision = pytest.importorskip("supervision")
    found = make()
    given = found.to_supervision()
    assert isinstance(given, supervision.Detections)
    np.testing.assert_array_equal(given.xyxy, found.boxes)
    np.testing.assert_array_equal(given.confidence, found.scores)
    assert given.class_id.tolist() == [2, 0, 2]
    assert given.data["class_name"].tolist() == ["dog", "bird", "dog"]
    given.xyxy[:] = 0  # what is handed on may be changed
    assert found.boxes[0, 2] == 110
    none = make(boxes=[], scores=[], labels=[]).to_supervision()
    assert (none.xyxy.shape, len(none)) == ((0, 4), 0)


def test_plot_shows_the_drawing():
    pixels = np.full((240, 320, 3), 90, np.uint8)
    axes = make().plot(pixels, channels="RGB")
    np.testing.assert_array_equal(axes.images[0].get_array(), make().draw(pixels, channels="RGB"))
    assert make().plot(pixels, channels="RGB", axes=axes) is axes
    with pytest.raises(InputError, match="the detections are for 320x240"):
        make().plot(pixels[:100], channels="RGB", axes=axes)
    pixels[:, :, 0] = 0
    shown = make().plot(pixels[:, :, ::-1], channels="BGR").images[0].get_array()
    np.testing.assert_array_equal(shown, make().draw(pixels, channels="RGB"))


@pytest.mark.parametrize(
    ("library", "extra", "call"),
    [
        ("pandas", "pandas", lambda found: found.to_pandas()),
        ("supervision", "supervision", lambda found: found.to_supervision()),
        ("matplotlib", "report", lambda found: found.plot(np.zeros((240, 320, 3), np.uint8), "RGB")),
    ],
)
def test_a_library_that_is_not_installed_is_named(monkeypatch, library, extra, call):
    class Missing:
        def find_spec(self, name: str, *_: object) -> None:
            if name.split(".")[0] == library:
                raise ModuleNotFoundError(f"No module named {library!r}", name=library)

    for name in list(sys.modules):
        if name.split(".")[0] == library:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Missing(), *sys.meta_path])
    with pytest.raises(InputError) as caught:
        call(make())
    assert str(caught.value).endswith(needs_extra("", extra))


def test_category_ids():
    found = make(class_ids=(5, "b", 3))
    ids = [3, 5, 3]
    assert [one.category_id for one in found] == [one["category_id"] for one in found.to_dict()] == ids
    assert [one["category_id"] for one in found.filter(score=0.5)[:2].to_coco(1)] == ids[:2]
    again = Detections.from_dict(found.to_dict(), CLASSES, (320, 240), found.class_ids)
    assert again.class_ids == found.class_ids
    photo = Image(np.zeros((240, 320, 3), np.uint8), "photo")
    np.testing.assert_array_equal(found.draw(photo), make().draw(photo), "colors go by the place among the classes")
    for wrong in ((1, 2), (1, 1, 2)):
        with pytest.raises(InputError, match="class ids"):
            make(class_ids=wrong)


def test_round_trip_through_json():
    found = make(scores=[0.8999999, 0.3, 0.1], boxes=[[1 / 3, 0, 7.7, 9.1], [0, 0, 320, 240], [5, 5, 8, 9]])
    items = json.loads(json.dumps(found.to_dict()))
    assert items[1] == {
        "label": "bird",
        "category_id": 16,
        "score": float(np.float32(0.3)),
        "box": [0, 0, 320, 240],
    }
    for given in (items, items[::-1]):
        again = Detections.from_dict(given, CLASSES, (320, 240))
        for field in ("boxes", "scores", "labels"):
            np.testing.assert_array_equal(getattr(again, field), getattr(found, field))
    assert len(Detections.from_dict([], CLASSES, (320, 240))) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": "lion"}, "class 'lion' is unknown; known are bird, cat, dog"),
        ({"label": None}, "class None is unknown"),
        ({"box": [0, 0, 5]}, "detection 1: box is [0, 0, 5]; give [x1, y1, x2, y2]"),
        ({"box": "0123"}, "detection 1: box is '0123'"),
        ({"box": None}, "detection 1: box is None"),
        ({"score": "high"}, "detection 1: score is 'high'; give a number in 0..1"),
        ({"score": None}, "detection 1: score is None"),
        ({"box": [9, 9, 5, 5]}, "(9.0, 9.0, 5.0, 5.0) has no positive area"),
    ],
)
def test_from_dict_refuses(change, message):
    good = {"label": "cat", "score": 0.5, "box": [0, 0, 5, 5]}
    with pytest.raises(InputError) as caught:
        Detections.from_dict([good, good | change], CLASSES, (320, 240))
    assert message in str(caught.value)


def test_from_dict_takes_any_iterable():
    again = Detections.from_dict((one for one in make().to_dict()), (name for name in CLASSES), (320, 240))
    assert again.to_dict() == make().to_dict()


@pytest.mark.parametrize("field", ["label", "score", "box"])
def test_from_dict_needs_every_field(field):
    item = {"label": "cat", "score": 0.5, "box": [0, 0, 5, 5]}
    del item[field]
    with pytest.raises(InputError, match=f"detection 0 has no field '{field}'"):
        Detections.from_dict([item], CLASSES, (320, 240))


def test_draw_takes_any_image_of_the_right_size():
    pixels = np.full((240, 320, 3), 90, np.uint8)
    found = make()
    drawn = found.draw(Image(pixels, "photo"))
    np.testing.assert_array_equal(drawn, draw_marks(pixels, found.marks()))
    np.testing.assert_array_equal(drawn[:, :, ::-1], found.draw(pixels, channels="BGR"))
    assert (pixels == 90).all(), "the photo itself was drawn on"
    with pytest.raises(InputError, match="photo: is 100x240 pixels, the detections are for 320x240"):
        found.draw(Image(np.zeros((240, 100, 3), np.uint8), "photo"))


def test_torch_is_not_imported():
    code = f"import sys; from {Detections.__module__} import Detections; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
