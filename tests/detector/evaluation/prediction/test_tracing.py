"""How each stage of a detector treats the annotated objects."""

from pathlib import Path

import numpy as np
import pytest
import torch

from detector.data.ground_truth import GroundTruth
from detector.evaluation.prediction.predict import predict
from detector.evaluation.prediction.tracing import trace_objects
from detector.inference.assembly import load_pipeline
from detector.structures.image import read_image
from detector.structures.region_scores import RegionScores
from proposals import Proposals
from proposals.boxes import encode_boxes

SIZE = (100, 100)
SOURCES = ("selective_search/HSV/F/50", "selective_search/Lab/F/50", "multibox")


def proposed(*boxes: tuple[float, ...], sources: tuple[int, ...] | None = None) -> Proposals:
    count = len(boxes)
    return Proposals(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.linspace(1, 0.5, count, dtype=np.float32),
        np.array(sources or [0] * count, np.int16),
        SOURCES,
        SIZE,
    )


def test_the_best_proposal_its_source_and_the_best_covering_region() -> None:
    proposals = proposed((0, 0, 40, 40), (0, 0, 50, 50), (60, 60, 90, 90), sources=(1, 2, 0))
    scores = torch.tensor([[0.9, 0.1], [0.3, 0.2], [0.0, 0.7]])
    objects = np.array([[0, 0, 50, 48], [60, 60, 90, 75.0], [0, 60, 30, 90]])
    traces = trace_objects(proposals, RegionScores(scores, None), objects, np.array([0, 1, 0]))
    assert traces.source_names == ("selective_search", "multibox")
    assert traces.proposal_overlaps.tolist() == pytest.approx([0.96, 0.5, 0])
    assert traces.sources.tolist()[:2] == [1, 0]
    # The region of 0.9 covers two thirds of the first object, so it counts; nothing covers the third.
    assert traces.region_scores.tolist() == pytest.approx([0.9, 0.7, 0])


def test_regions_count_where_box_regression_moves_them() -> None:
    proposals = proposed((0, 0, 40, 40))
    target = torch.tensor([[50.0, 50, 90, 90]])
    box_deltas = encode_boxes(torch.from_numpy(proposals.boxes.copy()), target)[:, None]
    scored = RegionScores(torch.tensor([[0.8]]), box_deltas)
    objects = np.array([[0, 0, 40, 40], [50, 50, 90, 90]], float)
    traces = trace_objects(proposals, scored, objects, np.array([0, 0]))
    assert traces.proposal_overlaps.tolist() == [1, 0]
    assert traces.region_scores.tolist() == pytest.approx([0, 0.8])


@pytest.mark.parametrize("count", [0, 2])
def test_no_proposals_no_objects_and_unknown_classes(count: int) -> None:
    scored = RegionScores(torch.rand(0, 3), None)
    boxes = np.array([[0, 0, 9, 9], [5, 5, 20, 20]], float)[:count]
    traces = trace_objects(proposed(), scored, boxes, np.zeros(count, int))
    assert traces.sources.tolist() == [-1] * count
    assert traces.region_scores.tolist() == [0] * count
    unknown = trace_objects(proposed((0, 0, 9, 9)), RegionScores(torch.ones(1, 3), None), boxes, np.full(count, -1))
    assert unknown.region_scores.tolist() == [0] * count


@pytest.mark.slow
def test_tracing_changes_no_detection(photos: Path) -> None:
    detector = load_pipeline(device="cpu")
    columns = {"images": [0], "labels": [0], "boxes": [[0, 5, 451, 300]]}
    truth = GroundTruth(image_ids=("cat",), class_names=("cat",), files=("cat.jpg",), **columns)
    (traced,) = predict(detector, truth, photos, score=0.05, trace=True)
    plain = detector.detect(read_image(photos / "cat.jpg"), 0.05)
    np.testing.assert_array_equal(traced.detections.boxes, plain.boxes)
    np.testing.assert_array_equal(traced.detections.scores, plain.scores)
    assert traced.traces.proposal_overlaps[0] > 0.9
    assert traced.traces.region_scores[0] >= plain.scores[0] - 1e-6
