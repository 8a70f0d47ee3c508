"""Training examples, made ahead of the steps that need them."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import cv2
import torch
from torch.utils.data import DataLoader, Dataset

from detector.errors import InputError
from detector.ops.distributed import world_size

Example = TypeVar("Example")

_MOST_WORKERS = 16


def default_workers(device: torch.device) -> int:
    """Processes that make examples: none on a CPU, whose cores the training needs itself."""
    if device.type == "cpu" or "fork" not in multiprocessing.get_all_start_methods():
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(_MOST_WORKERS, cores // world_size() - 1))


@contextmanager
def ahead(
    example: Callable[[int], Example], steps: range, workers: int, pinned: bool = False
) -> Iterator[Iterator[Example]]:
    """The examples of steps, in their order.

    Args:
        workers: processes that make them, each of them whole examples; 0: a thread makes the next one.
        pinned: examples of processes are moved to pinned memory (their method `pin_memory`), which a GPU fetches by
            itself.

    What `example` raises as `InputError` is raised in its turn; so is one if a process ends, for lack of memory say.
    """
    if workers == 0:
        # its tensors on one thread: a second team of threads would only take the cores from the first
        with ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield _by_thread(example, steps, pool)
        return
    loader = DataLoader(
        _Examples(example),
        batch_size=None,
        sampler=steps,
        num_workers=workers,
        pin_memory=pinned,
        worker_init_fn=_start_worker,
        multiprocessing_context="fork",
    )
    yield _raising(loader)


def _by_thread(example: Callable[[int], Example], steps: range, pool: ThreadPoolExecutor) -> Iterator[Example]:
    coming = pool.submit(example, steps[0]) if steps else None
    for step in steps:
        assert coming is not None
        ready = coming.result()
        coming = pool.submit(example, step + 1) if step + 1 in steps else None
        yield ready


class _Examples(Dataset[Any]):
    def __init__(self, example: Callable[[int], Any]) -> None:
        self.example = example

    def __getitem__(self, step: int) -> Any:
        try:
            return self.example(step)
        except InputError as error:  # as it is: a loader would wrap its message into a traceback
            return error


def _raising(loader: DataLoader[Any]) -> Iterator[Any]:
    try:
        for example in loader:
            if isinstance(example, InputError):
                raise example
            yield example
    except RuntimeError as error:
        reason = " ".join(str(error).split())[-300:]
        raise InputError(f"a process that prepares images ended ({reason}); give fewer --workers") from None


def _start_worker(_: int) -> None:
    cv2.setNumThreads(0)  # its threads did not come along
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the training itself tells them when to stop
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
