"""Which number format the network computes in: bfloat16 where it is faster, found by a measurement.

CPUs with AVX512_BF16 or AMX run bfloat16 convolutions at about twice the speed; others fall back to loops that are
4 to 16 times slower (PyTorch issue 183815). So the two are timed once a process, on a layer like GoogLeNet's.
"""

import functools
import time

import torch
from torch import nn


@functools.cache
def fast_dtype(device: str) -> torch.dtype:
    """The faster of bfloat16 and float32 for convolutions on a device ("cpu", "cuda", "cuda:1", ...)."""
    if torch.device(device).type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    seconds = {dtype: _convolution_seconds(dtype, device) for dtype in (torch.float32, torch.bfloat16)}
    return min(seconds, key=lambda dtype: seconds[dtype])


def _convolution_seconds(dtype: torch.dtype, device: str) -> float:
    conv = nn.Conv2d(96, 208, 3, padding=1, device=device, dtype=dtype).to(memory_format=torch.channels_last)
    x = torch.ones(1, 96, 25, 34, device=device, dtype=dtype).contiguous(memory_format=torch.channels_last)
    best = float("inf")
    with torch.inference_mode():
        conv(x)
        for _ in range(3):
            start = time.perf_counter()
            conv(x)
            best = min(best, time.perf_counter() - start)
    return best
