"""What one training step made is wanted again in the next: keep it in the process."""

import ctypes
import os
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # glibc's malloc.h


def keep_freed_memory() -> None:
    """Tells glibc not to give freed memory back to the system (a no-op elsewhere).

    By default every feature map of some megabytes is mapped anew and its pages are zeroed by the kernel, which takes
    a quarter of a training step on a CPU.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # another C library
        return
    if not mallopt(_MMAP_THRESHOLD, 1 << 30):
        mallopt(_MMAP_THRESHOLD, 1 << 25)  # the most that older versions accept
    mallopt(_TRIM_THRESHOLD, 2**31 - 1)
    mallopt(_TOP_PAD, 1 << 28)


def keep_prepared_convolutions() -> None:
    """Lets oneDNN remember the convolutions of every image size that training meets (its default suffices for five).

    Has to come before the process runs its first convolution.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "20000")
