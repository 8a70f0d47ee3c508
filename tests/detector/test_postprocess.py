import math

import pytest
import torch

from detector.boxes import encode_offsets
from detector.config import PostprocessConfig
from detector.network import RegionPredictions
from detector.postprocess import postprocess

CLASSES = ("cat", "dog")


def predictions(probabilities: list[list[float]]) -> RegionPredictions:
    """Of classes cat and dog; the background has the rest."""
    p = torch.tensor(probabilities)
    logits = torch.cat((1 - p.sum(dim=1, keepdim=True), p), dim=1).log()
    return RegionPredictions(logits, torch.zeros(len(p), 4))


BOXES = torch.tensor([[0.0, 0, 40, 40], [2, 0, 42, 40], [50, 50, 90, 90]])


def run(given: RegionPredictions, boxes: torch.Tensor = BOXES, score: float = 0.1, **config: object):
    return postprocess(given, boxes, (100, 80), CLASSES, PostprocessConfig(**config), score)


def test_overlapping_boxes_of_a_class_are_suppressed_and_scores_descend():
    found = run(predictions([[0.6, 0.0], [0.7, 0.0], [0.1, 0.8]]))
    assert [d.label for d in found] == ["dog", "cat", "cat"]
    assert found.scores.tolist() == pytest.approx([0.8, 0.7, 0.1])
    assert found.boxes[1].tolist() == [2, 0, 42, 40]


def test_classes_do_not_suppress_each_other():
    assert len(run(predictions([[0.6, 0.3], [0.0, 0.05], [0.0, 0.05]]))) == 2


def test_boxes_are_clipped_to_the_image():
    assert run(predictions([[0.0, 0.0], [0.0, 0.0], [0.0, 0.9]])).boxes.tolist() == [[50, 50, 90, 80]]


def test_offsets_are_applied():
    target = torch.tensor([[10.0, 10, 60, 70]])
    given = RegionPredictions(torch.tensor([[0.0, 9.0, 0.0]]), encode_offsets(BOXES[:1], target))
    assert run(given, BOXES[:1]).boxes[0].tolist() == pytest.approx(target[0].tolist(), rel=1e-4)


def test_boxes_without_area_and_low_scores_are_dropped():
    boxes = torch.tensor([[99.8, 0, 140, 40], [0, 0, 40, 40], [50, 0, 90, 40]])
    assert len(run(predictions([[0.9, 0.0], [0.09, 0.0], [0.2, 0.0]]), boxes)) == 1


def test_at_most_max_detections():
    boxes = torch.tensor([[i * 10.0, 0, i * 10 + 9, 9] for i in range(9)])
    found = run(predictions([[0.1 * (i + 1) - 0.05, 0.0] for i in range(9)]), boxes, score=0.0, max_detections=4)
    assert found.scores.tolist() == pytest.approx([0.85, 0.75, 0.65, 0.55])


def test_no_detections():
    assert len(run(predictions([[0.0, 0.0]] * 3))) == 0


def test_calibration_changes_scores_by_their_log_odds_and_not_their_order():
    """Slope 2, offset -1: 0.8 becomes sigmoid(2 log 4 - 1)."""
    given = predictions([[0.6, 0.0], [0.7, 0.0], [0.1, 0.8]])
    plain, calibrated = run(given, score=0.0), run(given, score=0.0, calibration=(2.0, -1.0))
    assert [d.label for d in calibrated] == [d.label for d in plain]
    assert calibrated.scores[0] == pytest.approx(1 / (1 + math.exp(1 - 2 * math.log(4))), rel=1e-5)
