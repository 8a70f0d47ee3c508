"""Compilation of the numeric loops with Numba, kept on disk between runs."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import njit

_kernels: list[Any] = []


def kernel(function: Callable[..., Any]) -> Any:
    """Compile `function` at its first call, without the interpreter's lock, and keep the code on disk.

    Where neither the package's folder nor the user's cache folder can be written, the code is compiled
    anew in every process.
    """
    try:
        compiled = njit(cache=True, nogil=True)(function)
    except RuntimeError:  # Numba found no folder for its cache
        compiled = njit(nogil=True)(function)
    _kernels.append(compiled)
    return compiled


def is_compiled() -> bool:
    """Whether every kernel imported so far has been compiled, in this process or by an earlier one."""
    return all(dispatcher.signatures or _on_disk(dispatcher) for dispatcher in _kernels)


def _on_disk(dispatcher: Any) -> bool:
    source = Path(inspect.getfile(dispatcher.py_func))
    folder = dispatcher.stats.cache_path
    if folder is None:
        return False
    # Numba names an index file after module, function and line, and rewrites it when the source changes.
    indexes = Path(folder).glob(f"{source.stem}.{dispatcher.py_func.__qualname__}-*.nbi")
    return any(index.stat().st_mtime >= source.stat().st_mtime for index in indexes)
