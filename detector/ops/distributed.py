"""Training in several processes that torchrun started."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import Tensor, distributed, nn

from detector.errors import InputError

_TIMEOUT = timedelta(hours=12)
"""The other processes wait while the first one evaluates."""


def _initialized() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def rank() -> int:
    """Number of this process among those that train together; 0 for a single process."""
    return distributed.get_rank() if _initialized() else 0


def world_size() -> int:
    """Number of processes that train together."""
    return distributed.get_world_size() if _initialized() else 1


def check_batch(batch: int) -> None:
    """Raises `InputError` if the processes cannot share a batch equally."""
    if batch % world_size():
        raise InputError(f"batch: {batch} images cannot be divided among {world_size()} processes; use a multiple")


def any_process(flag: bool, device: torch.device) -> bool:
    """Whether the flag is set in any process. Every process has to call it."""
    if world_size() == 1:
        return flag
    flags = torch.tensor(int(flag), device=device)
    distributed.all_reduce(flags, distributed.ReduceOp.MAX)
    return bool(flags.item())


def same_in_all(numbers: Sequence[int], device: torch.device) -> bool:
    """Whether all processes pass the same numbers, of at most 63 bits. Every process has to call it."""
    if world_size() == 1:
        return True
    extremes = torch.tensor([numbers, [-number for number in numbers]], device=device)
    distributed.all_reduce(extremes, distributed.ReduceOp.MAX)
    largest, smallest = extremes[0], -extremes[1]
    return torch.equal(largest, smallest)


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replaces each gradient by its mean over the processes: the gradient of the whole batch, of which each process has
    an equal part."""
    if world_size() == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(flat)
    flat /= world_size()
    for gradient, mean in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def sum_over_processes(value: float, device: torch.device) -> Tensor:
    """Sum of a number over the processes, as a tensor on the device, without waiting for a GPU."""
    total = torch.tensor(float(value), device=device)
    if world_size() > 1:
        distributed.all_reduce(total)
    return total


def wait_for_all() -> None:
    """Returns when every process has called it."""
    if _initialized():
        distributed.barrier()


def _store_prefix() -> str:
    """A name for this start of the processes.

    torchrun keeps one store over its restarts: under the same name, a process may read the addresses of processes that
    have died, and fail. Several machines share one name, because their numbers of restarts can differ.
    """
    one_machine = os.environ.get("LOCAL_WORLD_SIZE") == os.environ["WORLD_SIZE"]
    return f"start {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}" if one_machine else "start"


@contextmanager
def process_group(device: str = "auto") -> Iterator[None]:
    """Connects the processes that torchrun started, within the block: by NCCL on GPUs, by gloo with device "cpu".

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
            raise InputError(
                f"process {local_rank + 1} of this machine has no GPU, as there are {gpus}; "
                "start one process per GPU, or give --device cpu"
            )
        torch.cuda.set_device(local_rank)
    store, process_rank, world = next(distributed.rendezvous("env://", timeout=_TIMEOUT))
    store = distributed.PrefixStore(_store_prefix(), store)
    backend = "nccl" if on_gpus else "gloo"
    distributed.init_process_group(backend, store=store, rank=process_rank, world_size=world, timeout=_TIMEOUT)
    try:
        yield
    finally:
        distributed.destroy_process_group()
