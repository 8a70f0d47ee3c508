import pytest
import torch

from detector.models.rfcn import RegionPredictions
from detector.training.targets import IGNORED, RegionTargets, hardest, match_regions, region_losses

OBJECTS = torch.tensor([[0.0, 0, 10, 10], [20, 0, 40, 10], [100, 100, 150, 150]])
LABELS = torch.tensor([4, 7, 2])
DIFFICULT = torch.tensor([False, False, True])


@pytest.mark.parametrize(
    ("box", "label"),
    [
        ([0.0, 0, 10, 10], 5),  # the object itself
        ([0.0, 0, 10, 20], 5),  # IoU exactly 0.5 is foreground
        ([0.0, 0, 10, 21], 0),  # just below
        ([21.0, 0, 41, 10], 8),
        ([100.0, 100, 150, 145], IGNORED),  # difficult: neither positive nor negative
        ([300.0, 300, 310, 310], 0),
    ],
)
def test_labels(box: list[float], label: int):
    assert match_regions(torch.tensor([box]), OBJECTS, LABELS, DIFFICULT).labels.item() == label


def test_offsets_lead_to_the_matched_object():
    targets = match_regions(torch.tensor([[22.0, 0, 42, 10]]), OBJECTS, LABELS, DIFFICULT)
    torch.testing.assert_close(targets.box_deltas, torch.tensor([[-1.0, 0, 0, 0]]))  # -2 px of 20, over 0.1


def test_an_image_without_objects_is_all_background():
    targets = match_regions(torch.rand(5, 4), torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.bool))
    assert targets.labels.tolist() == [0] * 5


def test_losses_by_hand():
    """Two classes: log 3 for equal logits; smooth L1 of (0.5, 2, 0, 0) is 0.125 + 1.5; ignored regions cost nothing."""
    predictions = RegionPredictions(torch.zeros(3, 3), torch.zeros(3, 4))
    targets = RegionTargets(torch.tensor([0, 1, IGNORED]), torch.tensor([[0.5, 2.0, 0, 0]]).repeat(3, 1))
    losses = region_losses(predictions, targets)
    log3 = torch.tensor(3.0).log()
    torch.testing.assert_close(losses.classification, torch.stack((log3, log3, log3 * 0)))
    torch.testing.assert_close(losses.box_deltas, torch.tensor([0.0, 1.625, 0.0]))
    torch.testing.assert_close(losses.total, losses.classification + losses.box_deltas)


def test_class_targets_are_the_iou_after_box_regression():
    """Equal logits but for background's; a shift by half the width has an IoU of 1/3."""
    logits = torch.tensor([[1.0, 0, 0]]).repeat(3, 1)
    predicted = torch.tensor([[0.0, 0, 0, 0], [5.0, 0, 0, 0], [0.0, 0, 0, 0]])
    predictions = RegionPredictions(logits, predicted)
    targets = RegionTargets(torch.tensor([1, 1, 0]), torch.zeros(3, 4))
    found = region_losses(predictions, targets, iou_targets=True).classification
    background, other = -logits.log_softmax(dim=1)[0, :2]
    torch.testing.assert_close(found, torch.stack((other, other / 3 + background * 2 / 3, background)))


def test_hardest_takes_the_highest_losses_of_each_image():
    chosen = hardest(torch.tensor([1.0, 9, 2, 20, 30, 10]), (3, 3), 2)
    assert sorted(chosen.tolist()) == [1, 2, 3, 4]
    assert len(hardest(torch.ones(6), (2, 0, 4), 10)) == 6


def test_the_background_includes_classes_that_are_not_annotated():
    """Of three classes the last is not annotated: background costs -log(p0 + p3), objects cost what they always do."""
    logits = torch.tensor([[1.0, 2.0, 0.5, 3.0]]).repeat(3, 1).requires_grad_()
    predictions, labels = RegionPredictions(logits, torch.zeros(3, 4)), torch.tensor([0, 1, 3])
    unlabeled = torch.tensor([[False, False, False, True]]).repeat(3, 1)
    losses = region_losses(predictions, RegionTargets(labels, torch.zeros(3, 4), unlabeled)).classification
    p = logits[0].softmax(dim=0)
    torch.testing.assert_close(losses, -torch.stack((p[0] + p[3], p[1], p[3])).log())
    losses[0].backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert logits.grad[0, 3] < 0  # its score rises with the background's
