"""Arrays out of an .npz from anywhere: nothing is allocated before its size is known to be true."""

import io
import math
import zipfile
from typing import BinaryIO

import numpy as np

MOST_BYTES = 2**30
"""Of all arrays together; larger files are refused."""


def read_npz(file: BinaryIO | bytes, most_bytes: int = MOST_BYTES) -> dict[str, np.ndarray]:
    """The arrays by name; they may be read-only.

    numpy's own reader allocates what an array's header asks for before it looks whether that is there, and unpacks
    whatever a zip holds.

    Raises:
        ValueError: it is no .npz, is damaged, holds objects, or has more than `most_bytes` unpacked; one line.
        OSError: it cannot be read.
    """
    arrays: dict[str, np.ndarray] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(file) if isinstance(file, bytes) else file) as archive:
            members = archive.infolist()
            size = sum(one.file_size for one in members)
            if size > most_bytes:
                raise ValueError(f"{size} bytes unpacked, at most {most_bytes} are read")
            for one in members:
                arrays[one.filename.removesuffix(".npy")] = _array(archive.read(one), one.filename)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # the readers of zip and npy, which takes its header for Python, raise a dozen kinds
        raise ValueError(f"not a readable .npz ({' '.join(str(error).split()) or type(error).__name__})") from None
    return arrays


def _array(content: bytes, name: str) -> np.ndarray:
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"{name}: .npy version {version} is not known")
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, by_columns, kind = read_header(stream)
    if kind.hasobject or kind.itemsize == 0:
        raise ValueError(f"{name}: holds {kind}, not numbers or texts")
    # Python's whole numbers: numpy's would overflow
    needed, start = math.prod(shape) * kind.itemsize, stream.tell()
    if any(side < 0 for side in shape) or needed != len(content) - start:
        raise ValueError(f"{name}: {len(content) - start} bytes cannot have the shape {shape} of {kind}")
    array = np.frombuffer(content, kind, offset=start) if needed else np.zeros(0, kind)
    return array.reshape(shape, order="F" if by_columns else "C")
