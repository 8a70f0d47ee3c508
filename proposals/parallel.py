"""Several images at once, each on one core, with results in order."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def in_order(
    work: Callable[[_Item], _Result], items: Iterable[_Item], workers: int, ahead: int | None = None
) -> Generator[_Result, None, None]:
    """Maps `work` over items on several threads and yields the results in the order of the items.

    Closing the generator early cancels the items that have not started.

    Args:
        work: may run on several items at once; its exceptions are raised when the item's turn comes.
        items: consumed only as far as needed.
        workers: number of threads; 1: no thread, each item is processed when its result is requested.
        ahead: how many results may wait for their turn, which bounds the memory; by default `workers`.
    """
    if workers == 1:
        yield from map(work, items)
        return
    ahead = workers if ahead is None else ahead
    pending: deque[Future[_Result]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="in_order")
    try:
        for item in items:
            pending.append(pool.submit(work, item))
            # one result per new item, so that a slow consumer always finds work done ahead
            if len(pending) > workers + ahead or pending[0].done():
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
