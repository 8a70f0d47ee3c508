"""Numba compilation of the numeric loops, cached on disk between runs."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import njit

_kernels: list[Any] = []


def compiled(function: Callable[..., Any]) -> Any:
    """Compiles `function` at its first call, releases the GIL while it runs, and caches the code on disk.

    If neither the package's folder nor the user's cache folder is writable, every process compiles the code again.
    """
    try:
        return njit(cache=True, nogil=True)(function)
    except RuntimeError:  # Numba found no writable cache folder
        return njit(nogil=True)(function)


def kernel(function: Callable[..., Any]) -> Any:
    """Like `compiled`, for the loops of Selective Search, which `is_compiled` checks."""
    dispatcher = compiled(function)
    _kernels.append(dispatcher)
    return dispatcher


def is_compiled() -> bool:
    """Returns whether every kernel imported so far has been compiled, by this process or an earlier one."""
    return all(dispatcher.signatures or _on_disk(dispatcher) for dispatcher in _kernels)


def _on_disk(dispatcher: Any) -> bool:
    function, folder = dispatcher.py_func, dispatcher.stats.cache_path
    if folder is None:
        return False
    # Numba names an index file after module, function and line, and compares it with the source only when it loads it.
    # A changed source usually has its functions on other lines.
    name = f"{Path(inspect.getfile(function)).stem}.{function.__qualname__}-{function.__code__.co_firstlineno}"
    return any(Path(folder).glob(f"{name}.*.nbi"))
