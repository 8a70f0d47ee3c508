"""Training in several processes started by torchrun."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import Tensor, distributed, nn

from detector.errors import InputError


def _initialized() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def rank() -> int:
    """The rank of this process; 0 without torchrun."""
    return distributed.get_rank() if _initialized() else 0


def world_size() -> int:
    """The number of processes that train together."""
    return distributed.get_world_size() if _initialized() else 1


def any_process(flag: bool, device: torch.device) -> bool:
    """Whether the flag is set in any process. A collective: every process must call it."""
    if world_size() == 1:
        return flag
    flags = torch.tensor(int(flag), device=device)
    distributed.all_reduce(flags, distributed.ReduceOp.MAX)
    return bool(flags.item())


def same_in_all(numbers: Sequence[int], device: torch.device) -> bool:
    """Whether all processes pass the same numbers, of at most 63 bits. A collective: every process must call it."""
    if world_size() == 1:
        return True
    signed = torch.tensor([numbers, [-number for number in numbers]], device=device)
    distributed.all_reduce(signed, distributed.ReduceOp.MAX)
    largest, smallest = signed[0], -signed[1]
    return torch.equal(largest, smallest)


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replaces each gradient by its mean over the processes, whose shares of the batch are of equal size."""
    if world_size() == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(flat)
    flat /= world_size()
    for gradient, mean in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def sum_over_processes(value: float, device: torch.device) -> Tensor:
    """The sum of each process's value, left on the device so that a GPU is not synchronized with."""
    total = torch.tensor(float(value), device=device)
    if world_size() > 1:
        distributed.all_reduce(total)
    return total


def wait_for_all() -> None:
    """Returns once every process has called it."""
    if _initialized():
        distributed.barrier()


@contextmanager
def process_group(device: str = "auto") -> Iterator[None]:
    """Connects the processes that torchrun started: NCCL on GPUs, gloo with device "cpu". A no-op without torchrun.

    Raises:
        InputError: this machine has fewer GPUs than processes.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    on_gpus = device != "cpu" and torch.cuda.is_available()
    if on_gpus:
        local_rank, gpus = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
        if local_rank >= gpus:
            raise InputError(f"{local_rank + 1} processes need as many GPUs, this machine has {gpus}; or use cpu")
        torch.cuda.set_device(local_rank)
    timeout = timedelta(hours=12)  # the other processes wait while the first evaluates
    store, own_rank, world = next(distributed.rendezvous("env://", timeout=timeout))
    # torchrun keeps one store over its restarts. Under an unchanged prefix a process could read addresses of processes
    # that have died, and fail. Machines may count restarts differently, so several machines share one prefix.
    one_machine = os.environ.get("LOCAL_WORLD_SIZE") == os.environ["WORLD_SIZE"]
    restarts = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    store = distributed.PrefixStore(f"start {restarts}" if one_machine else "start", store)
    backend = "nccl" if on_gpus else "gloo"
    distributed.init_process_group(backend, store=store, rank=own_rank, world_size=world, timeout=timeout)
    try:
        yield
    finally:
        distributed.destroy_process_group()
