"""Caffe's binary models, read without Caffe or protobuf.

A `.caffemodel` is a serialized NetParameter (caffe.proto): layers, each with a name and blobs of floats. Lengths are
checked against the content before they are used.
"""

import math
from collections.abc import Iterator
from itertools import islice

import numpy as np

# Field numbers in caffe.proto: (layer, its name, its blobs) in NetParameter, for LayerParameter and V1LayerParameter.
_LAYERS = {100: (1, 7), 2: (4, 6)}
_BLOB_OLD_SHAPE, _BLOB_DATA, _BLOB_SHAPE, _SHAPE_DIM = (1, 2, 3, 4), 5, 7, 1
_MAX_DIMENSIONS = 8


def parse_caffemodel(content: bytes) -> dict[str, np.ndarray]:
    """Returns the arrays of a model, float32, as `LAYER.weight` and `LAYER.bias`, for example `conv1/7x7_s2.weight`.

    Raises:
        ValueError: the content is truncated or not a Caffe model.
    """
    arrays: dict[str, np.ndarray] = {}
    for number, layer in _fields(memoryview(content)):
        if number in _LAYERS and isinstance(layer, memoryview):
            name, blobs = _layer(layer, *_LAYERS[number])
            arrays |= {f"{name}.{kind}": blob for kind, blob in zip(("weight", "bias"), blobs, strict=False)}
    if not arrays:
        raise ValueError("it holds no layers with weights")
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
        if number == 0 or wire_type not in (0, 1, 2, 5):
            raise ValueError(f"a field has the number {number} and the wire type {wire_type}")
        if wire_type == 0:
            value, position = _varint(message, position)
            yield number, value
            continue
        length = {1: 8, 5: 4}.get(wire_type)
        if length is None:
            length, position = _varint(message, position)
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
