from itertools import permutations

import pytest
import torch

from proposals.multibox.loss import match_objects


def cost(costs: torch.Tensor, priors: torch.Tensor, objects: torch.Tensor) -> float:
    return costs[priors, objects].sum().item()


@pytest.mark.parametrize("priors", [1, 2, 3, 5])
@pytest.mark.parametrize("objects", [1, 2, 3, 5])
def test_least_cost_against_every_matching(priors: int, objects: int):
    for seed in range(5):
        costs = torch.randn(priors, objects, generator=torch.Generator().manual_seed(seed))
        found = match_objects(costs)
        many, few = max(priors, objects), min(priors, objects)
        pairs = (zip(p, range(few), strict=True) for p in permutations(range(many), few))
        every = [sum(float(costs[(a, b) if priors >= objects else (b, a)]) for a, b in pair) for pair in pairs]
        assert cost(costs, *found) == pytest.approx(min(every), abs=1e-6)


@pytest.mark.parametrize(("priors", "objects"), [(5, 2), (2, 5), (4, 4), (3, 0), (100, 100)])
def test_each_object_once_and_no_prior_twice(priors: int, objects: int):
    """With more objects than priors, as many objects as there are priors."""
    found, matched = match_objects(torch.rand(priors, objects))
    assert len(found) == len(matched) == min(priors, objects)
    assert len(set(found.tolist())) == len(set(matched.tolist())) == len(found)
    assert found.dtype == matched.dtype == torch.int64


def test_a_prior_that_two_objects_want_goes_to_the_one_that_would_lose_more():
    costs = torch.tensor([[0.0, 0.0], [1.0, 5.0]])
    found, matched = match_objects(costs)
    assert dict(zip(matched.tolist(), found.tolist(), strict=True)) == {1: 0, 0: 1}


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_costs_that_are_not_finite_are_avoided(wrong: float):
    costs = torch.tensor([[wrong, 2.0], [3.0, wrong]])
    found, matched = match_objects(costs)
    assert dict(zip(matched.tolist(), found.tolist(), strict=True)) == {0: 1, 1: 0}
