"""Running a detector over a data set, and going on after a stop."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from detector.data import VOCDataset
from detector.data.ground_truth import GroundTruth
from detector.data.predictions import LOWEST_SCORE, detection_table, joined_traces
from detector.errors import InputError
from detector.evaluation.prediction.predict import predict, remove_parts, run_detector
from detector.storage.run_store import ResultStore
from detector.structures.detections import Detections
from detector.structures.image import Image as Photo

NAMES = ("cat", "dog")
MakeVOC = Callable[..., Path]


class FakeDetector:
    """Finds the same in every image; fails, as told, at the call of a number."""

    class_names = NAMES
    class_ids = (17, 18)

    def __init__(self, failures: dict[int, Exception] | None = None) -> None:
        self.failures = failures or {}
        self.scores: list[float] = []

    def detect(self, image: Photo, score: float) -> Detections:
        self.scores.append(score)
        if failure := self.failures.get(len(self.scores)):
            raise failure
        boxes = [(0, 0, 50, 40), (1 / 3, 0, 20, 20)]
        return Detections(boxes, (0.9, 0.3), (0, 1), self.class_names, (image.width, image.height))


@pytest.fixture
def root(make_voc: MakeVOC) -> Path:
    return make_voc({"a": [("cat", (1, 1, 50, 40), 0)], "b": [], "c": [("dog", (1, 1, 20, 20), 0)]})


@pytest.fixture
def folder(root: Path) -> Path:
    return root / "JPEGImages"


@pytest.fixture
def truth(root: Path) -> GroundTruth:
    return VOCDataset(root, "val", NAMES).ground_truth()


def test_predict_gives_every_image_in_order(truth: GroundTruth, folder: Path) -> None:
    detector = FakeDetector()
    unknown_sizes = dataclasses.replace(truth, image_sizes=None)
    predictions = predict(detector, unknown_sizes, folder, score=0.125)
    assert [p.image_id for p in predictions] == ["a", "b", "c"]
    assert all(p.detections is not None and len(p.detections) == 2 for p in predictions)
    assert all(p.seconds is not None and p.seconds >= 0 and p.error is None for p in predictions)
    assert [p.image_id for p in predict(detector, truth, folder, share=(0, 2))] == ["a", "c"]
    assert [p.image_id for p in predict(detector, truth, folder, share=(1, 2))] == ["b"]
    assert detector.scores == [0.125] * 3 + [LOWEST_SCORE] * 3


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
    truth: GroundTruth, folder: Path, failure: Exception, error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    predictions = predict(FakeDetector({2: failure}), truth, folder, progress=True)
    assert [p.error for p in predictions] == [None, error, None]
    assert predictions[1].detections is None
    assert f"b: {error}\n" in capsys.readouterr().err
    assert detection_table(truth, predictions).images.tolist() == [0, 0, 2, 2]


def test_images_that_are_missing_broken_or_of_another_size_fail_alone(root: Path, folder: Path) -> None:
    (folder / "a.jpg").unlink()
    (folder / "b.jpg").write_bytes(b"no photo")
    annotation = root / "Annotations/c.xml"
    annotation.write_text(annotation.read_text().replace("<width>100", "<width>80"))
    detector = FakeDetector()
    predictions = predict(detector, VOCDataset(root, "val", NAMES).ground_truth(), folder)
    assert "a.jpg" in (predictions[0].error or "")
    assert "b.jpg" in (predictions[1].error or "")
    assert predictions[2].error == "the image is 100x80 pixels, but its annotation says 80x80"
    assert detector.scores == []


def test_a_detector_of_other_classes_is_refused(truth: GroundTruth, folder: Path) -> None:
    birds = dataclasses.replace(truth, class_names=("kite", "swan"))
    with pytest.raises(InputError, match=r"the detector .*\(kite, swan\).* cat, dog"):
        predict(FakeDetector(), birds, folder)


def test_only_a_detector_of_ours_is_traced(truth: GroundTruth, folder: Path) -> None:
    with pytest.raises(InputError, match="DetectionPipeline"):
        predict(FakeDetector(), truth, folder, trace=True)


def test_classes_go_by_name_and_its_spellings(truth: GroundTruth, folder: Path) -> None:
    cats = dataclasses.replace(truth.of_classes(["cat"]), class_names=("domestic cat",))
    table = detection_table(cats, predict(FakeDetector(), cats, folder))
    assert table.labels.tolist() == [0, 0, 0]
    assert table.scores.tolist() == pytest.approx([0.9] * 3)


def test_predictions_of_other_images_are_refused(truth: GroundTruth, folder: Path) -> None:
    predictions = predict(FakeDetector(), truth, folder)
    for wrong in (predictions[:2], predictions[::-1]):
        with pytest.raises(InputError, match="not those of the 3 images, in their order"):
            detection_table(truth, wrong)


def stopped(truth: GroundTruth, folder: Path, call: int, *options: Any, **named: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_detector(FakeDetector({call: KeyboardInterrupt()}), truth, folder, *options, **named)  # type: ignore[dict-item]


def test_a_stopped_run_goes_on_and_computes_nothing_twice(truth: GroundTruth, folder: Path, tmp_path: Path) -> None:
    path, whole = tmp_path / "found.json", tmp_path / "whole.json"
    stopped(truth, folder, 3, path)
    assert not path.exists()
    again = FakeDetector()
    predictions = run_detector(again, truth, folder, path)
    assert len(again.scores) == 1
    assert not list(tmp_path.glob("found.json.part*"))
    expected = run_detector(FakeDetector(), truth, folder, whole)
    assert predictions is not None
    assert expected is not None

    def untimed(file: Path) -> list[dict[str, object]]:
        return [entry | {"seconds": None} for entry in json.loads(file.read_text())]

    entries = untimed(path)
    assert entries == untimed(whole)
    assert [(entry["image"], entry["width"], entry["height"]) for entry in entries] == [
        (f"{image_id}.jpg", 100, 80) for image_id in "abc"
    ]
    ours, theirs = detection_table(truth, predictions), detection_table(truth, expected)
    assert ours.boxes.tobytes() == theirs.boxes.tobytes()
    assert ours.scores.tobytes() == theirs.scores.tobytes()


def test_an_image_that_failed_is_tried_again(truth: GroundTruth, folder: Path, tmp_path: Path) -> None:
    with ResultStore(tmp_path / "found.json", {}) as store:
        predict(FakeDetector({2: InputError("no")}), truth, folder, store=store)
        again = FakeDetector()
        assert [p.error for p in predict(again, truth, folder, store=store)] == [None] * 3
        assert len(again.scores) == 1


@pytest.mark.parametrize("change", [{"score": 0.5}, {"made_by": {"model": "b"}}])
def test_results_of_another_run_are_refused(
    truth: GroundTruth, folder: Path, tmp_path: Path, change: dict[str, object]
) -> None:
    path = tmp_path / "found.json"
    stopped(truth, folder, 2, path, made_by={"model": "a"})
    options = {"made_by": {"model": "a"}} | change
    with pytest.raises(InputError, match="made by a run with other settings"):
        run_detector(FakeDetector(), truth, folder, path, **options)
    with pytest.raises(InputError, match="other images, objects or classes"):
        run_detector(FakeDetector(), truth.first(2), folder, path, made_by={"model": "a"})


def test_parts_may_be_kept_until_all_is_written(truth: GroundTruth, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    run_detector(FakeDetector(), truth, folder, path, keep_parts=True)
    again = FakeDetector()
    run_detector(again, truth, folder, path, keep_parts=True)
    assert again.scores == []
    remove_parts(path)
    assert [one.name for one in tmp_path.glob("found*")] == ["found.json"]


def test_several_processes_need_a_file(truth: GroundTruth, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="give --save-detections FILE"):
        run_detector(FakeDetector(), truth, folder)


@pytest.mark.slow
def test_traces_come_back_from_the_disk_in_the_order_of_the_objects(root: Path, tmp_path: Path, photos: Path) -> None:
    from detector.inference.assembly import load_pipeline

    for image_id in "abc":
        Image.open(photos / "cat.jpg").resize((100, 80)).save(root / f"JPEGImages/{image_id}.jpg")
    detector = load_pipeline(device="cpu")
    truth = VOCDataset(root, "val", detector.class_names).ground_truth()
    path = tmp_path / "found.json"
    predictions = run_detector(detector, truth, root / "JPEGImages", path, trace=True)
    assert predictions is not None
    traces = joined_traces(predictions, truth)
    assert traces is not None
    assert len(traces) == len(truth) == 2
    with ResultStore(path, {}) as store:
        first = predict(detector, truth, root / "JPEGImages", trace=True, store=store)
        second = joined_traces(predict(detector, truth, root / "JPEGImages", store=store), truth)
    assert second is not None
    np.testing.assert_array_equal(second.proposal_overlaps, traces.proposal_overlaps)
    np.testing.assert_array_equal(second.region_scores, traces.region_scores)
    found_by = [[own.source_names[source] for source in own.sources] for own in (traces, second)]
    assert found_by[0] == found_by[1]
    assert set(found_by[0]) <= {"multibox", "selective_search"}
    assert joined_traces(predict(detector, truth, root / "JPEGImages"), truth) is None
    assert len(first) == 3
