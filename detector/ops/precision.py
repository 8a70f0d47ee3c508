"""The number format that a network computes in: bfloat16 where a measurement finds it faster.

CPUs with AVX512_BF16 or AMX run bfloat16 convolutions about twice as fast; others fall back to loops that are 4 to 16
times slower (pytorch/pytorch#183815). So both formats are timed once per process, on a layer like GoogLeNet's.
"""

import functools
import time

import torch
from torch import nn

from detector.errors import InputError
from detector.ops.devices import without_denormals
from proposals.names import unknown_name

_FORMATS = {"bfloat16": torch.bfloat16, "float32": torch.float32}

# Far from both cases (half the time of float32, or at least four times), so that every run on a machine, even a busy
# one, makes the same choice.
_SLOW = 1.5


def number_format(name: str | None, device: str) -> torch.dtype:
    """The format of this name; None selects the faster one on the device.

    Raises:
        InputError: the name is unknown.
    """
    if name is None:
        return fast_dtype(device)
    if name not in _FORMATS:
        raise InputError(unknown_name("precision", name, _FORMATS))
    return _FORMATS[name]


@functools.cache
def fast_dtype(device: str) -> torch.dtype:
    """The faster of bfloat16 and float32 for convolutions on a device ("cpu", "cuda", "cuda:1", ...)."""
    if (
        torch.device(device).type == "mps"
    ):  # calls return before the work is done, so that they cannot be timed like this
        return torch.float32
    if torch.device(device).type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    runs = {}
    for dtype in (torch.float32, torch.bfloat16):
        with torch.random.fork_rng(devices=[]):  # initializing weights must not advance the caller's random numbers
            conv = nn.Conv2d(96, 208, 3, padding=1, device=device, dtype=dtype).to(memory_format=torch.channels_last)
        x = torch.ones(1, 96, 25, 34, device=device, dtype=dtype).contiguous(memory_format=torch.channels_last)
        runs[dtype] = (conv, x)
    best = dict.fromkeys(runs, float("inf"))
    with torch.inference_mode(), without_denormals():  # PyTorch mostly starts its threads here; they keep the mode
        for _ in range(6):
            for dtype, (conv, x) in runs.items():  # in turns, so that load affects both
                start = time.perf_counter()
                conv(x)
                best[dtype] = min(best[dtype], time.perf_counter() - start)
    return torch.bfloat16 if best[torch.bfloat16] < _SLOW * best[torch.float32] else torch.float32
