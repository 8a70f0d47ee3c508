"""Settings of the C library's memory allocator (glibc; no-ops elsewhere)."""

import ctypes
import sys
from typing import Any

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # glibc's malloc.h


def keep_freed_memory() -> None:
    """Makes the process keep freed memory for reuse.

    By default glibc maps every array of several megabytes separately and the kernel zeroes its pages, which takes a
    sixth of the time of Selective Search and a quarter of a training step on a CPU. The setting affects the whole
    process, so call it from programs, not from libraries.
    """
    mallopt = _glibc_function("mallopt")
    if mallopt is None:
        return
    if not mallopt(_MMAP_THRESHOLD, 1 << 30):
        mallopt(_MMAP_THRESHOLD, 1 << 25)  # the maximum of older versions
    mallopt(_TRIM_THRESHOLD, 2**31 - 1)
    mallopt(_TOP_PAD, 1 << 28)


def release_freed_memory() -> None:
    """Returns freed memory to the system once."""
    trim = _glibc_function("malloc_trim")
    if trim is not None:
        trim(0)


def _glibc_function(name: str) -> Any:
    """Returns a function of glibc, or None if the process uses another C library."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        return getattr(ctypes.CDLL("libc.so.6"), name)
    except (OSError, AttributeError):
        return None
