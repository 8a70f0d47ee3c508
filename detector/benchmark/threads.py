"""How many threads are used."""

from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import torch


@contextmanager
def thread_limit(threads: int) -> Iterator[None]:
    """Within the block, PyTorch and OpenCV use that many threads."""
    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])
