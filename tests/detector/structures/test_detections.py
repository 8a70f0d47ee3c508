import dataclasses
import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image as PillowImage

from detector.data.formats import read_detections
from detector.data.ground_truth import GroundTruth
from detector.errors import InputError
from detector.structures.detections import Detection, Detections
from detector.structures.image import Image, ImageReference
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
    detections = make()
    assert (detections.boxes.dtype, detections.scores.dtype, detections.labels.dtype) == (
        np.float32,
        np.float32,
        np.int64,
    )
    assert len(detections) == 3
    assert list(detections) == [
        Detection("dog", 2, 18, pytest.approx(0.9), (10.0, 20.0, 110.0, 220.0)),
        Detection("bird", 0, 16, 0.5, (0.0, 0.0, 320.0, 240.0)),
        Detection("dog", 2, 18, 0.5, (5.25, 5.0, 8.0, 9.0)),
    ]
    assert detections[-1] == detections[np.int64(2)] == list(detections)[2]
    with pytest.raises(IndexError):
        detections[3]


@pytest.mark.parametrize("empty", [[], np.zeros((0, 4))])
def test_no_detections(empty):
    detections = make(boxes=empty, scores=[], labels=[])
    assert detections.boxes.shape == (0, 4)
    assert (len(detections), list(detections), detections.to_dict()) == (0, [], [])
    assert len(detections.filter(score=0.1, classes=["cat"])) == 0


@pytest.mark.parametrize(
    ("changes", "pattern"),
    [
        ({"boxes": [[0, 0, 1, 1], [10, 5, 8, 9], [0, 0, 1, 1]]}, r"box 1 \(10\.0, 5\.0, 8\.0, 9\.0\).*area"),
        ({"boxes": [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 2, 5]]}, r"box 2 \(2\.0, 2\.0, 2\.0, 5\.0\).*area"),
        ({"boxes": [[0, 0, np.nan, 1]] * 3}, r"box 0 \(0\.0, 0\.0, nan, 1\.0\).*finite"),
        ({"boxes": [[0, 0, np.inf, 1]] * 3}, r"box 0 \(0\.0, 0\.0, inf, 1\.0\).*finite"),
        ({"boxes": [[0, 0, 320, 240], [0, 0, 321, 240], [0, 0, 1, 1]]}, r"box 1 \(0\.0, 0\.0, 321\.0.*320x240"),
        ({"boxes": [[-1, 0, 5, 5]] * 3}, r"box 0 \(-1\.0, 0\.0, 5\.0, 5\.0\).*320x240"),
        ({"boxes": [[0, 0, 1]] * 3}, r"\(3, 3\), \(3,\), \(3,\)"),
        ({"scores": [0.9, 0.5]}, r"\(3, 4\), \(2,\), \(3,\)"),
        ({"labels": [[2, 0, 2]]}, r"\(3, 4\), \(3,\), \(1, 3\)"),
        ({"scores": [1.5, 0.5, 0.5]}, r"score 0 \(1\.5\)"),
        ({"scores": [0.5, 0.5, -0.5]}, r"score 2 \(-0\.5\)"),
        ({"scores": [0.5, np.nan, 0.5]}, r"score 1 \(nan\)"),
        ({"labels": [2, 0, 3]}, r"label 2 \(3\).*0\.\.2"),
        ({"labels": [2, -1, 0]}, r"label 1 \(-1\).*0\.\.2"),
        ({"labels": [2.0, 0.0, 2.0]}, "labels are float64"),
        ({"class_names": ("cat", "dog", "cat")}, "class names.*cat, dog, cat"),
        ({"class_names": ()}, "class names"),
        ({"class_ids": (1, 2)}, "class ids"),
        ({"class_ids": (1, 1, 2)}, "class ids"),
        ({"image_size": (0, 240)}, "image size 0x240"),
    ],
)
def test_bad_values_are_named(changes, pattern):
    with pytest.raises(InputError, match=pattern) as caught:
        make(**changes)
    assert "\n" not in str(caught.value)


def test_immutable():
    boxes = np.array([[0, 0, 5, 5]], np.float32)
    detections = make(boxes=boxes, scores=[0.5], labels=[0])
    boxes[:] = 100
    assert detections.boxes.tolist() == [[0, 0, 5, 5]]
    for array in (detections.boxes, detections.scores, detections.labels, detections[:1].boxes):
        with pytest.raises(ValueError, match="read-only"):
            array[:] = 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        detections.boxes = boxes


def test_selection():
    detections = make()
    assert detections[:2].labels.tolist() == [2, 0]
    assert detections[detections.labels == 2].boxes.tolist() == [[10, 20, 110, 220], [5.25, 5, 8, 9]]
    assert detections[np.array([0, 2])].labels.tolist() == [2, 2]
    assert detections[:1].class_names == CLASSES
    assert detections[:1].image_size == (320, 240)
    assert detections[::-1].boxes.tolist() == detections.boxes[::-1].tolist()
    assert detections[[2, 0]].scores.tolist() == detections.scores[[2, 0]].tolist()
    assert detections[[False, True, False]][0].label == "bird"
    assert len(detections[[]]) == 0
    assert detections[::-1].top(1) == detections[:1]


def test_filter():
    detections = make()
    assert detections.filter().to_dict() == detections.to_dict()
    assert detections.filter(score=0.5).labels.tolist() == [2, 0, 2]
    assert detections.filter(score=0.6).labels.tolist() == [2]
    assert detections.filter(classes=["dog"]).scores.tolist() == pytest.approx([0.9, 0.5])
    assert detections.filter(score=0.6, classes=["bird"]).labels.tolist() == []
    assert len(detections.filter(classes=[])) == 0
    for classes in ("dog", (name for name in ["dog"]), {"dog": 1}.keys()):
        assert detections.filter(classes=classes).labels.tolist() == [2, 2]
    assert make(labels=[0, 0, 0], class_names="bird").class_names == ("bird",)
    with pytest.raises(InputError, match=r"'lion'.*bird, cat, dog"):
        detections.filter(classes=["dog", "lion"])
    with pytest.raises(InputError, match="class 3 is unknown"):
        detections.filter(classes=3)


@pytest.mark.parametrize("score", ["0.5", float("nan"), 2, {"cat": None}, {"cat": "0.5"}])
def test_filter_refuses_bad_scores(score):
    with pytest.raises(InputError, match=r"score .*(0.5|nan|2|None)"):
        make().filter(score=score)


def test_filter_by_class_scores():
    detections = make()
    assert detections.filter(score={"dog": 0.6}).labels.tolist() == [2, 0]
    assert detections.filter(score={"dog": 0.95, "bird": 0.5}).labels.tolist() == [0]
    assert detections.filter(score={"cat": 1}).labels.tolist() == [2, 0, 2]
    assert detections.filter(score={"dog": float(detections.scores[0])}).labels.tolist() == [2, 0], (
        "the score itself is enough"
    )
    with pytest.raises(InputError, match=r"'lion'"):
        detections.filter(score={"lion": 0.5})


def test_evaluation_reads_to_coco(tmp_path):
    detections = make()
    path = tmp_path / "detections.json"
    path.write_text(json.dumps(detections.to_coco(7)))
    truth = GroundTruth(image_ids=(7,), class_names=CLASSES, images=[], labels=[], boxes=np.zeros((0, 4)))
    read = read_detections(path, truth)
    assert read.format == "coco"
    np.testing.assert_allclose(read.table.boxes, detections.boxes, atol=0.011)
    np.testing.assert_allclose(read.table.scores, detections.scores, atol=5e-6)
    np.testing.assert_array_equal(read.table.labels, detections.labels)


def test_to_pandas():
    table = make().to_pandas()
    assert list(table.columns) == ["label", "class_id", "category_id", "score", "x1", "y1", "x2", "y2"]
    assert table.iloc[2].tolist() == ["dog", 2, 18, 0.5, 5.25, 5, 8, 9]
    assert (table[table.label == "dog"].x2 - table[table.label == "dog"].x1).tolist() == [100, 2.75]
    assert len(make(boxes=[], scores=[], labels=[]).to_pandas()) == 0


def test_to_supervision():
    supervision = pytest.importorskip("supervision")
    detections = make()
    given = detections.to_supervision()
    assert isinstance(given, supervision.Detections)
    np.testing.assert_array_equal(given.xyxy, detections.boxes)
    np.testing.assert_array_equal(given.confidence, detections.scores)
    assert given.class_id.tolist() == [2, 0, 2]
    assert given.data["class_name"].tolist() == ["dog", "bird", "dog"]
    given.xyxy[:] = 0  # a copy, free to change
    assert detections.boxes[0, 2] == 110
    none = make(boxes=[], scores=[], labels=[]).to_supervision()
    assert (none.xyxy.shape, len(none)) == ((0, 4), 0)


def test_plot_shows_the_drawing():
    pixels = np.full((240, 320, 3), 90, np.uint8)
    axes = make().plot(pixels, channels="RGB")
    np.testing.assert_array_equal(axes.images[0].get_array(), make().draw(pixels, channels="RGB"))
    assert make().plot(pixels, channels="RGB", axes=axes) is axes
    with pytest.raises(InputError, match="320x240"):
        make().plot(pixels[:100], channels="RGB", axes=axes)
    pixels[:, :, 0] = 0
    shown = make().plot(pixels[:, :, ::-1], channels="BGR").images[0].get_array()
    np.testing.assert_array_equal(shown, make().draw(pixels, channels="RGB"))


@pytest.mark.parametrize(
    ("library", "extra", "call"),
    [
        ("pandas", "pandas", lambda detections: detections.to_pandas()),
        ("supervision", "supervision", lambda detections: detections.to_supervision()),
        ("matplotlib", "report", lambda detections: detections.plot(np.zeros((240, 320, 3), np.uint8), "RGB")),
    ],
)
def test_the_extra_of_a_missing_library_is_named(monkeypatch, library, extra, call):
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
    detections = make(class_ids=(5, "b", 3))
    ids = [3, 5, 3]
    assert [item.category_id for item in detections] == [item["category_id"] for item in detections.to_dict()] == ids
    assert [item["category_id"] for item in detections.filter(score=0.5)[:2].to_coco(1)] == ids[:2]
    again = Detections.from_dict(detections.to_dict(), CLASSES, (320, 240), detections.class_ids)
    assert again.class_ids == detections.class_ids
    photo = Image(np.zeros((240, 320, 3), np.uint8), "photo")
    np.testing.assert_array_equal(detections.draw(photo), make().draw(photo), "colors depend on the index of the class")


def test_round_trip_through_json():
    detections = make(scores=[0.8999999, 0.3, 0.1], boxes=[[1 / 3, 0, 7.7, 9.1], [0, 0, 320, 240], [5, 5, 8, 9]])
    items = json.loads(json.dumps(detections.to_dict()))
    assert items[1] == {
        "label": "bird",
        "category_id": 16,
        "score": float(np.float32(0.3)),
        "box": [0, 0, 320, 240],
    }
    for given in (items, items[::-1]):
        again = Detections.from_dict(given, CLASSES, (320, 240))
        for field in ("boxes", "scores", "labels"):
            np.testing.assert_array_equal(getattr(again, field), getattr(detections, field))
    assert len(Detections.from_dict([], CLASSES, (320, 240))) == 0


@pytest.mark.parametrize(
    ("change", "pattern"),
    [
        ({"label": "lion"}, "'lion'.*bird, cat, dog"),
        ({"label": None}, "class None"),
        ({"box": [0, 0, 5]}, r"detection 1: box is \[0, 0, 5\]"),
        ({"box": "0123"}, "detection 1: box is '0123'"),
        ({"box": None}, "detection 1: box is None"),
        ({"score": "high"}, "detection 1: score is 'high'"),
        ({"score": None}, "detection 1: score is None"),
        ({"box": [9, 9, 5, 5]}, r"\(9\.0, 9\.0, 5\.0, 5\.0\)"),
    ],
)
def test_from_dict_refuses(change, pattern):
    good = {"label": "cat", "score": 0.5, "box": [0, 0, 5, 5]}
    with pytest.raises(InputError, match=pattern):
        Detections.from_dict([good, good | change], CLASSES, (320, 240))


def test_from_dict_takes_any_iterable():
    again = Detections.from_dict((item for item in make().to_dict()), (name for name in CLASSES), (320, 240))
    assert again.to_dict() == make().to_dict()


@pytest.mark.parametrize("field", ["label", "score", "box"])
def test_from_dict_needs_every_field(field):
    item = {"label": "cat", "score": 0.5, "box": [0, 0, 5, 5]}
    del item[field]
    with pytest.raises(InputError, match=f"detection 0.*'{field}'"):
        Detections.from_dict([item], CLASSES, (320, 240))


def test_draw_takes_any_image_of_the_right_size():
    pixels = np.full((240, 320, 3), 90, np.uint8)
    detections = make()
    drawn = detections.draw(Image(pixels, "photo"))
    np.testing.assert_array_equal(drawn, draw_marks(pixels, detections.marks()))
    np.testing.assert_array_equal(drawn[:, :, ::-1], detections.draw(pixels, channels="BGR"))
    assert (pixels == 90).all(), "the photo itself was drawn on"
    with pytest.raises(InputError, match=r"photo: .*100x240.*320x240"):
        detections.draw(Image(np.zeros((240, 100, 3), np.uint8), "photo"))


def test_torch_is_not_imported():
    code = f"import sys; from {Detections.__module__} import Detections; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_equality_is_that_of_all_attributes():
    assert make() == make()
    for changes in (
        {"scores": [0.9, 0.5, 0.4]},
        {"image_size": (400, 400)},
        {"class_ids": (1, 2, 3)},
        {"labels": [2, 1, 2]},
    ):
        assert make() != make(**changes)
    assert make() != make(track_ids=[1, 2, 3])
    assert make(track_ids=[1, 2, 3]) == pickle.loads(pickle.dumps(make(track_ids=[1, 2, 3])))
    assert make() != "detections"


def test_repr_is_short():
    assert repr(make()) == "<Detections: dog 0.90, bird 0.50, dog 0.50 in 320x240 pixels>"
    assert repr(Detections.merge([make(), make(), make()])).endswith("4 more in 320x240 pixels>")
    assert repr(Detections.empty(CLASSES, (320, 240))) == "<Detections: nothing in 320x240 pixels>"


def test_merge_keeps_all_best_first():
    merged = Detections.merge([make(), make()[::-1], Detections.empty(CLASSES, (320, 240), make().class_ids)])
    assert merged.scores.tolist() == sorted([*make().scores, *make().scores], reverse=True)
    tracked = Detections.merge([make(track_ids=[7, 8, 9]), make()])
    assert sorted(tracked.track_ids.tolist()) == [-1, -1, -1, 7, 8, 9]
    with pytest.raises(InputError, match="image_size"):
        Detections.merge([make(), make(image_size=(400, 400))])
    with pytest.raises(InputError, match="empty"):
        Detections.merge([])


def test_tracks_are_in_every_form():
    detections = make(track_ids=[4, -1, 6])
    assert [d.track_id for d in detections] == [4, None, 6]
    assert [item.get("track_id") for item in detections.to_dict()] == [4, None, 6]
    assert Detections.from_dict(detections.to_dict(), CLASSES, (320, 240), detections.class_ids) == detections
    assert [mark.text for mark in detections.marks()] == ["dog #4 0.90", "bird 0.50", "dog #6 0.50"]
    with pytest.raises(InputError, match="track_ids"):
        make(track_ids=[1])


def test_coco_results_come_back():
    detections = make()
    back = Detections.from_coco(detections.to_coco(7), CLASSES, (320, 240))
    assert back.labels.tolist() == detections.labels.tolist()
    assert back.boxes == pytest.approx(detections.boxes, abs=0.01)
    gapped = Detections.from_coco(
        [{"category_id": "n02", "bbox": [-5, 0, 10, 9], "score": 1}], ("a", "b"), (9, 9), ("n01", "n02")
    )
    assert (gapped[0].class_id, gapped[0].category_id, gapped[0].box) == (1, "n02", (0, 0, 5, 9))
    for change, field in (
        ({"category_id": 99}, "category_id"),
        ({"bbox": [1, 2, 3]}, "bbox"),
        ({"image_id": 8}, "images"),
    ):
        with pytest.raises(InputError, match=field):
            Detections.from_coco([*detections.to_coco(7), {**detections.to_coco(7)[0], **change}], CLASSES, (320, 240))


def test_supervision_comes_back():
    pytest.importorskip("supervision")
    for detections in (make(), make(track_ids=[4, -1, 6]), make()[[]]):
        assert Detections.from_supervision(detections.to_supervision(), CLASSES, (320, 240)) == detections


def test_a_result_knows_its_picture(tmp_path):
    pixels = np.full((240, 320, 3), (10, 20, 30), np.uint8)
    PillowImage.fromarray(pixels).save(tmp_path / "a.png")
    result = make().with_picture(ImageReference.of(tmp_path / "a.png"))
    assert result.name == result[:1].name == result.filter(score=0.1).name == str(tmp_path / "a.png")
    assert result == make()
    assert pickle.loads(pickle.dumps(result)).name == ""
    assert json.loads(result.to_json())["image"] == result.name
    np.testing.assert_array_equal(result.draw(), make().draw(tmp_path / "a.png"))
    saved = result.save(tmp_path / "new/drawn.png")
    np.testing.assert_array_equal(np.asarray(PillowImage.open(saved)), result.draw())
    bgr = make().with_picture(ImageReference.of(pixels[:, :, ::-1], "BGR"))
    np.testing.assert_array_equal(bgr.draw()[:, :, ::-1], result.draw())
    bgr.save(saved)
    np.testing.assert_array_equal(np.asarray(PillowImage.open(saved)), result.draw())
    with pytest.raises(InputError, match="image="):
        make().save(tmp_path / "b.png")
    with pytest.raises(InputError, match=r"b\.bmp.*\.png"):
        result.save(tmp_path / "b.bmp")
    result._picture.release()
    with pytest.raises(InputError, match="image="):
        result.draw()
    assert result.draw(pixels, "RGB").shape == pixels.shape


def test_wordnet_ids_are_synsets_in_json():
    found = Detections([[0, 0, 9, 9]], [0.5], [0], ("cat",), (32, 24), ("n02121808",))
    (item,) = json.loads(found.to_json())["detections"]
    assert list(item)[:2] == ["label", "synset"]
    assert item["synset"] == item["category_id"] == "n02121808"
    assert Detections.from_dict([item], ("cat",), (32, 24), ("n02121808",)) == found
