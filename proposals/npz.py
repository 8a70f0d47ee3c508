"""Reading of untrusted .npz and .npy files."""

import io
import math
import zipfile

import numpy as np

MAX_BYTES = 2**30
"""Default limit for the unpacked size of all arrays together."""


def read_npz(content: bytes, max_bytes: int = MAX_BYTES) -> dict[str, np.ndarray]:
    """Returns the arrays by name. Unlike `np.load` it limits the unpacked size and raises one type of error.

    Raises:
        ValueError: the content is not a valid .npz, contains Python objects, or unpacks to more than `max_bytes`.
    """
    stream = io.BytesIO(content)
    try:
        with zipfile.ZipFile(stream) as archive:
            size = sum(member.file_size for member in archive.infolist())  # the reader never exceeds these sizes
        if size > max_bytes:
            raise ValueError(f"{size} bytes unpacked, the limit is {max_bytes}")
        stream.seek(0)
        with np.load(stream, allow_pickle=False) as file:  # noqa: TID251 - no pickles, sizes are checked above
            arrays = dict(file)
    except Exception as error:  # the zip reader and NumPy's header parser raise many types
        raise ValueError(f"not a readable .npz ({' '.join(str(error).split()) or type(error).__name__})") from None
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):  # np.load returns other files in a zip as bytes
            raise ValueError(f"not a readable .npz ({name} is not an array)")
    return arrays


def read_npy(content: bytes) -> np.ndarray:
    """Returns the array of an .npy file.

    Raises:
        ValueError: the content is not a valid .npy, holds Python objects, or has more or fewer bytes than its array.
    """
    stream = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, by_columns, dtype = read(stream)
        if dtype.hasobject or math.prod(shape) * dtype.itemsize != len(content) - stream.tell():
            raise ValueError("its array is not as large as the file")
        return np.frombuffer(content, dtype, offset=stream.tell()).reshape(shape, order="F" if by_columns else "C")
    except Exception as error:  # NumPy's header parser raises many types
        raise ValueError(f"not a readable .npy ({' '.join(str(error).split()) or type(error).__name__})") from None
