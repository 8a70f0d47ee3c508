"""Where and how a network computes."""

import torch

from detector.ops.devices import without_denormals


def small() -> float:
    return torch.tensor(1e-39).mul(1.0).item()


def test_denormal_numbers_are_zero_within_the_block_and_only_there():
    assert small() > 0
    with without_denormals():
        assert small() == 0
        with without_denormals():
            assert small() == 0
        assert small() == 0
    assert small() > 0
