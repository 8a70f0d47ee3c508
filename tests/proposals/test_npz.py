"""Arrays out of .npz files from anywhere."""

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


def with_header(header: str, body: bytes = b"") -> bytes:
    text = header.encode().ljust(118) + b"\n"
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a.npy", b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + body)
    return stream.getvalue()


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12.0).reshape(3, 4),
        np.asfortranarray(np.arange(12, dtype=np.float16).reshape(3, 4)),
        np.zeros((0, 4), np.float32),
        np.array(5, np.int64),
        np.array(["HSV", "Lab"], np.str_),
        np.array([], np.str_),
        np.array([True, False]),
        np.arange(3, dtype=">i4"),
    ],
)
def test_arrays_come_back_as_numpy_reads_them(array: np.ndarray):
    content = packed(a=array, b=array)
    found = read_npz(content)
    assert sorted(found) == ["a", "b"]
    with np.load(io.BytesIO(content), allow_pickle=False) as expected:
        np.testing.assert_array_equal(found["a"], expected["a"])
        assert (found["a"].dtype, found["a"].shape) == (expected["a"].dtype, expected["a"].shape)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a readable .npz"),
        (b"PK", "not a readable .npz"),
        (packed(a=np.arange(9))[:-30], "not a readable .npz"),
        (packed(a=np.array([{}], object)), "numbers or texts"),
        (with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,)}"), "0 bytes cannot have the"),
        (with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}"), "cannot have the shape"),
        (with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", b"x"), "1 bytes cannot have the shape"),
        (with_header("{'descr': '|V0', 'fortran_order': False, 'shape': (2,)}"), "not numbers or texts"),
        (with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (2,"), "not a readable .npz"),
        (with_header("((((((((("), "not a readable .npz"),
        (with_header("{'descr': ['<f4'] * 10**9, 'fortran_order': False, 'shape': ()}"), "not a readable .npz"),
    ],
)
def test_what_is_none_is_refused_in_one_line(content: bytes, message: str):
    with pytest.raises(ValueError, match=message) as caught:
        read_npz(content)
    assert "\n" not in str(caught.value)


def test_a_bomb_is_refused_before_it_is_unpacked():
    content = packed(a=np.zeros(2**25, np.uint8))  # a thousandth of it, packed
    assert len(content) < 2**16
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="bytes unpacked, at most 16777216 are read"):
            read_npz(content, 2**24)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
