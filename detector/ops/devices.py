"""Devices that a network runs on."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from detector.errors import InputError
from proposals.names import unknown_name


def resolve_device(device: str | torch.device) -> torch.device:
    """The torch device for a name; "auto" is a CUDA GPU if there is one, otherwise the CPU.

    Raises:
        InputError: the name is not "auto", "cpu", an available CUDA GPU, or "mps" where PyTorch has that.
    """
    device = str(device)
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if re.fullmatch(r"mps(:0)?", device):
        if not torch.backends.mps.is_available():
            raise InputError(f"device {device!r}: PyTorch finds no GPU of Apple here; use cpu")
        return torch.device("mps")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        if re.fullmatch(r"[^c]pu", device.casefold()):  # gpu, tpu, xpu: other hardware, not misspellings of cpu
            raise InputError(f"device {device!r} is unknown; use cuda for an NVIDIA GPU, otherwise cpu")
        raise InputError(unknown_name("device", device, ("auto", "cpu", "cuda", "mps")))
    resolved = torch.device(device)
    if resolved.type == "cuda" and (resolved.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise InputError(f"device '{device}': PyTorch finds {count or 'no'} CUDA GPU{'s' * (count > 1)}; use cpu")
    return resolved


def uses_gpu(device: str) -> bool:
    """Whether `resolve_device` would give a CUDA GPU for this name."""
    return not device.startswith(("cpu", "mps")) and torch.cuda.is_available()


def default_batch(device: str) -> int:
    """Images per batch unless the user says otherwise: batches speed up a GPU but not a CPU."""
    return 8 if uses_gpu(device) else 1


def upload(tensor: Tensor, device: torch.device) -> Tensor:
    """Copies a tensor to a device; to a GPU from page-locked memory, without waiting for the copy."""
    if device.type == "cuda" and tensor.device.type == "cpu" and tensor.numel():
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def share_cores() -> int:
    """Limits PyTorch and OpenCV to one thread per image and returns how many images then use all cores.

    Two images on one core each finish sooner than one after the other on two cores. The setting applies to the whole
    process and to detectors loaded later, so only programs call this, from their main thread; any other thread gets 1
    and changes nothing.
    """
    import cv2

    if threading.current_thread() is not threading.main_thread():
        return 1
    workers = torch.get_num_threads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    return workers


@contextmanager
def without_denormals() -> Iterator[None]:
    """Flushes numbers below 1e-38 to zero within the block: CPUs are up to a hundred times slower on them.

    Holds for the calling thread and for threads that PyTorch starts within the block.
    """
    if torch.tensor(1e-39).mul(1.0).item() == 0:  # an outer block restores the mode
        yield
        return
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
