"""Several processes that train together, started by torchrun."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import Tensor, distributed, nn

from detector.errors import InputError


def rank() -> int:
    """This process' number among those that train together; 0 if it is alone."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def world_size() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def any_process(flag: bool, device: torch.device) -> bool:
    """Whether the flag is set in any of the processes; all of them have to ask."""
    if world_size() == 1:
        return flag
    flags = torch.tensor(int(flag), device=device)
    distributed.all_reduce(flags, distributed.ReduceOp.MAX)
    return bool(flags.item())


def same_in_all(numbers: Sequence[int], device: torch.device) -> bool:
    """Whether all processes have the same numbers, of at most 63 bits; all of them have to ask."""
    if world_size() == 1:
        return True
    both = torch.tensor([numbers, [-number for number in numbers]], device=device)
    distributed.all_reduce(both, distributed.ReduceOp.MAX)
    largest, smallest = both[0], -both[1]
    return torch.equal(largest, smallest)


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Gives each gradient its mean over the processes: that of the whole batch, where each has an equal part of it."""
    if world_size() == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(flat)
    flat /= world_size()
    for gradient, mean in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def sum_over_processes(value: float, device: torch.device) -> Tensor:
    """The sum of a number that each process has, on the device, which is not waited for."""
    total = torch.tensor(float(value), device=device)
    if world_size() > 1:
        distributed.all_reduce(total)
    return total


def wait_for_all() -> None:
    """Returns when all processes have called it."""
    if distributed.is_initialized():
        distributed.barrier()


def _life() -> str:
    """A name for this start of the processes. torchrun keeps one store over its restarts: under the same name a process
    may find where those that have died could be reached, and fail. On several machines, whose numbers of restarts can
    differ, all starts have one name.
    """
    one_machine = os.environ.get("LOCAL_WORLD_SIZE") == os.environ["WORLD_SIZE"]
    return f"start {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}" if one_machine else "start"


@contextmanager
def process_group(device: str = "auto") -> Iterator[None]:
    """Within the block, processes that torchrun started know each other (NCCL on GPUs, gloo with device "cpu").

    Raises:
        InputError: there are fewer GPUs than processes on this machine.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    on_gpus = device != "cpu" and torch.cuda.is_available()
    if on_gpus:
        own, there = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
        if own >= there:
            raise InputError(f"{own + 1} processes are more than the {there} GPUs here; start one a GPU, or give cpu")
        torch.cuda.set_device(own)
    # the others wait while the first process evaluates
    timeout = timedelta(hours=12)
    store, own_rank, world = next(distributed.rendezvous("env://", timeout=timeout))
    store = distributed.PrefixStore(_life(), store)
    backend = "nccl" if on_gpus else "gloo"
    distributed.init_process_group(backend, store=store, rank=own_rank, world_size=world, timeout=timeout)
    try:
        yield
    finally:
        distributed.destroy_process_group()
