"""The compiled loops against the formulas; `test_fused.py` tests the pools."""

import pytest
import torch
import torch.nn.functional as F

from detector.models.googlenet import LocalResponseNorm
from detector.ops.fused import max_pool, max_pool_around
from detector.ops.kernels import response_norm


@pytest.mark.parametrize("largest", [0.0, 1.0, 300.0, 30000.0, 1e6])
@pytest.mark.parametrize("shape", [(1, 64, 6, 7), (2, 5, 3, 1), (1, 1, 2, 2)])
def test_response_norm_equals_the_formula_rounded_once(shape: tuple[int, ...], largest: float) -> None:
    x = (torch.rand(shape, generator=torch.Generator().manual_seed(0)) ** 4 * largest).bfloat16()
    expected = F.local_response_norm(x.double(), 5, 1e-4, 0.75, 1.0)
    with torch.inference_mode():
        for laid_out in (x, x.contiguous(memory_format=torch.channels_last)):
            result = response_norm(laid_out, 1e-4 / 5)
            assert (result.shape, result.dtype) == (x.shape, torch.bfloat16)
            # half a step of bfloat16 is 2^-8 of the number at most
            torch.testing.assert_close(result.double(), expected, rtol=2**-8 + 2e-4, atol=0)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_nan_and_infinity_do_not_spread(bad: float) -> None:
    x = torch.ones(1, 9, 1, 2).bfloat16()
    x[0, 4, 0, 0] = bad
    with torch.inference_mode():
        result = response_norm(x, 2e-5)
    assert not result[0, 4, 0, 0].isfinite()
    assert result[0, :2].isfinite().all()
    assert result[..., 1].isfinite().all()


def test_many_threads_use_pytorch_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    x = (torch.rand(1, 16, 9, 8) * 100).bfloat16().contiguous(memory_format=torch.channels_last)
    norm = LocalResponseNorm(16).bfloat16()
    with torch.inference_mode():
        ours = [norm(x), max_pool(x), max_pool_around(x)]
        monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
        for name in ("max_pool", "response_norm"):
            monkeypatch.setattr(f"detector.ops.kernels.{name}", lambda *_: pytest.fail("the loops run on one thread"))
        torchs = [norm(x), max_pool(x), max_pool_around(x)]
    torch.testing.assert_close(ours[0], torchs[0], rtol=0.02, atol=0)
    assert all(torch.equal(a, b) for a, b in zip(ours[1:], torchs[1:], strict=True))
