"""Caffe's binary model files, read without Caffe or protobuf.

A `.caffemodel` is a serialized NetParameter (caffe.proto): layers, each with a name and blobs of floats. Lengths are
checked against the file before they are used.
"""

import math
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from detector.errors import InputError

MAX_BYTES = 1 << 30
"""Larger files are refused; BVLC's GoogLeNet has 53 MB with the auxiliary heads."""

# Field numbers in caffe.proto: (layer, its name, its blobs) in NetParameter, for LayerParameter and V1LayerParameter.
_LAYERS = {100: (1, 7), 2: (4, 6)}
_BLOB_OLD_SHAPE, _BLOB_DATA, _BLOB_SHAPE, _SHAPE_DIM = (1, 2, 3, 4), 5, 7, 1
_MAX_DIMENSIONS = 8


def read_caffemodel(path: str | Path) -> dict[str, np.ndarray]:
    """Reads the arrays of a model, float32, as `LAYER.weight` and `LAYER.bias`, for example `conv1/7x7_s2.weight`.

    Raises:
        InputError: the file is missing, too large, truncated or not a Caffe model.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path}: has more than {MAX_BYTES >> 20} MiB; a .caffemodel of GoogLeNet has about 50")
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such weights file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    arrays: dict[str, np.ndarray] = {}
    try:
        for number, layer in _fields(memoryview(content)):
            if number in _LAYERS and isinstance(layer, memoryview):
                name, blobs = _layer(layer, *_LAYERS[number])
                arrays |= {f"{name}.{kind}": blob for kind, blob in zip(("weight", "bias"), blobs, strict=False)}
    except ValueError as error:
        raise InputError(f"{path}: not a readable .caffemodel ({error}); it may be truncated") from None
    if not arrays:
        raise InputError(f"{path}: holds no layers with weights; this is not a .caffemodel")
    return arrays


def _layer(message: memoryview, name_field: int, blobs_field: int) -> tuple[str, list[np.ndarray]]:
    name, blobs = "", []
    for number, value in _fields(message):
        if number == name_field and isinstance(value, memoryview):
            name = bytes(value).decode()  # a UnicodeDecodeError is a ValueError
        elif number == blobs_field and isinstance(value, memoryview):
            blobs.append(_blob(value))
    return name, blobs


def _blob(message: memoryview) -> np.ndarray:
    old_shape, shape = dict.fromkeys(_BLOB_OLD_SHAPE, 1), None
    data = bytearray()
    for number, value in _fields(message):
        if number in old_shape and isinstance(value, int):
            old_shape[number] = value
        elif number == _BLOB_SHAPE and isinstance(value, memoryview):
            dims = (dim for field, packed in _fields(value) if field == _SHAPE_DIM for dim in _varints(packed))
            shape = list(islice(dims, _MAX_DIMENSIONS + 1))
        elif number == _BLOB_DATA and isinstance(value, memoryview):
            if len(value) % 4:
                raise ValueError(f"a blob of {len(value)} bytes does not hold 32-bit floats")
            data += value
    values = np.frombuffer(data, "<f4").astype(np.float32)
    shape = list(old_shape.values()) if shape is None else shape
    if len(shape) > _MAX_DIMENSIONS or math.prod(shape) != values.size:
        raise ValueError(f"a blob of {values.size} numbers cannot have the shape {shape}")
    return values.reshape(shape)


# The wire format of protobuf


def _varints(value: "int | memoryview") -> Iterator[int]:
    """The numbers of a repeated field: one, or several packed together."""
    if isinstance(value, int):
        yield value
        return
    position = 0
    while position < len(value):
        number, position = _varint(value, position)
        yield number


def _fields(message: memoryview) -> Iterator[tuple[int, "int | memoryview"]]:
    """Number and value of each field of a message; 32-bit and 64-bit values as bytes."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        number, wire_type = tag >> 3, tag & 7
        if number == 0:
            raise ValueError("a field has the number 0")
        if wire_type not in (0, 1, 2, 5):
            raise ValueError(f"a field has the unknown wire type {wire_type}")
        if wire_type in (0, 2):
            length, position = _varint(message, position)
            if wire_type == 0:
                yield number, length
                continue
        else:
            length = 8 if wire_type == 1 else 4
        if length > len(message) - position:
            raise ValueError(f"a field of {length} bytes, where {len(message) - position} are left")
        yield number, message[position : position + length]
        position += length


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """The number at a position, 7 bits a byte, and the position after it."""
    number = 0
    for shift in range(0, 70, 7):
        if position >= len(message):
            raise ValueError("it ends inside a number")
        byte = message[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, position
    raise ValueError("a number has more than 10 bytes")
