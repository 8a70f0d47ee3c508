"""Compilation of the numeric loops with Numba, kept on disk between runs."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import njit

_kernels: list[Any] = []


def compiled(function: Callable[..., Any]) -> Any:
    """Compile `function` at its first call, without the interpreter's lock, and keep the code on disk.

    Where neither the package's folder nor the user's cache folder can be written, the code is compiled
    anew in every process.
    """
    try:
        return njit(cache=True, nogil=True)(function)
    except RuntimeError:  # Numba found no folder for its cache
        return njit(nogil=True)(function)


def kernel(function: Callable[..., Any]) -> Any:
    """`compiled`, for a loop of Selective Search, of which `is_compiled` knows."""
    dispatcher = compiled(function)
    _kernels.append(dispatcher)
    return dispatcher


def is_compiled() -> bool:
    """Whether every kernel imported so far has been compiled, in this process or by an earlier one."""
    return all(dispatcher.signatures or _on_disk(dispatcher) for dispatcher in _kernels)


def _on_disk(dispatcher: Any) -> bool:
    function, folder = dispatcher.py_func, dispatcher.stats.cache_path
    if folder is None:
        return False
    # Numba names an index file after module, function and line. Whether its content is that of the source, numba finds
    # out when it loads it; a changed source mostly has its functions on other lines.
    name = f"{Path(inspect.getfile(function)).stem}.{function.__qualname__}-{function.__code__.co_firstlineno}"
    return any(Path(folder).glob(f"{name}.*.nbi"))
