"""Many images at once: each on a core of its own, results in order."""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def in_order(
    work: Callable[[_Item], _Result], items: Iterable[_Item], workers: int, ahead: int | None = None
) -> Generator[_Result, None, None]:
    """`work` of every item, in the order of the items, done by several threads.

    Args:
        work: may run on several items at once; what it raises is raised when its turn comes.
        items: taken one by one, as they are needed.
        workers: number of threads; 1: no thread, an item is worked on when its result is asked for.
        ahead: how many results may wait for their turn, which bounds the memory; by default one a worker.

    When the iteration ends early, items that nobody has begun with are left.
    """
    if workers == 1:
        for item in items:
            yield work(item)
        return
    ahead = workers if ahead is None else ahead
    waiting: deque[Future[_Result]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="detector")
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            # one result for each new item, so that there is always work ahead of a slow taker
            if len(waiting) > workers + ahead or waiting[0].done():
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def share_cores() -> int:
    """Sets PyTorch and OpenCV to one thread for each image, and tells how many images make use of all cores.

    Two images on a core each are done sooner than one after the other on two cores. It concerns the whole process, and
    detectors that are loaded afterwards; only programs call it, from their main thread.
    """
    import cv2
    import torch

    if threading.current_thread() is not threading.main_thread():
        return 1
    workers = torch.get_num_threads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    return workers
