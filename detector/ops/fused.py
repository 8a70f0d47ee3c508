"""The layers of a network in inference on a CPU, with fewer passes over memory; elsewhere PyTorch's own layers.

The results equal those of PyTorch's layers to rounding: in float32 within 2e-5 of the largest number of an output.
"""

import functools
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detector.ops import kernels

# oneDNN's convolution fused with what follows it, and the order of weights that it computes with. torch.compile emits
# these operators, but they are private to PyTorch: they are used only where they take exactly these arguments.
_OPERATORS = {
    "_convolution_pointwise": "X W B padding stride dilation groups attr scalars algorithm",
    "_reorder_convolution_weight": "self padding stride dilation groups input_size",
}
# Input sizes for which a layer keeps its reordered weights.
_PACKED_SIZES = 4
# With more threads PyTorch is faster than the compiled loops, which run on one.
_THREADS = 4


def conv_relu(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """A convolution with bias, then ReLU: one pass over memory in inference on a CPU, two otherwise."""
    if _packs(conv, x):
        return _convolve(conv, x, "relu")
    return F.relu(nn.Conv2d.forward(conv, x), inplace=True)


def freeze(network: nn.Module) -> None:
    """Lets convolutions keep their weights in the order that the CPU computes with, for a few sizes of images.

    Afterwards the weights must not change, nor the network be copied.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.packed = {}  # type: ignore[assignment]
            if type(module) is nn.Conv2d:
                module.forward = partial(_convolution, module)  # type: ignore[method-assign]


def _convolution(conv: nn.Conv2d, x: Tensor) -> Tensor:
    return _convolve(conv, x, "none") if _packs(conv, x) else nn.Conv2d.forward(conv, x)


def _packs(conv: nn.Conv2d, x: Tensor) -> bool:
    usable = _inference(x) and x.dtype in (torch.float32, torch.bfloat16) and x.dtype == conv.weight.dtype
    return usable and isinstance(conv.padding, tuple) and has_onednn()


@functools.cache
def has_onednn() -> bool:
    """Whether this build of PyTorch has oneDNN's private operators with the arguments that are passed here."""
    if not torch.backends.mkldnn.is_available():
        return False
    try:
        schemas = {name: getattr(torch.ops.mkldnn, name).default._schema for name in _OPERATORS}
    except AttributeError:
        return False
    return {name: " ".join(a.name for a in schema.arguments) for name, schema in schemas.items()} == _OPERATORS


def _convolve(conv: nn.Conv2d, x: Tensor, activation: str) -> Tensor:
    if _has_fast_transform(conv, x):
        assert isinstance(conv.padding, tuple)
        y = torch._nnpack_spatial_convolution(x, conv.weight, conv.bias, conv.padding)  # in the order B, C, H, W
        return (y.relu_() if activation == "relu" else y).contiguous(memory_format=torch.channels_last)
    geometry = (conv.padding, conv.stride, conv.dilation, conv.groups)
    weight = _packed_weight(conv, x.shape, geometry)
    return torch.ops.mkldnn._convolution_pointwise(x, weight, conv.bias, *geometry, activation, [], "")


def _has_fast_transform(conv: nn.Conv2d, x: Tensor) -> bool:
    """Whether NNPACK does this convolution with fewer multiplications (Winograd's for 3x3, Fourier's for 5x5).

    It halves the time of one image in float32 on one thread; in batches it is slower, on several threads unmeasured.
    """
    plain = (conv.stride, conv.dilation, conv.groups) == ((1, 1), (1, 1), 1) and conv.kernel_size in ((3, 3), (5, 5))
    one = len(x) == 1 and x.dtype == torch.float32 and torch.get_num_threads() == 1
    return plain and one and _has_nnpack()


@functools.cache
def _has_nnpack() -> bool:
    """Whether this build of PyTorch and the CPU have NNPACK; the call also prepares it."""
    return hasattr(torch, "_nnpack_spatial_convolution") and torch._nnpack_available()


def _packed_weight(conv: nn.Conv2d, shape: torch.Size, geometry: tuple[Any, ...]) -> Tensor:
    packed: dict[torch.Size, Tensor] | None = getattr(conv, "packed", None)
    if packed is None:
        return conv.weight
    if shape not in packed:
        if len(packed) >= _PACKED_SIZES:
            packed.clear()
        packed[shape] = torch.ops.mkldnn._reorder_convolution_weight(conv.weight, *geometry, shape)
    return packed[shape]


def max_pool(x: Tensor) -> Tensor:
    """Caffe's 3x3 max pool of stride 2: ceil mode, no padding. `x` (B, C, H, W) must not be negative."""
    if torch.compiler.is_exporting():  # without ceil mode, which symbolic sizes do not support
        return F.max_pool2d(F.pad(x, (0, 1, 0, 1)), 3, stride=2)
    if not _uses_kernels(x) or min(x.shape[2:]) < 2:
        return F.max_pool2d(x, 3, stride=2, ceil_mode=True)
    return kernels.max_pool(x, 2, 1, 0, (x.shape[2] // 2, x.shape[3] // 2))


def max_pool_around(x: Tensor, dilation: int = 1) -> Tensor:
    """3x3 max pool of stride 1 that keeps the size of `x` (B, C, H, W), which must not be negative."""
    if torch.compiler.is_exporting():  # without dilation, which makes pools slow in other engines
        x, d = F.pad(x, (dilation,) * 4), dilation
        x = torch.maximum(torch.maximum(x[:, :, : -2 * d], x[:, :, d:-d]), x[:, :, 2 * d :])
        return torch.maximum(torch.maximum(x[..., : -2 * d], x[..., d:-d]), x[..., 2 * d :])
    if not _uses_kernels(x):
        # Zeros do not change a maximum.
        return F.max_pool2d(F.pad(x, (dilation,) * 4), 3, stride=1, dilation=dilation)
    return kernels.max_pool(x, 1, dilation, dilation, (x.shape[2], x.shape[3]))


def response_norm(x: Tensor, band: Tensor, bias: Tensor) -> Tensor:
    """Local response normalization over 5 channels, beta 0.75, k 1.

    On a CPU a compiled loop takes a tenth of the time of PyTorch's operators, and in bfloat16 is closer to the formula.
    Elsewhere the sum over neighboring channels is a 1x1 convolution with a banded matrix: many more multiplications
    than five shifted sums, but a single pass over memory in half the time.

    Args:
        x: (B, C, H, W).
        band: (C, C, 1, 1), alpha / 5 for neighboring channels, otherwise 0.
        bias: (C,), k for each channel.
    """
    if _uses_kernels(x):
        return kernels.response_norm(x, float(band[0, 0, 0, 0]))
    energy = F.conv2d(x * x, band, bias)
    # s^-0.75 = s^-1/2 * s^-1/4; two square roots are cheaper than a power
    root = energy.rsqrt()
    return x * (root * root.sqrt())


def _inference(x: Tensor) -> bool:
    return torch.is_inference_mode_enabled() and x.device.type == "cpu"


def _uses_kernels(x: Tensor) -> bool:
    """Whether to use the compiled loops: PyTorch's pool also computes the positions of the maxima, and its arithmetic
    takes several passes over memory, but it has threads."""
    return _inference(x) and x.dtype in kernels.INTEGERS and torch.get_num_threads() <= _THREADS
