"""The compiled loops against the formulas; `test_fused.py` tests the pools."""

import pytest
import torch
import torch.nn.functional as F

from detector.models.googlenet import LocalResponseNorm
from detector.ops.fused import max_pool, max_pool_around
from detector.ops.kernels import response_norm


# half a step of bfloat16 is 2^-8 of the number at most
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 2**-8 + 2e-4), (torch.float32, 1e-6)])
@pytest.mark.parametrize("largest", [0.0, 1.0, 300.0, 30000.0, 1e6])
@pytest.mark.parametrize("shape", [(1, 64, 6, 7), (2, 5, 3, 1), (1, 1, 2, 2)])
def test_response_norm_equals_the_formula(
    shape: tuple[int, ...], largest: float, dtype: torch.dtype, tolerance: float
) -> None:
    x = (torch.rand(shape, generator=torch.Generator().manual_seed(0)) ** 4 * largest).to(dtype)
    expected = F.local_response_norm(x.double(), 5, 1e-4, 0.75, 1.0)
    with torch.inference_mode():
        for laid_out in (x, x.contiguous(memory_format=torch.channels_last)):
            result = response_norm(laid_out, 1e-4 / 5)
            assert (result.shape, result.dtype) == (x.shape, dtype)
            torch.testing.assert_close(result.double(), expected, rtol=tolerance, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_nan_and_infinity_do_not_spread(bad: float, dtype: torch.dtype) -> None:
    x = torch.ones(1, 9, 1, 2).to(dtype)
    x[0, 4, 0, 0] = bad
    with torch.inference_mode():
        result = response_norm(x, 2e-5)
    assert not result[0, 4, 0, 0].isfinite()
    assert result[0, :2].isfinite().all()
    assert result[..., 1].isfinite().all()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.02), (torch.float32, 1e-5)])
def test_many_threads_use_pytorch_with_the_same_result(
    dtype: torch.dtype, tolerance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = (torch.rand(1, 16, 9, 8) * 100).to(dtype).contiguous(memory_format=torch.channels_last)
    norm = LocalResponseNorm(16).to(dtype)
    with torch.inference_mode():
        ours = [norm(x), max_pool(x), max_pool_around(x)]
        monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
        for name in ("max_pool", "response_norm"):
            monkeypatch.setattr(f"detector.ops.kernels.{name}", lambda *_: pytest.fail("the loops run on one thread"))
        torchs = [norm(x), max_pool(x), max_pool_around(x)]
    torch.testing.assert_close(ours[0], torchs[0], rtol=tolerance, atol=0)
    assert all(torch.equal(a, b) for a, b in zip(ours[1:], torchs[1:], strict=True))
