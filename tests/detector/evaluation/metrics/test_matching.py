"""Pairs of detections and objects in pieces: the memory that they take, and the same result."""

import dataclasses
import tracemalloc

import numpy as np
import pytest

from detector.data.detection_table import DetectionTable
from detector.data.ground_truth import GroundTruth
from detector.evaluation.errors import diagnose
from detector.evaluation.evaluation import OBJECT_METRICS, evaluate, match_by_metric
from detector.evaluation.metrics import pairs
from tests.detector.evaluation.coco_data import data_on_borders, random_data

OBJECTS, DETECTIONS = 1_000, 5_000


@pytest.mark.parametrize("metric", ["voc07", "ilsvrc", "coco"])
@pytest.mark.parametrize("apart", [True, False])
def test_many_objects_and_detections_in_one_image(metric: str, apart: bool) -> None:
    """All pairs at once would take 600 MiB; all boxes in one place are the most that can match."""
    corners = np.arange(OBJECTS)[:, np.newaxis] * ([100, 0] if apart else [0, 0])
    boxes = np.hstack([corners, corners + 50])
    rng = np.random.default_rng(0)
    near = np.append(rng.permutation(OBJECTS), rng.integers(0, OBJECTS, DETECTIONS - OBJECTS))
    names = {"image_ids": ("a",), "class_names": ("cat",)}
    truth = GroundTruth(images=[0] * OBJECTS, labels=[0] * OBJECTS, boxes=boxes, **names)
    table = DetectionTable(
        images=[0] * DETECTIONS, labels=[0] * DETECTIONS, boxes=boxes[near], scores=-np.arange(DETECTIONS), **names
    )
    tracemalloc.start()
    try:
        matches = next(iter(match_by_metric(truth, table, metric).values()))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 24 * 2**20
    # Objects in one place are one object to VOC, and COCO evaluates a hundred detections.
    hits = {"voc07": OBJECTS if apart else 1, "ilsvrc": OBJECTS, "coco": 100}[metric]
    assert np.flatnonzero(matches.true_positive).tolist() == list(range(hits))


@pytest.mark.parametrize("piece", [1, 7])
@pytest.mark.parametrize("make", [random_data, data_on_borders])
def test_the_pieces_do_not_change_the_result(piece: int, make: object, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make(3)
    truth, table = data.truth(), data.detections()
    truth = dataclasses.replace(truth, difficult=np.random.default_rng(0).random(len(truth)) < 0.2)

    def numbers() -> list[object]:
        hits = [
            m.true_positive.tolist()
            for metric in OBJECT_METRICS
            for m in match_by_metric(truth, table, metric).values()
        ]
        d = diagnose(truth, table)
        return [*hits, d.errors.kinds.tolist(), d.errors.targets.tolist(), d.confusion.tolist()]

    whole = numbers()
    monkeypatch.setattr(pairs, "_PIECE", piece)
    assert numbers() == whole


@pytest.mark.parametrize("metric", OBJECT_METRICS)
def test_an_evaluation_and_a_comparison_count_the_same_objects(metric: str) -> None:
    """Objects beyond COCO's largest area too, which VOC and ILSVRC count."""
    data = data_on_borders(2)
    truth, table = data.truth(), data.detections()
    result = evaluate(truth, table, metric).to_dict()
    objects = result["objects"] if metric != "coco" else {k: c["objects"] for k, c in result["classes"].items()}
    matches = next(iter(match_by_metric(truth, table, metric).values()))
    assert matches.objects.tolist() == list(objects.values())
    assert (sum(objects.values()) == np.count_nonzero(~truth.crowd)) == (metric != "coco")
