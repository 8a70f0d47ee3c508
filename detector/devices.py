"""Where a network runs."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from detector.errors import InputError


def resolve_device(device: str) -> torch.device:
    """The torch device that a name stands for; "auto" is a GPU if there is one, else the CPU."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise InputError(f"device '{device}' is not known; use auto, cpu or cuda")
    resolved = torch.device(device)
    if resolved.type == "cuda" and (resolved.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise InputError(f"device '{device}': PyTorch finds {count or 'no'} CUDA GPU{'s' * (count > 1)}; use cpu")
    return resolved


@contextmanager
def without_denormals() -> Iterator[None]:
    """Within the block numbers below 1e-38 count as zero: CPUs compute with them up to a hundred times slower.

    It holds for the thread that enters the block, and for those that PyTorch makes in it.
    """
    already = torch.tensor(1e-39).mul(1.0).item() == 0
    if already:
        yield
        return
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
