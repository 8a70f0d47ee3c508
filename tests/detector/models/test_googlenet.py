"""Table 1 of 'Going deeper with convolutions', and the layers against torch's own."""

import pytest
import torch
from torch import nn

from detector.models.googlenet import TABLE_1, GoogLeNetBackbone, LocalResponseNorm
from detector.ops.fused import max_pool


def test_module_outputs_follow_table_1():
    expected = [256, 480, 512, 512, 512, 528, 832, 832, 1024]
    assert [w.out_channels for w in TABLE_1.values()] == expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_lrn_equals_torchs(dtype: torch.dtype):
    x = torch.randn(2, 9, 5, 6, dtype=dtype).abs() * 100
    expected = nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0)(x)
    torch.testing.assert_close(LocalResponseNorm(9).to(dtype)(x), expected)


@pytest.mark.parametrize(("size", "expected"), [(4, 2), (5, 2), (6, 3), (112, 56), (113, 56)])
def test_max_pool_equals_caffes(size: int, expected: int):
    """ceil((size - 3) / 2) + 1 outputs; the last window may extend beyond the edge."""
    x = torch.arange(size * size, dtype=torch.float32).view(1, 1, size, size)
    pooled = max_pool(x)
    assert pooled.shape[-1] == expected
    assert pooled[0, 0, -1, -1] == x.max()
    assert pooled[0, 0, 0, 0] == x[0, 0, :3, :3].max()


def test_dense_backbone_contains_the_strided_one():
    """Dilation in 5a and 5b makes the stride-16 features equal the stride-32 ones wherever both exist.

    Only cells whose receptive field stays inside can agree exactly: at the border Caffe's ceil-mode pool and the padded
    3x3/1 pool read different values. The pooled maps are offset by one cell: output i of the 3x3/2 pool is centered at
    output 2 i + 1 of the 3x3/1 pool.
    """
    torch.manual_seed(0)
    strided, dense = GoogLeNetBackbone().eval(), GoogLeNetBackbone(dense=True).eval()
    for p in strided.parameters():
        nn.init.normal_(p, std=0.05)
    dense.load_state_dict(strided.state_dict())
    x = torch.randn(1, 3, 480, 480) * 50
    with torch.inference_mode():
        a, b = strided(x), dense(x)
    assert dense.stride == strided.stride // 2
    assert dense.offset + dense.stride == strided.offset
    inner = slice(6, 9)
    aligned = b[:, :, 1::2, 1::2][:, :, : a.shape[2], : a.shape[3]]
    torch.testing.assert_close(aligned[:, :, inner, inner], a[:, :, inner, inner], rtol=1e-4, atol=1e-5)
