"""Numba loops for inference on a CPU, where PyTorch needs several passes over memory.

Features are channels last. Each loop runs on one thread and is faster than PyTorch on up to four.
"""

from typing import Any

import numpy as np
import torch
from numba import types
from numba.extending import intrinsic
from torch import Tensor

from proposals.compilation import compiled

INTEGERS = {torch.bfloat16: torch.int16, torch.float32: torch.int32}
"""Formats that the loops take. Non-negative floats compare like their bits read as integers."""


def max_pool(x: Tensor, stride: int, dilation: int, padding: int, size: tuple[int, int]) -> Tensor:
    """3x3 max pool of `x` (B, C, H, W), which must not be negative, to `size` (height, width).

    A window that extends beyond the image uses the part inside, which must include part of its first two rows and
    columns.
    """
    source = x.permute(0, 2, 3, 1).contiguous()
    pooled = source.new_empty(len(x), *size, x.shape[1])
    integers = INTEGERS[x.dtype]
    _max_pool(source.view(integers).numpy(), pooled.view(integers).numpy(), stride, dilation, padding)
    return pooled.permute(0, 3, 1, 2)


def response_norm(x: Tensor, strength: float) -> Tensor:
    """x / (1 + strength * sum of the squares of 5 neighboring channels)^0.75, for `x` (B, C, H, W), as `INTEGERS`."""
    source = x.permute(0, 2, 3, 1).contiguous()
    normalized = torch.empty_like(source)
    single = x.dtype == torch.float32
    loop, numbers = (_response_norm, torch.float32) if single else (_response_norm_bfloat16, torch.uint16)
    loop(*(tensor.view(numbers).flatten(0, 2).numpy() for tensor in (source, normalized)), np.float32(strength))
    return normalized.permute(0, 3, 1, 2)


@compiled
def _max_pool(x: np.ndarray, out: np.ndarray, stride: int, dilation: int, padding: int) -> None:
    """From `x` (B, H, W, C) to `out` (B, h, w, C): maxima of three rows, then of three columns of the result."""
    count, rows, columns, channels = out.shape
    height, width = x.shape[1:3]
    line = np.empty((width, channels), x.dtype)
    for image in range(count):
        for row in range(rows):
            y, yy, yyy = _indices(row * stride - padding, dilation, height)
            above, middle, below = x[image, y], x[image, yy], x[image, yyy]
            for column in range(width):
                for c in range(channels):
                    line[column, c] = max(above[column, c], middle[column, c], below[column, c])
            for column in range(columns):
                z, zz, zzz = _indices(column * stride - padding, dilation, width)
                left, center, right, target = line[z], line[zz], line[zzz], out[image, row, column]
                for c in range(channels):
                    target[c] = max(left[c], center[c], right[c])


@compiled
def _indices(first: int, distance: int, size: int) -> tuple[int, int, int]:
    """Three equidistant indices from `first` on; an index outside 0 to `size` is replaced by one of the other two."""
    second, third = first + distance, first + 2 * distance
    if first < 0:
        first = second
    if second >= size:
        second = first
    return first, second, third if third < size else second


def _bits_as(source: Any, target: Any) -> Any:
    """A function for compiled loops that reinterprets the bits of a number of type `source` as type `target`."""

    @intrinsic
    def cast(_: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, __: Any, arguments: Any) -> Any:
            return builder.bitcast(arguments[0], context.get_value_type(target))

        return target(source), generate

    return cast


_as_float = _bits_as(types.uint32, types.float32)
_as_bits = _bits_as(types.float32, types.uint32)


@compiled
def _response_norm(x: np.ndarray, out: np.ndarray, strength: np.float32) -> None:
    """From `x` to `out`, both (N, C) float32."""
    count, channels = x.shape
    squares = np.zeros(channels + 4, np.float32)
    for n in range(count):
        source, target = x[n], out[n]
        for c in range(channels):
            squares[c + 2] = source[c] * source[c]
        for c in range(channels):
            near = squares[c] + squares[c + 1] + squares[c + 2] + squares[c + 3] + squares[c + 4]
            total = np.float32(1) + strength * near
            target[c] = source[c] * _better_root(total, _root(total))


@compiled
def _response_norm_bfloat16(x: np.ndarray, out: np.ndarray, strength: np.float32) -> None:
    """From `x` to `out`, both (N, C) uint16, the bits of bfloat16; computes in float32."""
    count, channels = x.shape
    squares = np.zeros(channels + 4, np.float32)
    for n in range(count):
        source, target = x[n], out[n]
        for c in range(channels):
            value = _as_float(np.uint32(source[c]) << np.uint32(16))
            squares[c + 2] = value * value
        for c in range(channels):
            near = squares[c] + squares[c + 1] + squares[c + 2] + squares[c + 3] + squares[c + 4]
            root = _root(np.float32(1) + strength * near)
            bits = _as_bits(_as_float(np.uint32(source[c]) << np.uint32(16)) * root)
            half = np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))  # ties round to even
            target[c] = np.uint16((bits + half) >> np.uint32(16))


@compiled
def _root(total: np.float32) -> np.float32:
    """total^-0.75 to 0.01 %: to 5 % from the bits, which approximate a logarithm; then by two of Newton's steps."""
    bits = _as_bits(total)
    root = _as_float(np.uint32(0x6F144780) - (bits - (bits >> np.uint32(2))))
    return _better_root(total, _better_root(total, root))


@compiled
def _better_root(total: np.float32, root: np.float32) -> np.float32:
    """Newton's step towards total^-0.75, which squares the error."""
    fourth = (root * root) * (root * root)
    return root * (np.float32(1.25) - np.float32(0.25) * total * (total * total) * fourth)
