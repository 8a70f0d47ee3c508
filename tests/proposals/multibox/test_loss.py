"""MultiBox's loss against cases by hand."""

import math

import pytest
import torch

from proposals.boxes import encode_boxes
from proposals.multibox.config import MultiBoxConfig, MultiBoxLossConfig
from proposals.multibox.loss import MultiBoxLoss, MultiBoxObjects, multibox_loss, multibox_targets
from proposals.multibox.network import MultiBoxHead, MultiBoxPredictions

PRIORS = torch.tensor([[0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0], [0.2, 0.2, 0.8, 0.8]])


def head(coordinates: str = "corners") -> MultiBoxHead:
    made = MultiBoxHead(4, MultiBoxConfig(form="global", priors=3, channels=2, coordinates=coordinates))  # type: ignore
    made.set_priors(PRIORS)
    return made


def predictions(box_deltas: torch.Tensor, logits: list[list[float]]) -> MultiBoxPredictions:
    return MultiBoxPredictions(box_deltas, torch.tensor(logits))


def objects(*boxes: tuple[float, ...], difficult: tuple[bool, ...] | None = None) -> MultiBoxObjects:
    flags = torch.zeros(len(boxes), dtype=torch.bool) if difficult is None else torch.tensor(difficult)
    return MultiBoxObjects(torch.tensor(boxes).view(-1, 4), flags)


def loss(
    head: MultiBoxHead, found: MultiBoxPredictions, truth: list[MultiBoxObjects], config: MultiBoxLossConfig
) -> MultiBoxLoss:
    return multibox_loss(head, found, multibox_targets(head, truth, config, found), config)


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def test_by_hand():
    """One object on the second prior, 0.1 off in x2 from its prediction."""
    box_deltas = torch.zeros(1, 3, 4)
    box_deltas[0, 1] = torch.tensor([0.0, 0.0, 0.1, 0.0])
    logits = [[1.0, 2.0, -1.0]]
    found = loss(
        head(), predictions(box_deltas, logits), [objects((0.5, 0.5, 1.0, 1.0))], MultiBoxLossConfig(alpha=0.3)
    )
    confidences = softplus(-2.0) + softplus(1.0) + softplus(-1.0)  # -log c of the match, -log(1 - c) of the others
    assert found.boxes.item() == pytest.approx(0.5 * 0.1**2)
    assert found.confidences.item() == pytest.approx(confidences)
    assert found.total.item() == pytest.approx(0.3 * 0.5 * 0.1**2 + confidences)


def test_a_batch_is_divided_by_its_objects():
    two = objects((0.0, 0.0, 0.5, 0.5), (0.5, 0.5, 1.0, 1.0))
    one, none = objects((0.2, 0.2, 0.8, 0.8)), objects()
    logits = [[0.3, -0.2, 0.9]]
    config = MultiBoxLossConfig()
    parts = [
        loss(head(), predictions(torch.full((1, 3, 4), 0.02), logits), [truth], config) for truth in (two, one, none)
    ]
    together = loss(head(), predictions(torch.full((3, 3, 4), 0.02), logits * 3), [two, one, none], config)
    expected = sum(part.total.item() * count for part, count in zip(parts, (2, 1, 1), strict=True)) / 3
    assert together.total.item() == pytest.approx(expected)


@pytest.mark.parametrize("matching", ["priors", "predictions"])
def test_what_is_matched(matching: str):
    """The first prior is nearest to the object, the third predicts it."""
    truth = objects((0.0, 0.0, 0.5, 0.6))
    box_deltas = torch.zeros(1, 3, 4)
    box_deltas[0, 2] = truth.boxes[0] - PRIORS[2]
    box_deltas[0, 0] = 5.0
    found = loss(
        head(),
        predictions(box_deltas, [[0.0] * 3]),
        [truth],
        MultiBoxLossConfig(matching=matching),  # type: ignore
    )
    assert found.boxes.item() == pytest.approx(0.0 if matching == "predictions" else 0.5 * (3 * 5.0**2 + 4.9**2))


def test_confidence_decides_between_equal_predictions():
    truth = objects((0.1, 0.1, 0.4, 0.4))
    box_deltas = (truth.boxes[0] - PRIORS)[None]
    found = loss(
        head(), predictions(box_deltas, [[0.0, 3.0, 0.0]]), [truth], MultiBoxLossConfig(matching="predictions")
    )
    assert found.confidences.item() == pytest.approx(softplus(-3.0) + 2 * math.log(2))


def test_offsets_in_units_of_the_prior():
    truth = objects((0.1, 0.1, 0.4, 0.4))
    wanted = encode_boxes(PRIORS[:1], truth.boxes)
    off = torch.tensor([0.5, 0.0, 0.0, 0.25])
    made = head("center_size")
    found = loss(made, predictions((wanted + off).expand(1, 3, 4), [[0.0] * 3]), [truth], MultiBoxLossConfig())
    assert found.boxes.item() == pytest.approx(0.5 * (0.5**2 + 0.25**2), rel=1e-5)
    torch.testing.assert_close(made.boxes(wanted.expand(1, 3, 4))[0, 0], truth.boxes[0])


@pytest.mark.parametrize(("negatives", "count"), [(None, 2), (1, 1), (2, 2), (9, 2)])
def test_only_the_hardest_negatives(negatives: int | None, count: int):
    logits = [[1.0, 0.0, -2.0]]
    found = loss(
        head(),
        predictions(torch.zeros(1, 3, 4), logits),
        [objects((0.0, 0.0, 0.5, 0.5))],
        MultiBoxLossConfig(negatives=negatives),
    )
    expected = softplus(-1.0) + sum([softplus(0.0), softplus(-2.0)][:count])
    assert found.confidences.item() == pytest.approx(expected)


def test_difficult_objects_are_neutral():
    """Neither is a prior given to one, nor is the box that lies on it held to be wrong."""
    truth = objects((0.0, 0.0, 0.5, 0.5), (0.5, 0.5, 1.0, 1.0), difficult=(True, False))
    found = loss(head(), predictions(torch.zeros(1, 3, 4), [[1.0, 0.0, -2.0]]), [truth], MultiBoxLossConfig())
    assert found.confidences.item() == pytest.approx(softplus(0.0) + softplus(-2.0))
    assert found.boxes.item() == 0


@pytest.mark.parametrize("count", [0, 1, 3, 100])
def test_finite_whatever_the_number_of_objects(count: int):
    corners = torch.rand(count, 2, generator=torch.Generator().manual_seed(0)) * 0.5
    truth = MultiBoxObjects(torch.cat((corners, corners + 0.3), dim=1), torch.zeros(count, dtype=torch.bool))
    box_deltas = torch.zeros(1, 3, 4, requires_grad=True)
    logits = torch.zeros(1, 3, requires_grad=True)
    found = loss(head(), MultiBoxPredictions(box_deltas, logits), [truth], MultiBoxLossConfig())
    found.total.backward()
    assert found.total.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    # 100 objects and three priors: every prior has one
    expected = -1.0 if count >= 3 else 0.0
    assert (logits.grad.sign().sum().item() == -3) == (expected == -1.0)


@pytest.mark.parametrize("coordinates", ["corners", "center_size"])
def test_gradients_are_those_of_differences(coordinates: str):
    made = head(coordinates).double()
    truth = [objects((0.1, 0.0, 0.5, 0.6)), objects((0.3, 0.5, 0.9, 0.9), (0.0, 0.1, 0.4, 0.4))]
    generator = torch.Generator().manual_seed(1)
    box_deltas = (0.05 * torch.randn(2, 3, 4, generator=generator)).double().requires_grad_()
    logits = torch.randn(2, 3, generator=generator).double().requires_grad_()
    config = MultiBoxLossConfig(alpha=0.7, negatives=1)
    doubled = [MultiBoxObjects(o.boxes.double(), o.difficult) for o in truth]

    def total(box_deltas: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        return loss(made, MultiBoxPredictions(box_deltas, logits), doubled, config).total

    assert torch.autograd.gradcheck(total, (box_deltas, logits), atol=1e-4)


@pytest.mark.parametrize("box", [(0.1, 0.1, 0.1, 0.2), (0.2, 0.3, 0.4, 0.1), (0.0, 0.0, math.nan, 0.2)])
def test_an_object_without_area_is_named(box: tuple[float, ...]):
    with pytest.raises(ValueError, match=r"object 1: box .* has no area or is not finite"):
        objects((0.0, 0.0, 1.0, 1.0), box)
