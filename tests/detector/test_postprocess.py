import pytest
import torch

from detector.config import PostprocessConfig
from detector.postprocess import postprocess
from detector.scorers import RegionScores
from proposals.boxes import encode_offsets

CLASSES = ("cat", "dog")


def scores(rows: list[list[float]]) -> RegionScores:
    return RegionScores(torch.tensor(rows), torch.zeros(len(rows), 1, 4))


BOXES = torch.tensor([[0.0, 0, 40, 40], [2, 0, 42, 40], [50, 50, 90, 90]])


def run(given: RegionScores, boxes: torch.Tensor = BOXES, score: float = 0.1, **config: object):
    return postprocess(given, boxes, (100, 80), CLASSES, PostprocessConfig(**config), score)


def test_overlapping_boxes_of_a_class_are_suppressed_and_scores_descend():
    found = run(scores([[0.6, 0.0], [0.7, 0.0], [0.1, 0.8]]))
    assert [d.label for d in found] == ["dog", "cat", "cat"]
    assert found.scores.tolist() == pytest.approx([0.8, 0.7, 0.1])
    assert found.boxes[1].tolist() == [2, 0, 42, 40]


def test_classes_do_not_suppress_each_other():
    assert len(run(scores([[0.6, 0.3], [0.0, 0.05], [0.0, 0.05]]))) == 2


def test_boxes_are_clipped_to_the_image():
    assert run(scores([[0.0, 0.0], [0.0, 0.0], [0.0, 0.9]])).boxes.tolist() == [[50, 50, 90, 80]]


def test_offsets_are_applied():
    target = torch.tensor([[10.0, 10, 60, 70]])
    given = RegionScores(torch.tensor([[0.9, 0.0]]), encode_offsets(BOXES[:1], target)[:, None])
    assert run(given, BOXES[:1]).boxes[0].tolist() == pytest.approx(target[0].tolist(), rel=1e-4)


def test_every_class_has_its_own_offsets():
    targets = torch.tensor([[10.0, 10, 60, 70], [0, 0, 20, 30]])
    offsets = encode_offsets(BOXES[:1].expand(2, 4), targets)[None]
    found = run(RegionScores(torch.tensor([[0.9, 0.8]]), offsets), BOXES[:1])
    assert [d.label for d in found] == ["cat", "dog"]
    torch.testing.assert_close(torch.from_numpy(found.boxes.copy()), targets, rtol=1e-4, atol=1e-3)


def test_without_box_regression_boxes_stay():
    assert run(RegionScores(torch.tensor([[0.9, 0.0]]), None), BOXES[:1]).boxes.tolist() == BOXES[:1].tolist()


def test_boxes_without_area_and_low_scores_are_dropped():
    boxes = torch.tensor([[99.8, 0, 140, 40], [0, 0, 40, 40], [50, 0, 90, 40]])
    assert len(run(scores([[0.9, 0.0], [0.09, 0.0], [0.2, 0.0]]), boxes)) == 1


def test_at_most_max_detections():
    boxes = torch.tensor([[i * 10.0, 0, i * 10 + 9, 9] for i in range(9)])
    found = run(scores([[0.1 * (i + 1) - 0.05, 0.0] for i in range(9)]), boxes, score=0.0, max_detections=4)
    assert found.scores.tolist() == pytest.approx([0.85, 0.75, 0.65, 0.55])


def test_no_detections():
    assert len(run(scores([[0.0, 0.0]] * 3))) == 0
