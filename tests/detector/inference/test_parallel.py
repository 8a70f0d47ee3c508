"""Several images at once, in order and with bounded memory."""

import subprocess
import sys
import threading
import time

import pytest

from detector.inference.parallel import in_order


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_come_in_the_order_of_the_items(workers: int) -> None:
    def work(number: int) -> int:
        time.sleep(0.002 * (number % 3))  # later items are done earlier
        return number * number

    assert list(in_order(work, range(30), workers)) == [number * number for number in range(30)]


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


def test_what_work_raises_comes_in_its_turn() -> None:
    def work(number: int) -> int:
        if number == 3:
            raise ValueError("three")
        return number

    results = in_order(work, range(10), 2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)


@pytest.mark.parametrize("workers", [1, 3])
def test_an_end_before_the_last_item_leaves_the_rest(workers: int) -> None:
    begun = []

    def work(number: int) -> int:
        begun.append(number)
        return number

    results = in_order(work, range(1000), workers)
    assert next(results) == 0
    results.close()
    assert len(begun) < 20
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("detector_")]


@pytest.mark.slow
def test_cores_are_shared_between_images() -> None:
    program = """
import cv2, threading, torch
from detector.inference.parallel import share_cores
torch.set_num_threads(3)
found = []
thread = threading.Thread(target=lambda: found.append(share_cores()))
thread.start(); thread.join()
print(found[0], torch.get_num_threads(), share_cores(), torch.get_num_threads(), cv2.getNumThreads())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "3", "3", "1", "1"]
