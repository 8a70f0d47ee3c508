"""Caffe's binary model files, read without Caffe: a small reader of the part of the protobuf format that they use.

A `.caffemodel` is a serialized NetParameter (caffe.proto): layers, each with a name and blobs of floats. Lengths are
checked against the file before anything is read by them.
"""

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from detector.errors import InputError

MAX_BYTES = 1 << 30
"""Larger files are refused; BVLC's GoogLeNet has 53 MB, with the auxiliary heads."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types of protobuf

# field numbers in caffe.proto
_NET_LAYER, _NET_V1_LAYER = 100, 2
_LAYER_NAME, _LAYER_BLOBS = 1, 7
_V1_NAME, _V1_BLOBS = 4, 6
_BLOB_OLD_SHAPE, _BLOB_SHAPE = (1, 2, 3, 4), 7
_BLOB_NUMBERS: dict[int, np.dtype[Any]] = {5: np.dtype("<f4"), 8: np.dtype("<f8")}  # data, double_data
_SHAPE_DIM = 1
_MAX_DIMENSIONS = 8


def read_caffemodel(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of a model, float32, by name: `LAYER.weight` and `LAYER.bias`, for example `conv1/7x7_s2.weight`.

    Raises:
        InputError: the file is missing, too large, truncated or no Caffe model; names the file and what is wrong.
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
        for number, value in _fields(memoryview(content)):
            if number in (_NET_LAYER, _NET_V1_LAYER) and isinstance(value, memoryview):
                fields = (_LAYER_NAME, _LAYER_BLOBS) if number == _NET_LAYER else (_V1_NAME, _V1_BLOBS)
                name, blobs = _layer(value, *fields)
                for kind, blob in zip(("weight", "bias"), blobs, strict=False):
                    arrays[f"{name}.{kind}"] = blob
    except ValueError as error:
        raise InputError(f"{path}: not a readable .caffemodel ({error}); it may be truncated") from None
    if not arrays:
        raise InputError(f"{path}: holds no layers with weights; it is no .caffemodel")
    return arrays


def _layer(message: memoryview, name_field: int, blobs_field: int) -> tuple[str, list[np.ndarray]]:
    name, blobs = "", []
    for number, value in _fields(message):
        if number == name_field and isinstance(value, memoryview):
            name = bytes(value).decode("utf-8")  # a UnicodeDecodeError is a ValueError
        elif number == blobs_field and isinstance(value, memoryview):
            blobs.append(_blob(value))
    return name, blobs


def _blob(message: memoryview) -> np.ndarray:
    shape: list[int] | None = None
    old_shape = dict.fromkeys(_BLOB_OLD_SHAPE, 1)
    data = {number: bytearray() for number in _BLOB_NUMBERS}
    for number, value in _fields(message):
        if number in old_shape and isinstance(value, int):
            old_shape[number] = value
        elif number == _BLOB_SHAPE and isinstance(value, memoryview):
            dims = (dim for field, dims in _fields(value) if field == _SHAPE_DIM for dim in _varints(dims))
            shape = [*itertools.islice(dims, _MAX_DIMENSIONS + 1)]
        elif number in data and isinstance(value, memoryview):
            if len(value) % _BLOB_NUMBERS[number].itemsize:
                raise ValueError(f"a blob of {len(value)} bytes is no row of numbers")
            data[number] += value
    with np.errstate(over="ignore"):  # doubles beyond float32 become infinite
        values = np.concatenate([np.frombuffer(data[n], kind).astype(np.float32) for n, kind in _BLOB_NUMBERS.items()])
    wanted = list(old_shape.values()) if shape is None else shape
    if len(wanted) > _MAX_DIMENSIONS or math.prod(wanted) != values.size:
        raise ValueError(f"a blob of {values.size} numbers cannot have the shape {wanted}")
    return values.reshape(wanted)


def _varints(value: "int | memoryview") -> Iterator[int]:
    """The numbers of a repeated field: one, or many packed together."""
    if isinstance(value, int):
        yield value
        return
    position = 0
    while position < len(value):
        number, position = _varint(value, position)
        yield number


def _fields(message: memoryview) -> Iterator[tuple[int, "int | memoryview"]]:
    """Number and value of each field of a message; the values of fixed length are given as bytes."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        number, wire = tag >> 3, tag & 7
        if number == 0:
            raise ValueError("a field has the number 0")
        if wire == _VARINT:
            value, position = _varint(message, position)
            yield number, value
            continue
        if wire == _BYTES:
            length, position = _varint(message, position)
        elif wire in (_FIXED32, _FIXED64):
            length = 4 if wire == _FIXED32 else 8
        else:
            raise ValueError(f"a field has the unknown wire type {wire}")
        if length > len(message) - position:
            raise ValueError(f"a field of {length} bytes, where {len(message) - position} are left")
        yield number, message[position : position + length]
        position += length


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """A number of 7 bits a byte from a position on, and the position behind it."""
    result = 0
    for shift in range(0, 70, 7):
        if position >= len(message):
            raise ValueError("it ends inside a number")
        byte = message[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, position
    raise ValueError("a number has more than 10 bytes")
