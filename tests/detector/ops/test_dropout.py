import pytest
import torch

from detector.ops.dropout import BatchDropout


def train(p: float) -> BatchDropout:
    return BatchDropout(p).train()


def test_share_kept_and_mean():
    torch.manual_seed(0)
    y = train(0.7)(torch.ones(200, 1000))
    assert sorted(y.unique().tolist()) == pytest.approx([0, 1 / 0.3])
    assert float((y > 0).float().mean()) == pytest.approx(0.3, abs=0.01)
    assert float(y.mean()) == pytest.approx(1, abs=0.02)
    assert (y > 0).float().mean(dim=0).std() > 0.02, "samples have different masks"


@pytest.mark.parametrize("layer", [BatchDropout(0.4).eval(), train(0.0)], ids=["evaluating", "p=0"])
def test_no_dropout_in_evaluation_or_at_p_0(layer: BatchDropout):
    x, state = torch.randn(4, 10), torch.get_rng_state()
    assert layer(x) is x
    assert torch.equal(torch.get_rng_state(), state), "no random number is drawn"


@pytest.mark.parametrize("world", [1, 2, 3])
def test_processes_together_draw_the_mask_of_one(world: int, monkeypatch: pytest.MonkeyPatch):
    """Sample i belongs to process i modulo the number of processes, whose random states stay equal."""
    layer, x = train(0.4), torch.randn(6, 40)
    torch.manual_seed(5)
    expected, after = layer(x), torch.get_rng_state()
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: world)
    parts = torch.zeros_like(x)
    for rank in range(world):
        monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
        torch.manual_seed(5)
        parts[rank::world] = layer(x[rank::world])
        assert torch.equal(torch.get_rng_state(), after)
    assert torch.equal(parts, expected)
