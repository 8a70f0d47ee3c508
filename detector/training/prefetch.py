"""Prefetching: training examples are made before the steps that need them."""

import dataclasses
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Self, TypeVar

import cv2
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from detector.errors import InputError
from detector.ops.distributed import world_size

Example = TypeVar("Example")

_MAX_WORKERS = 16


def default_workers(device: torch.device) -> int:
    """Number of processes that make examples: none on a CPU, where the training itself needs the cores."""
    if device.type == "cpu" or "fork" not in multiprocessing.get_all_start_methods():
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(_MAX_WORKERS, cores // world_size() - 1))


class Batch:
    """Base of the dataclasses that hold a batch. Tensors in tuples stay on the CPU."""

    def to(self, device: torch.device) -> Self:
        """A copy on a device, made without waiting for the GPU."""
        return map_tensors(self, lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Self:
        """A copy in pinned memory."""
        return map_tensors(self, Tensor.pin_memory)


def map_tensors(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """Applies a function to a tensor, or to the tensors in a dataclass, except for those in tuples."""
    if isinstance(value, Tensor):
        return function(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        return dataclasses.replace(value, **{n: map_tensors(getattr(value, n), function) for n in names})
    return value


@contextmanager
def prefetch(
    make_example: Callable[[int], Example], steps: range, workers: int, pinned: bool = False
) -> Iterator[Iterator[Example]]:
    """Yields an iterator over the examples of `steps`, in order.

    Args:
        workers: processes, each of which makes whole examples; 0: a thread makes the next one.
        pinned: move examples from processes to pinned memory, from which a GPU copies without waiting.

    Raises:
        InputError: `make_example` raised it for the example whose turn it is, or a process ended, for example because
            memory ran out.
    """
    if workers == 0:
        # Tensors are made on one thread: a second team of threads would only compete with the first for the cores.
        with ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield _from_thread(make_example, steps, pool)
        return
    loader = DataLoader(
        _Examples(make_example),
        batch_size=None,
        sampler=steps,
        num_workers=workers,
        pin_memory=pinned,
        worker_init_fn=_start_worker,
        multiprocessing_context="fork",
    )
    yield _from_processes(loader)


def _from_thread(make_example: Callable[[int], Example], steps: range, pool: ThreadPoolExecutor) -> Iterator[Example]:
    """One example ahead: the thread makes the next one while the caller works on this one."""
    pending = [pool.submit(make_example, step) for step in steps[:1]]
    for next_step in steps[1:]:
        example = pending.pop().result()
        pending.append(pool.submit(make_example, next_step))
        yield example
    for future in pending:
        yield future.result()


class _Examples(Dataset[Any]):
    def __init__(self, make_example: Callable[[int], Any]) -> None:
        self.make_example = make_example

    def __getitem__(self, step: int) -> Any:
        try:
            return self.make_example(step)
        except InputError as error:  # returned, because a loader would wrap its message in a traceback
            return error


def _from_processes(loader: DataLoader[Any]) -> Iterator[Any]:
    try:
        for example in loader:
            if isinstance(example, InputError):
                raise example
            yield example
    except RuntimeError as error:
        reason = " ".join(str(error).split())[-300:]
        raise InputError(f"a process that prepares images ended ({reason}); give fewer --workers") from None


def _start_worker(_: int) -> None:
    cv2.setNumThreads(0)  # OpenCV's threads do not survive a fork
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the training process tells its workers when to stop
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
