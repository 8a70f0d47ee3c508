"""Where a network runs."""

import re

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
