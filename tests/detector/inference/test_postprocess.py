"""Post-processing of scores made by hand."""

import pytest
import torch

from detector.config import PostprocessConfig
from detector.errors import InputError
from detector.inference.postprocess import postprocess
from detector.structures.region_scores import RegionScores
from proposals.boxes import encode_boxes

CLASSES = ("cat", "dog")


def scores(rows: list[list[float]]) -> RegionScores:
    return RegionScores(torch.tensor(rows), torch.zeros(len(rows), 1, 4))


BOXES = torch.tensor([[0.0, 0, 40, 40], [2, 0, 42, 40], [50, 50, 90, 90]])


def run(given: RegionScores, boxes: torch.Tensor = BOXES, score: float = 0.1, **config: object):
    return postprocess(given, boxes, (100, 80), CLASSES, PostprocessConfig(**config), score)


def test_overlapping_boxes_of_a_class_are_suppressed_and_scores_descend():
    found = run(scores([[0.6, 0.0], [0.7, 0.0], [0.1, 0.8]]), voting_iou=None)
    assert [d.label for d in found] == ["dog", "cat", "cat"]
    assert found.scores.tolist() == pytest.approx([0.8, 0.7, 0.1])
    assert found.boxes[1].tolist() == [2, 0, 42, 40]


def test_suppressed_boxes_vote_by_score_and_overlap():
    found = run(scores([[0.6, 0.0], [0.7, 0.0], [0.1, 0.8]]))
    weight = 0.6 * (38 / 42) ** 2
    left = 2 * 0.7 / (0.7 + weight)
    assert found.boxes[1].tolist() == pytest.approx([left, 0, 40 + left, 40])
    assert found.boxes[[0, 2]].tolist() == [[50, 50, 90, 80]] * 2  # alone in their classes
    # no voting without box regression or below the IoU threshold (here IoU is 38 / 42)
    boxes = RegionScores(torch.tensor([[0.6, 0.0], [0.7, 0.0]]), None)
    for off in (run(boxes, BOXES[:2]), run(scores([[0.6, 0.0], [0.7, 0.0]]), BOXES[:2], voting_iou=0.95)):
        assert off.boxes.tolist() == [[2, 0, 42, 40]]


@pytest.mark.parametrize(("loser", "votes"), [(0.21, True), (0.19, False)])
def test_votes_do_not_depend_on_the_lowest_score(loser: float, votes: bool):
    given = scores([[loser, 0.0], [0.8, 0.0], [0.0, 0.0]])
    low, high = run(given, score=0.001), run(given, score=0.5)
    assert low.boxes.tolist() == high.boxes.tolist()
    assert (high.boxes[0, 0] < 2) == votes


def test_a_mean_of_equal_boxes_stays_in_the_image():
    boxes = torch.tensor([[0.1, 0, 100, 80]]).expand(7, 4).clone()
    found = run(scores([[0.3 + 0.1 * i, 0.0] for i in range(7)]), boxes)
    assert found.boxes[0].tolist() == pytest.approx([0.1, 0, 100, 80], abs=1e-4)


def test_box_deltas_per_class():
    targets = torch.tensor([[10.0, 10, 60, 70], [0, 0, 20, 30]])
    box_deltas = encode_boxes(BOXES[:1].expand(2, 4), targets)[None]
    found = run(RegionScores(torch.tensor([[0.9, 0.8]]), box_deltas), BOXES[:1])
    assert [d.label for d in found] == ["cat", "dog"]
    torch.testing.assert_close(torch.from_numpy(found.boxes.copy()), targets, rtol=1e-4, atol=1e-3)


def test_boxes_without_area_and_low_scores_are_dropped():
    boxes = torch.tensor([[99.8, 0, 140, 40], [0, 0, 40, 40], [50, 0, 90, 40]])
    assert len(run(scores([[0.9, 0.0], [0.09, 0.0], [0.2, 0.0]]), boxes)) == 1


def test_at_most_max_detections():
    boxes = torch.tensor([[i * 10.0, 0, i * 10 + 9, 9] for i in range(9)])
    found = run(scores([[0.1 * (i + 1) - 0.05, 0.0] for i in range(9)]), boxes, score=0.0, max_detections=4)
    assert found.scores.tolist() == pytest.approx([0.85, 0.75, 0.65, 0.55])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_that_overflowed_raise(bad: float):
    """Every comparison with NaN is false: without the check the object would silently vanish."""
    boxes = torch.tensor([[0.0, 0, 9, 9], [0, 0, 8, 8]])
    scores, box_deltas = torch.tensor([[0.5], [0.6]]), torch.zeros(2, 1, 4)
    for what, which in (("score", scores), ("box delta", box_deltas)):
        changed = which.clone()
        changed[1, 0] = bad
        scored = RegionScores(changed if which is scores else scores, changed if which is box_deltas else box_deltas)
        with pytest.raises(InputError, match=f"the network's {what} of region 1 is not finite"):
            postprocess(scored, boxes, (9, 9), ("cat",), PostprocessConfig(), 0.1)
