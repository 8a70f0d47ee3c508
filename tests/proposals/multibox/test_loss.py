"""MultiBox's matching and loss against values computed by hand."""

import dataclasses
import math
from itertools import permutations

import pytest
import torch

from proposals.boxes import encode_boxes
from proposals.multibox.config import MultiBoxConfig, MultiBoxLossConfig
from proposals.multibox.loss import MultiBoxLoss, MultiBoxObjects, match_objects, multibox_loss, multibox_targets
from proposals.multibox.network import MultiBoxHead, MultiBoxPredictions

PRIORS = torch.tensor([[0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0], [0.2, 0.2, 0.8, 0.8]])


def make_head(coordinates: str = "corners") -> MultiBoxHead:
    head = MultiBoxHead(4, MultiBoxConfig(form="global", priors=3, channels=2, coordinates=coordinates))  # type: ignore
    head.set_priors(PRIORS)
    return head


def make_objects(*boxes: tuple[float, ...], difficult: tuple[bool, ...] | None = None) -> MultiBoxObjects:
    flags = torch.zeros(len(boxes), dtype=torch.bool) if difficult is None else torch.tensor(difficult)
    return MultiBoxObjects(torch.tensor(boxes).view(-1, 4), flags)


def compute(
    deltas: torch.Tensor,
    logits: list[list[float]] | torch.Tensor,
    *objects: MultiBoxObjects,
    head: MultiBoxHead | None = None,
    **settings: object,
) -> MultiBoxLoss:
    head, config = head or make_head(), MultiBoxLossConfig(**settings)  # type: ignore[arg-type]
    predictions = MultiBoxPredictions(deltas, torch.as_tensor(logits))
    return multibox_loss(head, predictions, multibox_targets(head, objects, config, predictions), config)


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def test_loss_of_one_object():
    """The second prior matches; its prediction is off by 0.1 in x2."""
    deltas = torch.zeros(1, 3, 4)
    deltas[0, 1, 2] = 0.1
    loss = compute(deltas, [[1.0, 2.0, -1.0]], make_objects((0.5, 0.5, 1.0, 1.0)), alpha=0.3)
    confidences = softplus(-2.0) + softplus(1.0) + softplus(-1.0)  # -log c of the match, -log(1 - c) of the rest
    assert loss.boxes.item() == pytest.approx(0.5 * 0.1**2)
    assert loss.confidences.item() == pytest.approx(confidences)
    assert loss.total.item() == pytest.approx(0.3 * 0.5 * 0.1**2 + confidences)


def test_an_image_that_is_not_fully_annotated_trains_its_objects_only():
    box = make_objects((0.5, 0.5, 1.0, 1.0))
    loss = compute(torch.zeros(1, 3, 4), [[1.0, 2.0, -1.0]], dataclasses.replace(box, complete=False))
    assert loss.confidences.item() == pytest.approx(softplus(-2.0))


def test_batch_is_divided_by_its_objects():
    two = make_objects((0.0, 0.0, 0.5, 0.5), (0.5, 0.5, 1.0, 1.0))
    images = [two, make_objects((0.2, 0.2, 0.8, 0.8)), make_objects()]
    logits = [[0.3, -0.2, 0.9]]
    losses = [compute(torch.full((1, 3, 4), 0.02), logits, objects).total.item() for objects in images]
    batch = compute(torch.full((3, 3, 4), 0.02), logits * 3, *images)
    assert batch.total.item() == pytest.approx((2 * losses[0] + losses[1] + losses[2]) / 3)


@pytest.mark.parametrize(("matching", "expected"), [("priors", 0.5 * (3 * 5.0**2 + 4.9**2)), ("predictions", 0.0)])
def test_matching_by_priors_or_predictions(matching: str, expected: float):
    """The first prior is closest to the object, the third predicts it."""
    objects = make_objects((0.0, 0.0, 0.5, 0.6))
    deltas = torch.zeros(1, 3, 4)
    deltas[0, 2] = objects.boxes[0] - PRIORS[2]
    deltas[0, 0] = 5.0
    assert compute(deltas, [[0.0] * 3], objects, matching=matching).boxes.item() == pytest.approx(expected)


def test_deltas_in_units_of_the_prior():
    objects = make_objects((0.1, 0.1, 0.4, 0.4))
    exact = encode_boxes(PRIORS[:1], objects.boxes)
    head = make_head("center_size")
    deltas = (exact + torch.tensor([0.5, 0.0, 0.0, 0.25])).expand(1, 3, 4)
    loss = compute(deltas, [[0.0] * 3], objects, head=head)
    assert loss.boxes.item() == pytest.approx(0.5 * (0.5**2 + 0.25**2), rel=1e-5)
    torch.testing.assert_close(head.boxes(exact.expand(1, 3, 4))[0, 0], objects.boxes[0])


@pytest.mark.parametrize(("negatives", "count"), [(None, 2), (1, 1), (2, 2), (9, 2)])
def test_hardest_negatives(negatives: int | None, count: int):
    objects = make_objects((0.0, 0.0, 0.5, 0.5))
    loss = compute(torch.zeros(1, 3, 4), [[1.0, 0.0, -2.0]], objects, negatives=negatives)
    expected = softplus(-1.0) + sum([softplus(0.0), softplus(-2.0)][:count])
    assert loss.confidences.item() == pytest.approx(expected)


def test_difficult_objects_are_ignored():
    """No prior is matched with a difficult object, and a box on it is not a negative."""
    objects = make_objects((0.0, 0.0, 0.5, 0.5), (0.5, 0.5, 1.0, 1.0), difficult=(True, False))
    loss = compute(torch.zeros(1, 3, 4), [[1.0, 0.0, -2.0]], objects)
    assert loss.confidences.item() == pytest.approx(softplus(0.0) + softplus(-2.0))
    assert loss.boxes.item() == 0


@pytest.mark.parametrize("count", [0, 1, 3, 100])
def test_gradients_are_finite_for_any_number_of_objects(count: int):
    corners = torch.rand(count, 2, generator=torch.Generator().manual_seed(0)) * 0.5
    objects = MultiBoxObjects(torch.cat((corners, corners + 0.3), dim=1), torch.zeros(count, dtype=torch.bool))
    deltas, logits = torch.zeros(1, 3, 4, requires_grad=True), torch.zeros(1, 3, requires_grad=True)
    loss = compute(deltas, logits, objects)
    loss.total.backward()
    assert loss.total.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert (logits.grad < 0).sum() == min(count, 3), "every matched prior should become more confident"


@pytest.mark.parametrize("box", [(0.1, 0.1, 0.1, 0.2), (0.2, 0.3, 0.4, 0.1), (0.0, 0.0, math.nan, 0.2)])
def test_invalid_object_is_named(box: tuple[float, ...]):
    with pytest.raises(ValueError, match=r"object 1: box \["):
        make_objects((0.0, 0.0, 1.0, 1.0), box)


@pytest.mark.parametrize("priors", [1, 2, 3, 5])
@pytest.mark.parametrize("objects", [1, 2, 3, 5])
def test_matching_has_the_minimum_cost(priors: int, objects: int):
    costs = torch.randn(priors, objects, generator=torch.Generator().manual_seed(0))
    table = costs if priors >= objects else costs.T
    every = (table[list(rows), range(table.shape[1])].sum() for rows in permutations(range(len(table)), table.shape[1]))
    assert costs[match_objects(costs)].sum().item() == pytest.approx(min(every).item(), abs=1e-6)


@pytest.mark.parametrize(
    ("costs", "expected"),
    [
        ([[0.0, 0.0], [1.0, 5.0]], {0: 1, 1: 0}),
        ([[math.nan, 2.0], [3.0, math.nan]], {0: 1, 1: 0}),
        ([[math.inf, 2.0], [3.0, math.inf]], {0: 1, 1: 0}),
    ],
)
def test_matching_by_hand(costs: list[list[float]], expected: dict[int, int]):
    """The cheaper total wins over the cheaper first match, and costs that are not finite are avoided."""
    priors, objects = match_objects(torch.tensor(costs))
    assert dict(zip(objects.tolist(), priors.tolist(), strict=True)) == expected
