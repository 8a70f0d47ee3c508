"""The layers for inference on a CPU against PyTorch's own."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from detector.models.googlenet import Conv
from detector.ops.fused import freeze, has_onednn, max_pool, max_pool_around

FORMATS = [torch.float32, torch.bfloat16]


def not_negative(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).relu() * 100
    return x.to(dtype).contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("size", [(2, 2), (2, 7), (3, 3), (31, 30)])
def test_max_pool_equals_torchs(size: tuple[int, int], dtype: torch.dtype) -> None:
    x = not_negative(2, 5, *size, dtype=dtype)
    with torch.inference_mode():
        result = max_pool(x)
    torch.testing.assert_close(result, F.max_pool2d(x, 3, stride=2, ceil_mode=True), rtol=0, atol=0)
    assert result.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("size", [(1, 1), (1, 6), (2, 2), (3, 4), (9, 8)])
def test_max_pool_around_equals_torchs(size: tuple[int, int], dilation: int, dtype: torch.dtype) -> None:
    x = not_negative(2, 5, *size, dtype=dtype)
    before = x.clone()
    with torch.inference_mode():
        result = max_pool_around(x, dilation)
    torch.testing.assert_close(result, max_pool_around(x, dilation), rtol=0, atol=0)
    padded = F.pad(x.float(), (dilation,) * 4)
    windows = F.unfold(padded, 3, dilation=dilation).view(2, 5, 9, *size)
    torch.testing.assert_close(result.float(), windows.amax(dim=2), rtol=0, atol=0)
    torch.testing.assert_close(x, before, rtol=0, atol=0)


def test_pools_keep_nan_and_infinity() -> None:
    x = not_negative(1, 1, 4, 4)
    x[0, 0, 1, 1], x[0, 0, 3, 3] = torch.nan, torch.inf
    with torch.inference_mode():
        assert torch.equal(max_pool_around(x).isnan(), F.max_pool2d(x, 3, 1, 1).isnan())
        assert max_pool(x)[0, 0, 0, 0].isnan()
        assert max_pool(x)[0, 0, 1, 1] == torch.inf


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize(
    "geometry", [{}, {"stride": 2, "padding": 1}, {"dilation": 2, "padding": 2}, {"kernel_size": 5, "padding": 2}]
)
@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("onednn", [True, False])
def test_convolutions_equal_torchs(
    geometry: dict[str, int], dtype: torch.dtype, frozen: bool, onednn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not onednn:  # as in a release of PyTorch without the private operators
        monkeypatch.setattr("detector.ops.fused.has_onednn", lambda: False)
        monkeypatch.setattr("detector.ops.fused._convolve", lambda *_: pytest.fail("a private operator was called"))
    torch.manual_seed(0)
    conv = Conv(6, 9, **{"kernel_size": 3, **geometry}).to(dtype).to(memory_format=torch.channels_last)  # type: ignore[arg-type]
    if frozen:
        freeze(conv)
    for seed, size in enumerate([(7, 9), (9, 7), (12, 12), (7, 9), (5, 5), (6, 6), (20, 31), (7, 9)]):
        x = not_negative(1, 6, *size, dtype=dtype, seed=seed)
        with torch.inference_mode():
            result = conv(x)
        expected = F.relu(F.conv2d(x, conv.weight, conv.bias, conv.stride, conv.padding, conv.dilation))
        # oneDNN's order of summation depends on the CPU, and Winograd's transform rounds more often
        single = dtype == torch.float32
        largest = float(expected.detach().max())
        rtol, atol = (0, 2e-5 * largest) if single else (0.02, 1e-4)
        torch.testing.assert_close(result, expected, rtol=rtol, atol=atol)
        assert result.is_contiguous(memory_format=torch.channels_last)
        assert result.min() == 0
    if frozen:
        assert len(conv.packed) <= 4  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("threads", "images", "dtype", "used"),
    [(1, 1, torch.float32, True), (2, 1, torch.float32, False), (1, 2, torch.float32, False),
     (1, 1, torch.bfloat16, False)],
)  # fmt: skip
def test_one_float32_image_on_one_thread_is_convolved_by_nnpack(
    threads: int, images: int, dtype: torch.dtype, used: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not torch._nnpack_available():
        pytest.skip("this build of PyTorch has no NNPACK")
    calls: list[int] = []
    convolve = torch._nnpack_spatial_convolution
    monkeypatch.setattr(torch, "_nnpack_spatial_convolution", lambda *a: (calls.append(1), convolve(*a))[1])
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    conv = Conv(4, 4, 3, padding=1).to(dtype).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        conv(not_negative(images, 4, 8, 8, dtype=dtype))
    assert bool(calls) == used


def test_pytorch_has_the_private_operators_with_the_expected_arguments() -> None:
    """Fails with a release that changes them: adapt `fused._OPERATORS`, or accept slower convolutions."""
    assert has_onednn() == torch.backends.mkldnn.is_available()


@pytest.mark.parametrize("arguments", [None, "X W"])
def test_other_operators_are_not_used(arguments: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = {"_convolution_pointwise": arguments} if arguments else {"_operator_of_no_release": ""}
    monkeypatch.setattr("detector.ops.fused._OPERATORS", changed)
    assert not has_onednn.__wrapped__()
