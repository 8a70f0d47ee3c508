import torch

from detector.ops.devices import without_denormals


def denormal() -> float:
    return torch.tensor(1e-39).mul(1.0).item()


def test_denormals_are_zero_only_within_the_block():
    assert denormal() > 0
    with without_denormals():
        assert denormal() == 0
        with without_denormals():
            assert denormal() == 0
        assert denormal() == 0
    assert denormal() > 0
