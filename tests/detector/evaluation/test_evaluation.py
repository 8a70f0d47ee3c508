"""Evaluations: metrics by class, size and IoU, times, failures and notes."""

import json

import pytest

from detector.data.ground_truth import GroundTruth
from detector.data.predictions import Prediction, detection_table, failures, mean_seconds
from detector.errors import InputError
from detector.evaluation.evaluation import OBJECT_METRICS, Metric, evaluate
from detector.structures.detections import Detections

NAMES = ("cat", "dog")
TRUTH = GroundTruth(
    image_ids=("a", "b", "c"), class_names=NAMES, images=[0, 2], labels=[0, 1], boxes=[[0, 0, 50, 40], [0, 0, 20, 20]]
)


def predicted(image_id: str, seconds: float = 0.5) -> Prediction:
    boxes = [(0, 0, 50, 40), (1 / 3, 0, 20, 20)]
    return Prediction(image_id, Detections(boxes, (0.9, 0.3), (0, 1), NAMES, (100, 80)), seconds)


PREDICTIONS = [predicted("a"), Prediction("b", None, error="is broken"), predicted("c", 1.0)]
TABLE = detection_table(TRUTH, PREDICTIONS)
RUN = {"failed": failures(PREDICTIONS), "seconds_per_image": mean_seconds(PREDICTIONS)}


def test_the_report() -> None:
    evaluation = evaluate(TRUTH, TABLE, "voc10", **RUN, data="val", notes=["a note"])
    # Two detections of each class, with equal scores, so that they keep the order of the images: the first of
    # the cats and the second of the dogs is right.
    content = evaluation.to_dict()
    by_size = content.pop("by_size")
    assert content == {
        "split": "val",
        "images": 3,
        "metric": "voc10",
        "iou_threshold": 0.5,
        "mAP": 0.75,
        "AP": {"cat": 1.0, "dog": 0.5},
        "objects": {"cat": 1, "dog": 1},
        "by_iou": {"0.5": {"mAP": 0.75, "AP": {"cat": 1.0, "dog": 0.5}}},
        "score_threshold": 0.5,
        "precision": 0.5,
        "recall": 0.5,
        "seconds_per_image": 0.75,
        "failed": {"b": "is broken"},
        "notes": ["a note"],
    }
    # The dog is small, the cat is not; of the small detections there is only the dogs' and none is a cat's.
    assert by_size["small"]["AP"] == {"cat": None, "dog": 0.5}
    assert by_size["medium"]["AP"] == {"cat": 1.0, "dog": None}
    assert by_size["large"] == {"mAP": None, "AP": {"cat": None, "dog": None}}
    assert evaluation.table().splitlines() == [
        "class  objects  detections   AP %",
        "cat          1           2  100.0",
        "dog          1           2   50.0",
        "mAP          2           4   75.0",
        "",
        "metric voc10 at IoU 0.5; 3 images of val",
        "mAP of objects: small 50.0, medium 100.0, large -",
        "at score 0.5, all classes: precision 50.0 %, recall 50.0 %",
        "0.750 seconds per image",
        "images that failed: 1; their objects count as not found",
        "a note",
    ]


@pytest.mark.parametrize("metric", OBJECT_METRICS)
def test_every_metric_has_a_map_and_is_json(metric: Metric) -> None:
    evaluation = evaluate(TRUTH, TABLE, metric, **RUN)
    content = json.loads(json.dumps(evaluation.to_dict(), allow_nan=False))
    assert content["metric"] == metric
    assert 0 < content["mAP"] <= 1
    assert content["failed"] == {"b": "is broken"}
    assert f"metric {metric} at IoU" in evaluation.table()


def test_several_thresholds() -> None:
    evaluation = evaluate(TRUTH, TABLE, "voc10", [0.5, 0.99])
    assert evaluation.to_dict()["by_iou"]["0.99"]["AP"] == {"cat": 1.0, "dog": 0.0}
    assert "mAP at IoU 0.5: 75.0, 0.99: 50.0" in evaluation.table()
    coco = evaluate(TRUTH, TABLE, "coco", [0.5]).to_dict()
    assert coco["AP75"] is None
    assert coco["AP50"] == coco["mAP"]


def test_a_class_without_objects_is_null_and_listed() -> None:
    """And the objects of a failed image count as not found."""
    part = TRUTH.first(2)
    evaluation = evaluate(part, detection_table(part, [Prediction("a", None, error="no"), predicted("b")]))
    content = json.loads(json.dumps(evaluation.to_dict(), allow_nan=False))
    assert content["AP"] == {"cat": 0, "dog": None}
    assert content["mAP"] == 0
    assert "without objects: dog" in evaluation.table()
    assert [line.split()[-1] for line in evaluation.table().splitlines()[1:4]] == ["0.0", "-", "0.0"]


def test_without_any_object_or_time() -> None:
    empty = GroundTruth(image_ids=("b",), class_names=NAMES, images=[], labels=[], boxes=[])
    evaluation = evaluate(empty, detection_table(empty, [Prediction("b", Detections([], [], [], NAMES, (9, 9)))]))
    content = evaluation.to_dict()
    assert [content[key] for key in ("mAP", "precision", "recall", "seconds_per_image")] == [None] * 4
    assert mean_seconds([Prediction("b", None)]) is None
    assert "seconds" not in evaluation.table()


@pytest.mark.parametrize(
    ("metric", "thresholds", "message"),
    [
        ("voc", None, r"metric 'voc'.* voc07, voc10, coco, ilsvrc"),
        ("voc07", [], "at least one IoU threshold"),
        ("ilsvrc", [1.5], r"IoU threshold 1\.5"),
    ],
)
def test_wrong_arguments(metric: Metric, thresholds: list[float] | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        evaluate(TRUTH, TABLE, metric, thresholds)
