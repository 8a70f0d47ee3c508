"""Layers as a CPU runs them fastest when nothing is trained; elsewhere they are PyTorch's own.

The results are those of PyTorch's layers to the bit, response normalization aside, which is nearer to the formula: only
passes over memory are saved.
"""

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detector.ops import kernels

# oneDNN's convolution with what follows it, and the order of weights that it computes with: torch.compile emits them,
# and PyTorch has had them since 2.0.
_OPERATORS = ("_convolution_pointwise", "_reorder_convolution_weight")
_PACKED_SIZES = 4
_THREADS = 4
"""More threads of PyTorch are faster than our loops, which run on one."""


def conv_relu(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """ReLU of a convolution with bias: one pass in inference on a CPU, two otherwise."""
    if not _packs(conv, x):
        return F.relu(nn.Conv2d.forward(conv, x), inplace=True)
    return _convolve(conv, x, "relu")


def _convolution(conv: nn.Conv2d, x: Tensor) -> Tensor:
    return _convolve(conv, x, "none") if _packs(conv, x) else nn.Conv2d.forward(conv, x)


def _packs(conv: nn.Conv2d, x: Tensor) -> bool:
    return _inference(x) and _has_onednn(x) and x.dtype == conv.weight.dtype and isinstance(conv.padding, tuple)


def _convolve(conv: nn.Conv2d, x: Tensor, then: str) -> Tensor:
    geometry = (conv.padding, conv.stride, conv.dilation, conv.groups)
    weight = _packed_weight(conv, x.shape, geometry)
    return torch.ops.mkldnn._convolution_pointwise(x, weight, conv.bias, *geometry, then, [], "")


def _packed_weight(conv: nn.Conv2d, shape: torch.Size, geometry: tuple[Any, ...]) -> Tensor:
    packed: dict[torch.Size, Tensor] | None = getattr(conv, "packed", None)
    if packed is None:
        return conv.weight
    weight = packed.get(shape)
    if weight is None:
        weight = torch.ops.mkldnn._reorder_convolution_weight(conv.weight, *geometry, shape)
        if len(packed) >= _PACKED_SIZES:
            packed.clear()
        packed[shape] = weight
    return weight


def freeze(network: nn.Module) -> None:
    """Lets a network's convolutions keep their weights in the order that the CPU computes with, for a few sizes of
    images. The weights must not change afterwards, nor the network be copied."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.packed = {}  # type: ignore[assignment]
            if type(module) is nn.Conv2d:
                module.forward = partial(_convolution, module)  # type: ignore[method-assign]


def max_pool(x: Tensor) -> Tensor:
    """Caffe's 3x3/2 max pool: ceil mode, no padding. `x` (B, C, H, W) is never negative."""
    if torch.compiler.is_exporting():  # no ceil mode, which symbolic sizes do not get through
        return F.max_pool2d(F.pad(x, (0, 1, 0, 1)), 3, stride=2)
    if not _quick(x) or min(x.shape[2:]) < 2:
        return F.max_pool2d(x, 3, stride=2, ceil_mode=True)
    return kernels.max_pool(x, 2, 1, 0, (x.shape[2] // 2, x.shape[3] // 2))


def max_pool_around(x: Tensor, dilation: int = 1) -> Tensor:
    """3x3/1 max pool of the same size as `x` (B, C, H, W), which is never negative."""
    if torch.compiler.is_exporting():  # no dilation, for which other engines have slow pools
        x, d = F.pad(x, (dilation,) * 4), dilation
        x = torch.maximum(torch.maximum(x[:, :, : -2 * d], x[:, :, d:-d]), x[:, :, 2 * d :])
        return torch.maximum(torch.maximum(x[..., : -2 * d], x[..., d:-d]), x[..., 2 * d :])
    if not _quick(x):
        # padding with zeros leaves a maximum as it is
        return F.max_pool2d(F.pad(x, (dilation,) * 4), 3, stride=1, dilation=dilation)
    return kernels.max_pool(x, 1, dilation, dilation, (x.shape[2], x.shape[3]))


def response_norm(x: Tensor, band: Tensor, one: Tensor) -> Tensor:
    """Local response normalization of `x` (B, C, H, W) over 5 channels, beta 0.75, k 1.

    The sum over neighboring channels is a 1x1 convolution with a banded matrix: many more multiplications than five
    shifted sums, but one pass over memory, and half the time.

    Args:
        band: (C, C, 1, 1), alpha / 5 where the channels are neighbors; one: (C,) ones.
    """
    if _quick(x) and x.dtype == torch.bfloat16 and not torch.compiler.is_exporting():
        return kernels.response_norm(x, float(band[0, 0, 0, 0]))
    energy = F.conv2d(x * x, band, one)
    # s^-0.75 = s^-1/2 * s^-1/4; two square roots are cheaper than a power
    root = energy.rsqrt()
    return x * (root * root.sqrt())


def _inference(x: Tensor) -> bool:
    return torch.is_inference_mode_enabled() and x.device.type == "cpu"


def _quick(x: Tensor) -> bool:
    """Whether our own loops serve. PyTorch's pool also finds the places of the maxima, which takes it longer than they,
    and its arithmetic is several passes over memory; but it has threads."""
    return _inference(x) and x.dtype in kernels.INTEGERS and torch.get_num_threads() <= _THREADS


def _has_onednn(x: Tensor) -> bool:
    known = torch.backends.mkldnn.is_available() and all(hasattr(torch.ops.mkldnn, name) for name in _OPERATORS)
    return known and x.dtype in (torch.float32, torch.bfloat16)
