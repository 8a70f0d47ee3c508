"""Untrusted .npz files."""

import io
import tracemalloc
import zipfile

import numpy as np
import pytest

from proposals.npz import read_npz


def packed(**arrays: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def zipped(name: str, content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(name, content)
    return stream.getvalue()


def with_header(header: str, body: bytes = b"") -> bytes:
    text = header.encode().ljust(118) + b"\n"
    return zipped("a.npy", b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + body)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12.0).reshape(3, 4),
        np.zeros((0, 4), np.float32),
        np.array(5, np.int64),
        np.array(["HSV", "Lab"], np.str_),
    ],
)
def test_round_trip(array: np.ndarray):
    arrays = read_npz(packed(a=array, b=array))
    assert sorted(arrays) == ["a", "b"]
    np.testing.assert_array_equal(arrays["a"], array)
    assert (arrays["a"].dtype, arrays["a"].shape) == (array.dtype, array.shape)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK",
        packed(a=np.arange(9))[:-30],
        packed(a=np.array([{}], object)),
        zipped("a.txt", b"hello"),
        with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,)}"),
        with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", b"x"),
        with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (2,"),
        with_header("(((((((((("),
        with_header("{'descr': ['<f4'] * 10**9, 'fortran_order': False, 'shape': ()}"),
    ],
)
def test_invalid_files_give_a_one_line_error(content: bytes):
    with pytest.raises(ValueError, match=r"^not a readable \.npz \(.*\)$"):
        read_npz(content)


def test_unpacked_size_is_limited_before_unpacking():
    content = packed(a=np.zeros(2**25, np.uint8))
    assert len(content) < 2**16
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="16777216"):
            read_npz(content, 2**24)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
