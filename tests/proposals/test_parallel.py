"""Several images at once, in order and with bounded memory."""

import threading
import time

import pytest

from proposals.parallel import in_order


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_and_errors_come_in_the_order_of_the_items(workers: int) -> None:
    def work(number: int) -> int:
        time.sleep(0.002 * (number % 3))  # later items are done earlier
        if number == 30:
            raise ValueError("thirty")
        return number * number

    results = in_order(work, range(50), workers)
    assert [next(results) for _ in range(30)] == [number * number for number in range(30)]
    with pytest.raises(ValueError, match="thirty"):
        next(results)


def test_items_are_worked_on_at_once() -> None:
    together = threading.Barrier(3, timeout=10)  # raises unless three are there at the same time
    assert list(in_order(lambda item: together.wait() >= 0, range(6), 3)) == [True] * 6


@pytest.mark.parametrize(("workers", "ahead"), [(1, None), (2, None), (2, 5), (4, 1)])
def test_few_results_wait(workers: int, ahead: int | None) -> None:
    taken = 0

    def items():
        nonlocal taken
        for item in range(100):
            taken += 1
            yield item

    most = 0
    for given, _ in enumerate(in_order(lambda item: item, items(), workers, ahead), start=1):
        most = max(most, taken - given)
    assert most <= workers + (workers if ahead is None else ahead) + 1


@pytest.mark.parametrize("workers", [1, 3])
def test_an_end_before_the_last_item_leaves_the_rest(workers: int) -> None:
    begun: list[int] = []
    threads = threading.active_count()
    results = in_order(begun.append, range(1000), workers)
    next(results)
    results.close()
    assert len(begun) < 20
    assert threading.active_count() == threads
