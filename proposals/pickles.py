"""Pickled dictionaries of NumPy arrays, as Detectron keeps proposals; reading runs nothing from the file.

Unpickling calls whatever a file names. Here only names by which NumPy rebuilds arrays are admitted, and each leads to a
function below in the place of NumPy's own: NumPy's trust the file with the flags of data types and with strides.
"""

import io
import math
import pickle
import pickletools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

# Opcodes that call extensions or persistent ids, or take data from outside; no array needs them.
_REFUSED = ("PERSID", "BINPERSID", "EXT1", "EXT2", "EXT4", "INST", "OBJ", "NEWOBJ_EX", "NEXT_BUFFER", "READONLY_BUFFER")
_DTYPE = re.compile(r"[<>|=]?[biuf][1248]")


def write_pickle(path: Path, content: dict[str, Any]) -> None:
    """Writes a dictionary in protocol 2, which Detectron's Python 2 reads, too."""
    with open(path, "wb") as file:
        pickler = pickle.Pickler(file, protocol=2)
        pickler.fast = True  # without the memo, which would keep a copy of every array
        pickler.dump(content)


def read_pickle(content: bytes) -> Any:
    """Returns plain Python values and NumPy arrays of numbers from a pickle.

    Raises:
        ValueError: the pickle is damaged, holds anything else, or unpacks to much more than its size.
    """
    try:
        _check_opcodes(content)
        return _ArrayUnpickler(content).load()
    except Exception as error:  # a damaged pickle raises many types
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"not a readable pickle of arrays ({reason})") from None


def _check_opcodes(content: bytes) -> None:
    memoized = 0
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name in _REFUSED:
            raise ValueError(f"it has the opcode {opcode.name}, which no array needs")
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT"):
            memoized += 1
            if int(argument or 0) > 2 * memoized + 1000:  # the unpickler reserves memory up to this index
                raise ValueError(f"its memo jumps to {argument}")


class _ArrayUnpickler(pickle.Unpickler):
    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content), encoding="latin1")  # for the bytes of Python 2's arrays
        self._left = len(content)

    def find_class(self, module: str, name: str) -> Any:
        package = module.replace("numpy.core", "numpy._core")
        # Bound methods and classes with a __setstate__: a pickle cannot set an attribute of these.
        admitted: dict[tuple[str, str], Callable[..., Any]] = {
            ("numpy", "ndarray"): _Array,
            ("numpy", "dtype"): _DType,
            ("numpy._core.multiarray", "_reconstruct"): self._reconstruct,
            ("numpy._core.multiarray", "scalar"): self._scalar,
            ("numpy._core.numeric", "_frombuffer"): self._from_buffer,
            ("_codecs", "encode"): self._encode,
            ("__builtin__", "bytes"): self._no_bytes,
            ("builtins", "bytes"): self._no_bytes,
        }
        if (package, name) not in admitted:
            raise ValueError(f"it holds {module}.{name}, which is no array")
        return admitted[package, name]

    def _reconstruct(self, kind: Any, shape: Any, code: Any) -> "_Array":
        return _Array(self)

    def _scalar(self, dtype: "_DType", data: Any) -> Any:
        return self.array((), dtype, data, "C")[()]

    def _from_buffer(self, data: Any, dtype: "_DType", shape: Any, order: str, *more: Any) -> np.ndarray:
        return self.array(shape, dtype, data, order)

    def _encode(self, text: str, encoding: str = "latin1") -> bytes:
        return text.encode("latin1")

    def _no_bytes(self) -> bytes:
        return b""

    def array(self, shape: Any, dtype: "_DType", data: Any, order: str) -> np.ndarray:
        """Returns an array of these bytes, which must be exactly as many as its shape needs."""
        if not isinstance(data, (str, bytes, bytearray)):
            raise ValueError("an array has no bytes")
        content = self._encode(data) if isinstance(data, str) else bytes(data)
        self._left -= len(content)
        if self._left < 0:
            raise ValueError("its arrays take more bytes than the file has")
        shape = tuple(map(int, shape))
        if min(shape, default=1) < 0 or math.prod(shape) * dtype.value.itemsize != len(content):
            raise ValueError(f"an array of {len(content)} bytes has the shape {shape}")
        return np.frombuffer(content, dtype.value).reshape(shape, order="F" if order == "F" else "C").copy()


class _DType:
    """A data type of numbers; its byte order may be set by a state, nothing else."""

    def __init__(self, code: str, *flags: Any) -> None:
        if not isinstance(code, str) or not _DTYPE.fullmatch(code):
            raise ValueError(f"an array of the type {code!r} holds no numbers")
        self.value = np.dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] in ("<", ">"):
            self.value = self.value.newbyteorder(state[1])


class _Array:
    """Holds an array once its state is known."""

    def __init__(self, unpickler: _ArrayUnpickler) -> None:
        self._unpickler = unpickler
        self.value: np.ndarray | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, by_columns, data = state
        self.value = self._unpickler.array(shape, dtype, data, "F" if by_columns else "C")


def as_array(value: Any) -> np.ndarray:
    """Returns an array, or a list of numbers, that `read_pickle` read.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(value, _Array) and value.value is not None:
        return value.value
    if isinstance(value, list) and all(isinstance(item, (int, float, np.number)) for item in value):
        return np.array(value)
    if isinstance(value, np.ndarray):
        return value
    raise ValueError(f"a {type(value).__name__} is in the place of an array")
