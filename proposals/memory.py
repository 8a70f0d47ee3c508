"""Settings of the C library's memory allocator (glibc; no-ops elsewhere)."""

import ctypes
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # glibc's malloc.h


def keep_freed_memory() -> None:
    """Makes the process keep freed memory for reuse.

    By default glibc maps every array of several megabytes separately and the kernel zeroes its pages, which takes a
    sixth of the time of Selective Search and a quarter of a training step on a CPU. The setting affects the whole
    process, so call it from programs, not from libraries.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # another C library
        return
    if not mallopt(_MMAP_THRESHOLD, 1 << 30):
        mallopt(_MMAP_THRESHOLD, 1 << 25)  # the maximum of older versions
    mallopt(_TRIM_THRESHOLD, 2**31 - 1)
    mallopt(_TOP_PAD, 1 << 28)
