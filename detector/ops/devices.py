"""Where a network runs."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from detector.errors import InputError


def resolve_device(device: str | torch.device) -> torch.device:
    """The torch device that a name stands for; "auto" is a GPU if there is one, else the CPU.

    Raises `InputError` for any other than a CPU or a CUDA GPU that is there.
    """
    device = str(device)
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise InputError(f"device '{device}' is not known; use auto, cpu or cuda")
    resolved = torch.device(device)
    if resolved.type == "cuda" and (resolved.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise InputError(f"device '{device}': PyTorch finds {count or 'no'} CUDA GPU{'s' * (count > 1)}; use cpu")
    return resolved


def uses_gpu(device: str) -> bool:
    """Whether a name that `resolve_device` takes stands for a GPU that is there."""
    return device != "cpu" and torch.cuda.is_available()


def default_batch(device: str) -> int:
    """How many images a network sees at once unless a user says: a CPU gains nothing from several, a GPU has cores for
    more than one."""
    return 8 if uses_gpu(device) else 1


def upload(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor on a device. A GPU is not waited for: the copy is made from page-locked memory, in its own time."""
    if device.type == "cuda" and tensor.device.type == "cpu" and tensor.numel():
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


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
