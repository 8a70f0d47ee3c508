"""Memory that is wanted again at once: keep it in the process."""

import ctypes
import sys
from typing import Any

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # glibc's malloc.h


def keep_freed_memory() -> None:
    """Tells glibc not to give freed memory back to the system (a no-op elsewhere).

    By default every array of some megabytes is mapped anew and its pages are zeroed by the kernel, which takes a sixth
    of Selective Search and a quarter of a training step on a CPU. It concerns the whole process, so that only programs
    call it, the commands of this package among them.
    """
    mallopt = _of_glibc("mallopt")
    if mallopt is None:
        return
    if not mallopt(_MMAP_THRESHOLD, 1 << 30):
        mallopt(_MMAP_THRESHOLD, 1 << 25)  # the most that older versions accept
    mallopt(_TRIM_THRESHOLD, 2**31 - 1)
    mallopt(_TOP_PAD, 1 << 28)


def release_freed_memory() -> None:
    """Tells glibc to give freed memory back to the system, once (a no-op elsewhere)."""
    trim = _of_glibc("malloc_trim")
    if trim is not None:
        trim(0)


def _of_glibc(name: str) -> Any:
    """A function of the C library; None with another one."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        return getattr(ctypes.CDLL("libc.so.6"), name)
    except (OSError, AttributeError):
        return None
