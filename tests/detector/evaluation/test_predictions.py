"""Running a detector over a data set, keeping its detections, and the report."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from detector.data import VOCDataset
from detector.detections import Detections
from detector.errors import InputError
from detector.evaluation import (
    Prediction,
    evaluate,
    predict,
    read_predictions,
    write_predictions,
)
from detector.images import Image

NAMES = ("cat", "dog")
MakeVOC = Callable[..., Path]


class FakeDetector:
    """Finds the same in every image; fails, as told, at the call of a number."""

    class_names = NAMES

    def __init__(self, failures: dict[int, Exception] | None = None) -> None:
        self.failures = failures or {}
        self.scores: list[float] = []

    def detect(self, image: Image, score: float) -> Detections:
        self.scores.append(score)
        if failure := self.failures.get(len(self.scores)):
            raise failure
        boxes = [(0, 0, 50, 40), (1 / 3, 0, 20, 20)]
        return Detections(boxes, (0.9, 0.3), (0, 1), self.class_names, (image.width, image.height))


@pytest.fixture
def dataset(make_voc: MakeVOC) -> VOCDataset:
    root = make_voc({"a": [("cat", (1, 1, 50, 40), 0)], "b": [], "c": [("dog", (1, 1, 20, 20), 0)]})
    return VOCDataset(root, "val", NAMES)


# predict


def test_predict_gives_every_image_in_order(dataset: VOCDataset) -> None:
    detector = FakeDetector()
    predictions = predict(detector, dataset, score=0.125)
    assert [p.image_id for p in predictions] == ["a", "b", "c"]
    assert all(p.detections is not None and len(p.detections) == 2 for p in predictions)
    assert all(p.seconds is not None and p.seconds >= 0 and p.error is None for p in predictions)
    assert detector.scores == [0.125] * 3


def test_the_default_score_is_low(dataset: VOCDataset) -> None:
    detector = FakeDetector()
    predict(detector, dataset)
    assert detector.scores == [0.001] * 3


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (InputError("is too small"), "is too small"),
        (ValueError("boxes\nare wrong"), "boxes are wrong"),
        (RuntimeError("CUDA out of memory"), "CUDA out of memory"),
        (MemoryError(), "not enough memory"),
    ],
)
def test_a_failed_image_does_not_end_the_run(
    dataset: VOCDataset, failure: Exception, error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    predictions = predict(FakeDetector({2: failure}), dataset, progress=True)
    assert [p.error for p in predictions] == [None, error, None]
    assert predictions[1].detections is None
    assert f"b: {error}\n" in capsys.readouterr().err


def test_images_that_are_missing_broken_or_of_another_size_fail_alone(dataset: VOCDataset) -> None:
    folder = dataset.root / "JPEGImages"
    (folder / "a.jpg").unlink()
    (folder / "b.jpg").write_bytes(b"no photo")
    annotation = dataset.root / "Annotations/c.xml"
    annotation.write_text(annotation.read_text().replace("<width>100", "<width>80"))
    detector = FakeDetector()
    predictions = predict(detector, dataset)
    assert "no such image" in (predictions[0].error or "")
    assert "b.jpg" in (predictions[1].error or "")
    assert predictions[2].error == "the image is 100x80 pixels, but its annotation says 80x80"
    assert detector.scores == []


def test_a_wrong_annotation_ends_the_run_before_the_first_image(dataset: VOCDataset) -> None:
    (dataset.root / "Annotations/c.xml").write_text("<annotation>")
    detector = FakeDetector()
    with pytest.raises(InputError, match=r"c\.xml: is not well-formed XML"):
        predict(detector, dataset)
    assert detector.scores == []


def test_an_interruption_is_no_failed_image(dataset: VOCDataset) -> None:
    with pytest.raises(KeyboardInterrupt):
        predict(FakeDetector({2: KeyboardInterrupt()}), dataset)  # type: ignore[dict-item]


def test_the_classes_must_fit_together(dataset: VOCDataset) -> None:
    more = VOCDataset(dataset.root, "val", ("cat", "dog", "horse"), ignore_other_classes=True)
    with pytest.raises(InputError, match="the detector has no class 'horse'; it has cat, dog"):
        predict(FakeDetector(), more)
    (dataset.root / "ImageSets/Main/cats.txt").write_text("a\nb\n")
    with pytest.raises(InputError, match="the detector has class 'dog', the data set has cat"):
        predict(FakeDetector(), VOCDataset(dataset.root, "cats", ("cat",)))
    only_cats = VOCDataset(dataset.root, "val", ("cat",), ignore_other_classes=True)
    assert evaluate(predict(FakeDetector(), only_cats), only_cats).result.at_score(0)[0] == pytest.approx(
        1 / 3
    )


# write_predictions, read_predictions


def test_what_is_written_is_read_again(dataset: VOCDataset, tmp_path: Path) -> None:
    predictions = predict(FakeDetector(), dataset)
    path = tmp_path / "found.json"
    write_predictions(path, predictions, dataset)
    entries = json.loads(path.read_text())
    assert [entry["image"] for entry in entries] == ["a.jpg", "b.jpg", "c.jpg"]
    assert (entries[0]["width"], entries[0]["height"]) == (100, 80)
    for given, read in zip(predictions, read_predictions(path, dataset), strict=True):
        assert (read.image_id, read.seconds, read.error) == (given.image_id, given.seconds, None)
        assert given.detections is not None
        assert read.detections is not None
        assert read.detections.boxes.tobytes() == given.detections.boxes.tobytes()
        assert read.detections.scores.tobytes() == given.detections.scores.tobytes()
        assert read.detections.labels.tolist() == given.detections.labels.tolist()


def test_a_failed_image_is_not_written_and_fails_again(dataset: VOCDataset, tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    write_predictions(path, predict(FakeDetector({2: InputError("no")}), dataset), dataset)
    predictions = read_predictions(path, dataset)
    assert [p.error for p in predictions] == [None, f"{path} has no entry for it", None]


def test_an_unwritable_file(dataset: VOCDataset, tmp_path: Path) -> None:
    path = tmp_path / "none" / "found.json"
    with pytest.raises(InputError, match=r"found\.json: cannot be written \(No such file or directory\)"):
        write_predictions(path, [], dataset)


ENTRY = {
    "image": "photos/a.jpg",
    "width": 100,
    "height": 80,
    "seconds": 0.5,
    "detections": [{"label": "cat", "category_id": 1, "score": 0.5, "box": [0, 0, 50, 40]}],
}


def stored(path: Path, *entries: object) -> Path:
    path.write_text(json.dumps(entries))
    return path


@pytest.mark.parametrize(
    "image", ["a", "a.jpg", "a.png", "/data/a.jpg", "photos/a.jpg", r"C:\photos\a.jpg", "x/a"]
)
def test_entries_go_by_file_name(dataset: VOCDataset, tmp_path: Path, image: str) -> None:
    path = stored(tmp_path / "found.json", ENTRY | {"image": image})
    prediction = read_predictions(path, dataset)[0]
    assert prediction.detections is not None
    assert prediction.detections.boxes.tolist() == [[0, 0, 50, 40]]
    assert prediction.seconds == 0.5


def test_an_id_may_hold_a_dot(make_voc: MakeVOC, tmp_path: Path) -> None:
    dataset = VOCDataset(make_voc({"v.1": [], "v.2": []}), "val", NAMES)
    path = stored(tmp_path / "found.json", ENTRY | {"image": "v.2"}, ENTRY | {"image": "x/v.1.jpg"})
    assert [p.error for p in read_predictions(path, dataset)] == [None, None]


def test_detections_in_any_order_and_without_what_is_not_needed(dataset: VOCDataset, tmp_path: Path) -> None:
    items = [{"label": "dog", "score": score, "box": [0, 0, 9, 9]} for score in (0.25, 0.75)]
    entry = {"image": "a", "width": 100, "height": 80, "detections": items}
    prediction = read_predictions(stored(tmp_path / "found.json", entry), dataset)[0]
    assert prediction.seconds is None
    assert prediction.detections is not None
    assert prediction.detections.scores.tolist() == [0.75, 0.25]


def detection(**changes: object) -> dict[str, object]:
    return ENTRY | {"detections": [ENTRY["detections"][0] | changes]}  # type: ignore[index,operator]


def without(name: str) -> dict[str, object]:
    return {key: value for key, value in ENTRY.items() if key != name}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (7, ": is 7, expected an object with named fields"),
        (without("image"), ": field image is missing"),
        (ENTRY | {"image": 5}, ": field image is 5, expected text"),
        (ENTRY | {"image": "z.jpg"}, " (z.jpg): field image: not in split 'val'"),
        (ENTRY | {"image": ""}, " (): field image: not in split 'val'"),
        (without("width"), " (photos/a.jpg): field width is missing"),
        (ENTRY | {"height": 80.5}, " (photos/a.jpg): field height is 80.5, expected a whole number"),
        (ENTRY | {"height": True}, " (photos/a.jpg): field height is true, expected a whole number"),
        (ENTRY | {"width": 80, "height": 100}, "the image is 80x100 pixels, but its annotation says 100x80"),
        (ENTRY | {"seconds": -1}, "field seconds is -1.0, expected 0 or more"),
        (ENTRY | {"seconds": math.nan}, "field seconds is nan, expected 0 or more"),
        (ENTRY | {"seconds": "1"}, 'field seconds is "1", expected a number'),
        (without("detections"), "field detections is missing"),
        (ENTRY | {"detections": {}}, "field detections is {}, expected a list"),
        (ENTRY | {"detections": [None]}, "detection 0: is null, expected an object with named fields"),
        (ENTRY | {"detections": [{"score": 1}]}, "detection 0: field label is missing"),
        (detection(label=["cat"]), 'detection 0: field label is ["cat"], expected text'),
        (detection(label="lynx"), "class 'lynx' is unknown; the classes are: cat, dog"),
        (ENTRY | {"detections": [{"label": "cat", "score": 0.5}]}, "detection 0 has no field 'box'"),
        (detection(score=None), "detection 0: score is None"),
        (detection(score=1.5), "score 0 (1.5) is not in 0..1"),
        (detection(score=math.nan), "score 0 (nan) is not in 0..1"),
        (detection(box=[1, 2, 3]), "detection 0: box is [1, 2, 3]"),
        (detection(box="1234"), "detection 0: box is '1234'"),
        (detection(box=[5, 5, 5, 9]), "has no positive area"),
        (detection(box=[0, 0, 101, 9]), "is not inside the image of 100x80 pixels"),
        (detection(box=[0, 0, math.inf, 9]), "is not finite"),
        (detection(box=[0, 0, 10**400, 9]), "too large"),
    ],
)
def test_a_wrong_entry_is_named(dataset: VOCDataset, tmp_path: Path, entry: object, message: str) -> None:
    path = stored(tmp_path / "found.json", ENTRY | {"image": "b"}, entry)
    with pytest.raises(InputError) as caught:
        read_predictions(path, dataset)
    assert str(caught.value).startswith(f"{path}: entry 2")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_image_may_not_come_twice(dataset: VOCDataset, tmp_path: Path) -> None:
    path = stored(tmp_path / "found.json", ENTRY, ENTRY | {"image": "a.png"})
    with pytest.raises(
        InputError, match=r"entry 2 \(a.png\): field image: an earlier entry has the same image"
    ):
        read_predictions(path, dataset)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not JSON"),
        (b"[{]", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b'{"image": 1}', "holds no list"),
    ],
)
def test_a_file_that_holds_no_list(dataset: VOCDataset, tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "found.json"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_predictions(path, dataset)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_a_missing_file(dataset: VOCDataset, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none.json: cannot be read: No such file"):
        read_predictions(tmp_path / "none.json", dataset)


def test_other_classes_are_left_out_where_the_data_set_ignores_them(
    dataset: VOCDataset, tmp_path: Path
) -> None:
    cats = VOCDataset(dataset.root, "val", ("cat",), ignore_other_classes=True)
    items = [*ENTRY["detections"], {"label": "lynx", "score": 0.9, "box": [0, 0, 9, 9]}]  # type: ignore[misc]
    prediction = read_predictions(stored(tmp_path / "f.json", ENTRY | {"detections": items}), cats)[0]
    assert prediction.detections is not None
    assert [found.label for found in prediction.detections] == ["cat"]


# evaluate


def test_the_report(dataset: VOCDataset) -> None:
    predictions = predict(FakeDetector({2: InputError("is broken")}), dataset)
    evaluation = evaluate(predictions, dataset, metric="voc10")
    seconds = [p.seconds for p in predictions if p.seconds is not None]
    assert len(seconds) == 2
    # Two detections of each class, with equal scores, so that they keep the order of the images: the first of
    # the cats and the second of the dogs is right.
    assert evaluation.to_dict() == {
        "split": "val",
        "images": 3,
        "metric": "voc10",
        "iou_threshold": 0.5,
        "mAP": 0.75,
        "AP": {"cat": 1.0, "dog": 0.5},
        "objects": {"cat": 1, "dog": 1},
        "score_threshold": 0.5,
        "precision": 0.5,
        "recall": 0.5,
        "seconds_per_image": pytest.approx(sum(seconds) / 2),
        "failed": {"b": "is broken"},
    }
    table = evaluation.table().splitlines()
    assert table[1].split() == ["cat", "1", "2", "100.0"]
    assert table[2].split() == ["dog", "1", "2", "50.0"]
    assert table[3].split() == ["mAP", "2", "4", "75.0"]
    assert "metric voc10 at IoU 0.5; 3 images of val" in table
    assert "1 images failed; their objects count as not found" in table


def test_the_objects_of_a_failed_image_count_as_not_found(dataset: VOCDataset) -> None:
    evaluation = evaluate(predict(FakeDetector({1: InputError("no")}), dataset), dataset)
    assert evaluation.result.ap["cat"] == 0


def test_a_class_without_objects_is_null_and_said(dataset: VOCDataset) -> None:
    part = dataset.first(2)
    evaluation = evaluate(predict(FakeDetector(), part), part)
    content = json.loads(json.dumps(evaluation.to_dict(), allow_nan=False))
    assert content["AP"] == {"cat": pytest.approx(1), "dog": None}
    assert content["mAP"] == pytest.approx(1)
    assert "no objects, so not in the mAP: dog" in evaluation.table()
    assert [line.split()[-1] for line in evaluation.table().splitlines()[1:4]] == ["100.0", "-", "100.0"]


def test_without_any_object_or_time(dataset: VOCDataset) -> None:
    (dataset.root / "ImageSets/Main/empty.txt").write_text("b\n")
    empty = VOCDataset(dataset.root, "empty", NAMES)
    evaluation = evaluate([Prediction("b", Detections.from_dict([], NAMES, (100, 80)))], empty)
    content = evaluation.to_dict()
    assert [content[key] for key in ("mAP", "precision", "recall", "seconds_per_image")] == [None] * 4
    assert "seconds" not in evaluation.table()


def test_predictions_of_other_images_are_refused(dataset: VOCDataset) -> None:
    predictions = predict(FakeDetector(), dataset)
    for wrong in (predictions[:2], predictions[::-1]):
        with pytest.raises(InputError, match="not those of the 3 images of split 'val', in their order"):
            evaluate(wrong, dataset)
