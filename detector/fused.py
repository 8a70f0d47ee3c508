"""Layers as a CPU runs them fastest when nothing is trained; elsewhere they are PyTorch's own.

The results are those of PyTorch's layers to the bit: only passes over memory are saved.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# oneDNN's convolution with what follows it, and the order of weights that it computes with: torch.compile emits them,
# and PyTorch has had them since 2.0.
_OPERATORS = ("_convolution_pointwise", "_reorder_convolution_weight")
_PACKED_SIZES = 4
_INTEGERS = {torch.bfloat16: torch.int16, torch.float16: torch.int16, torch.float32: torch.int32}


def conv_relu(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """ReLU of a convolution with bias: one pass in inference on a CPU, two otherwise."""
    if not (_inference(x) and _has_onednn(x) and x.dtype == conv.weight.dtype and isinstance(conv.padding, tuple)):
        return F.relu(nn.Conv2d.forward(conv, x), inplace=True)
    geometry = (conv.padding, conv.stride, conv.dilation, conv.groups)
    weight = _packed_weight(conv, x.shape, geometry)
    return torch.ops.mkldnn._convolution_pointwise(x, weight, conv.bias, *geometry, "relu", [], "")


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
    images. The weights must not change afterwards."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.packed = {}  # type: ignore[assignment]


def max_pool(x: Tensor) -> Tensor:
    """Caffe's 3x3/2 max pool: ceil mode, no padding. `x` (B, C, H, W) is never negative."""
    if torch.compiler.is_exporting():  # no ceil mode, which symbolic sizes do not get through
        return F.max_pool2d(F.pad(x, (0, 1, 0, 1)), 3, stride=2)
    if not _quick(x) or min(x.shape[2:]) < 2:
        return F.max_pool2d(x, 3, stride=2, ceil_mode=True)
    values = x.view(_INTEGERS[x.dtype])
    return _halved(_halved(values, 2), 3).view(x.dtype)


def max_pool_around(x: Tensor, dilation: int = 1) -> Tensor:
    """3x3/1 max pool of the same size as `x` (B, C, H, W), which is never negative."""
    if torch.compiler.is_exporting():  # no dilation, for which other engines have slow pools
        x, d = F.pad(x, (dilation,) * 4), dilation
        x = torch.maximum(torch.maximum(x[:, :, : -2 * d], x[:, :, d:-d]), x[:, :, 2 * d :])
        return torch.maximum(torch.maximum(x[..., : -2 * d], x[..., d:-d]), x[..., 2 * d :])
    if not _quick(x):
        # padding with zeros leaves a maximum as it is
        return F.max_pool2d(F.pad(x, (dilation,) * 4), 3, stride=1, dilation=dilation)
    values = x.view(_INTEGERS[x.dtype])
    return _spread(_spread(values, 2, dilation), 3, dilation).view(x.dtype)


def _inference(x: Tensor) -> bool:
    return torch.is_inference_mode_enabled() and x.device.type == "cpu"


def _has_onednn(x: Tensor) -> bool:
    known = torch.backends.mkldnn.is_available() and all(hasattr(torch.ops.mkldnn, name) for name in _OPERATORS)
    return known and x.dtype in (torch.float32, torch.bfloat16)


def _quick(x: Tensor) -> bool:
    """Whether the pools below serve: numbers that are not negative have the order of their bits as whole numbers, whose
    maxima CPUs take many at a time, and PyTorch's own pool also finds the places of the maxima, which takes it longer
    than the maxima."""
    return _inference(x) and x.dtype in _INTEGERS


def _halved(x: Tensor, dim: int) -> Tensor:
    """Maxima of 3 along a dimension at every second place, the last one of 2 if a third is missing."""
    size = x.shape[dim]
    count = -(-(size - 3) // 2) + 1
    first, second = _every_second(x, dim, 0, count), _every_second(x, dim, 1, count)
    result = torch.maximum(first, second)
    third = _every_second(x, dim, 2, count)
    part = result.narrow(dim, 0, third.shape[dim])
    torch.maximum(part, third, out=part)
    return result


def _every_second(x: Tensor, dim: int, start: int, count: int) -> Tensor:
    index = [slice(None)] * x.ndim
    index[dim] = slice(start, min(x.shape[dim], start + 2 * count - 1), 2)
    return x[tuple(index)]


def _spread(x: Tensor, dim: int, distance: int) -> Tensor:
    """Maxima of every place and its two neighbours at a distance along a dimension."""
    result, length = x.clone(), x.shape[dim] - distance
    if length > 0:
        for here, there in ((distance, 0), (0, distance)):
            part = result.narrow(dim, here, length)
            torch.maximum(part, x.narrow(dim, there, length), out=part)
    return result
