"""Caffe's binary models, written by a small protobuf writer and read back."""

import re
import struct
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from detector.errors import InputError
from detector.models.caffe import (
    AUXILIARY_LAYERS,
    CLASSIFIER_LAYERS,
    load_caffe_weights,
    read_caffe_arrays,
)
from detector.models.caffemodel import read_caffemodel
from detector.models.classifier import ImageClassifier

Arrays = dict[str, np.ndarray]


def varint(value: int) -> bytes:
    groups = [value >> shift & 0x7F for shift in range(0, max(1, value.bit_length()), 7)]
    return bytes([*(group | 0x80 for group in groups[:-1]), groups[-1]])


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def message(field: int, content: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(content)) + content


def fixed(field: int, value: float) -> bytes:
    return varint(field << 3 | 5) + struct.pack("<f", value)


def fixed_double(field: int, value: float) -> bytes:
    return varint(field << 3 | 1) + struct.pack("<d", value)


def shape(dims: Sequence[int]) -> bytes:
    return message(7, message(1, b"".join(map(varint, dims))))


def blob(array: np.ndarray) -> bytes:
    """BlobProto as newer Caffe writes it: `shape`, packed `data`."""
    return shape(array.shape) + message(5, array.astype("<f4").tobytes())


def old_blob(array: np.ndarray) -> bytes:
    """BlobProto of older Caffe: num, channels, height and width, ones in front."""
    dims = (1,) * (4 - array.ndim) + array.shape
    return b"".join(number(i, d) for i, d in enumerate(dims, 1)) + message(5, array.astype("<f4").tobytes())


def layer(name: str, *blobs: bytes) -> bytes:
    """LayerParameter: name, type, phase and fields that the reader skips, then the blobs."""
    start = message(1, name.encode()) + message(2, b"Convolution") + message(3, b"data") + number(10, 1)
    return message(100, start + b"".join(message(7, b) for b in blobs) + message(106, number(1, 64) + number(4, 7)))


def v1_layer(name: str, *blobs: bytes) -> bytes:
    """V1LayerParameter, whose fields have other numbers."""
    start = message(2, b"data") + message(3, b"out") + message(4, name.encode()) + number(5, 4)
    return message(2, start + b"".join(message(6, b) for b in blobs) + fixed(7, 1.0) + fixed(8, 0.0))


def model(arrays: Arrays, write_layer=layer, write_blob=blob) -> bytes:
    names = dict.fromkeys(name.removesuffix(".weight").removesuffix(".bias") for name in arrays)
    layers = [write_layer(n, *(write_blob(arrays[f"{n}.{k}"]) for k in ("weight", "bias"))) for n in names]
    return message(1, b"GoogLeNet") + write_layer("data") + b"".join(layers) + write_layer("prob")


SMALL: Arrays = {
    "conv1/7x7_s2.weight": np.arange(-12, 12, dtype=np.float32).reshape(4, 3, 2, 1) / 7,
    "conv1/7x7_s2.bias": np.float32([0.5, -0.0, 1e-30, -3e38]),
    "fc.weight": np.float32([[1.25, 2, 3]]),
    "fc.bias": np.float32([4]),
}
FORMS = {"layer": (layer, blob), "layers": (v1_layer, old_blob), "layer, old shapes": (layer, old_blob)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("caffemodel")


def read(folder: Path, content: bytes) -> Arrays:
    (folder / "m.caffemodel").write_bytes(content)
    return read_caffemodel(folder / "m.caffemodel")


def refused(folder: Path, content: bytes) -> str:
    """The error's message, one line that names the file."""
    with pytest.raises(InputError) as caught:
        read(folder, content)
    text = str(caught.value)
    assert text.startswith(f"{folder / 'm.caffemodel'}: ")
    assert "\n" not in text
    return text


@pytest.mark.parametrize("form", FORMS)
def test_arrays_are_read_exactly(folder: Path, form: str):
    arrays = read(folder, model(SMALL, *FORMS[form]))
    assert list(arrays) == list(SMALL)
    for name, array in SMALL.items():
        assert arrays[name].dtype == np.float32
        expected = (1,) * (4 - array.ndim) + array.shape if form != "layer" else array.shape
        assert arrays[name].shape == expected, name
        assert arrays[name].tobytes() == array.tobytes(), name


@given(st.lists(st.floats(width=32), max_size=30), st.booleans())
@settings(deadline=None, max_examples=50)
def test_any_floats(folder: Path, values: list[float], v1: bool):
    array = np.array(values, "<f4")
    arrays = read(folder, model({"a.weight": array, "a.bias": array[::-1]}, v1_layer if v1 else layer))
    assert arrays["a.weight"].tobytes() == array.tobytes()
    assert arrays["a.bias"].tobytes() == array[::-1].tobytes()


def test_numbers_that_are_not_packed(folder: Path):
    """A repeated field may be packed, unpacked or in several pieces."""
    expected = np.float32([1, 2, 3])
    dims = message(7, number(1, 3) + number(1, 1))
    for data in (
        b"".join(fixed(5, v) for v in expected),
        message(5, expected[:1].tobytes()) + message(5, expected[1:].tobytes()),
    ):
        np.testing.assert_array_equal(read(folder, layer("a", dims + data))["a.weight"], expected[:, None], strict=True)


def test_fields_may_come_in_any_order_and_unknown_ones_are_skipped(folder: Path):
    unknown = number(500, 2**64 - 1) + fixed(501, 1) + fixed_double(502, 1) + message(503, b"\xff" * 9)
    array = np.float32([[1, 2]])
    backwards = unknown + message(5, array.tobytes()) + unknown + message(6, array.tobytes()) + shape((1, 2))
    content = unknown + message(100, unknown + message(7, backwards) + message(1, b"a") + unknown) + unknown
    arrays = read(folder, content)
    assert list(arrays) == ["a.weight"]
    np.testing.assert_array_equal(arrays["a.weight"], array, strict=True)


def test_a_number_and_a_blob_without_dimensions(folder: Path):
    arrays = read(folder, layer("a", shape(()) + fixed(5, 7), shape((0, 5))))
    np.testing.assert_array_equal(arrays["a.weight"], np.float32(7))
    assert arrays["a.bias"].shape == (0, 5)


# a whole GoogLeNet


@pytest.fixture(scope="module")
def source() -> ImageClassifier:
    torch.manual_seed(0)
    return ImageClassifier(auxiliary=True).eval()


def caffe_arrays(network: ImageClassifier, auxiliary: bool = True) -> Arrays:
    """By Caffe's names, in full precision; input channels of the first convolution are BGR."""
    arrays = {}
    for caffe, name in (CLASSIFIER_LAYERS | (AUXILIARY_LAYERS if auxiliary else {})).items():
        module = network.get_submodule(name)
        arrays[f"{caffe}.weight"], arrays[f"{caffe}.bias"] = (p.detach().numpy() for p in (module.weight, module.bias))
    arrays["conv1/7x7_s2.weight"] = np.ascontiguousarray(arrays["conv1/7x7_s2.weight"][:, ::-1])
    return arrays


@pytest.mark.parametrize("form", FORMS)
def test_a_whole_googlenet(folder: Path, source: ImageClassifier, form: str):
    """All parameters exactly, including auxiliary heads, with old and new blob shapes."""
    (folder / "g.caffemodel").write_bytes(model(caffe_arrays(source), *FORMS[form]))
    target = ImageClassifier(auxiliary=True)
    load_caffe_weights(target, folder / "g.caffemodel")
    for (name, a), b in zip(source.named_parameters(), target.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0, msg=name)


def test_colors_of_the_first_convolution(folder: Path, source: ImageClassifier):
    """Caffe's channel 0 is blue, which is channel 2 here; other layers are not reversed."""
    arrays = caffe_arrays(source, auxiliary=False)
    arrays["conv1/7x7_s2.weight"] = np.zeros((64, 3, 7, 7), np.float32)
    arrays["conv1/7x7_s2.weight"][:, 0] = 1
    target = ImageClassifier()
    (folder / "g.caffemodel").write_bytes(model(arrays))
    load_caffe_weights(target, folder / "g.caffemodel")
    assert target.backbone.conv1.weight.sum(dim=(0, 2, 3)).tolist() == [0, 0, 64 * 49]
    torch.testing.assert_close(target.backbone.conv2.weight, source.backbone.conv2.weight, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("conv1/7x7_s2.bias", np.full(64, np.nan), r"array 'conv1/7x7_s2\.bias' holds numbers that are not finite"),
        ("loss3/classifier.weight", np.full((1000, 1024), np.inf), r"'loss3/classifier\.weight' holds numbers that"),
        ("conv2/3x3.weight", np.zeros((64, 64, 3, 3)), r"has shape \(64, 64, 3, 3\), not \(192, 64, 3, 3\)"),
        ("conv2/3x3.bias", np.zeros((2, 96)), r"has shape \(2, 96\), not \(192,\)"),
    ],
)
def test_wrong_arrays(folder: Path, source: ImageClassifier, name: str, array: np.ndarray, message: str):
    (folder / "g.caffemodel").write_bytes(model(caffe_arrays(source, auxiliary=False) | {name: array}))
    with pytest.raises(InputError, match=rf"g\.caffemodel: .*{message}"):
        load_caffe_weights(ImageClassifier(), folder / "g.caffemodel")


# damaged files


def test_missing_empty_and_folders(folder: Path):
    for read_any in (read_caffemodel, read_caffe_arrays):
        with pytest.raises(InputError, match=r"none\.caffemodel: no such weights file"):
            read_any(folder / "none.caffemodel")
        with pytest.raises(InputError, match=re.escape(f"{folder}: ")):
            read_any(folder)
    assert "holds no layers with weights" in refused(folder, b"")
    assert "holds no layers with weights" in refused(folder, model({}))
    with pytest.raises(InputError, match=r"m\.caffemodel: holds no layers"):
        read_caffe_arrays(folder / "m.caffemodel")


@pytest.mark.parametrize("form", FORMS)
def test_truncated_anywhere(folder: Path, form: str):
    """Cut at any byte: an error, or the arrays of the layers before if a layer ends there."""
    content, whole = model(SMALL, *FORMS[form]), 0
    for end in range(len(content)):
        try:
            arrays = read(folder, content[:end])
        except InputError:
            refused(folder, content[:end])
            continue
        whole += 1
        assert list(arrays) in (list(SMALL)[:2], list(SMALL))
        assert all(arrays[name].tobytes() == SMALL[name].tobytes() for name in arrays)
    assert whole == 2, "cut after the first layer with weights, and after the second"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (varint(100 << 3 | 2) + varint(2**63), f"a field of {2**63} bytes, where 0 are left"),
        (varint(100 << 3 | 2) + varint(2**70 - 1), "bytes, where 0 are left"),
        (message(100, varint(7 << 3 | 2) + varint(2**40) + b"abc"), "bytes, where 3 are left"),
        (b"\xff" * 10 + b"\x01", "a number has more than 10 bytes"),
        (varint(1 << 3) + b"\x80" * 10 + b"\x00", "a number has more than 10 bytes"),
        (varint(1 << 3) + b"\x80", "ends inside a number"),
        *((varint(100 << 3 | wire) + b"\0" * 20, f"unknown wire type {wire}") for wire in (3, 4, 6, 7)),
        (b"\x02\x00", "a field has the number 0"),
        (fixed(100, 0)[:-1], "a field of 4 bytes, where 3 are left"),
        (layer("a", shape((2, 2)) + message(5, bytes(12))), r"of 3 numbers cannot have the shape \[2, 2\]"),
        (layer("a", shape((2,)) + message(5, bytes(7))), "a blob of 7 bytes"),
        (layer("a", number(1, 3) + message(5, bytes(4))), r"of 1 numbers cannot have the shape \[3, 1, 1, 1\]"),
        (layer("a", shape((1,)) + number(5, 0)), r"of 0 numbers cannot have the shape \[1\]"),
        (layer("a", shape((1,) * 9) + message(5, bytes(4))), r"of 1 numbers cannot have the shape"),
        (layer("a", shape((0, 2**64 - 1))), ""),
        (layer("a", shape((0, 2**62, 2**62))), ""),
        (message(100, message(1, b"\xff\xfe") + message(7, shape((0,)))), "utf-8"),
    ],
)
def test_malformed_messages(folder: Path, content: bytes, reason: str):
    text = refused(folder, content)
    assert "m.caffemodel: not a readable .caffemodel (" in text
    assert re.search(reason, text)


def test_a_blob_of_a_million_dimensions_is_refused_at_once(folder: Path):
    """Computing their product, of seven million bits, would take minutes."""
    text = refused(folder, layer("a", message(7, message(1, b"\x7f" * 1_000_000))))
    assert "cannot have the shape" in text
    assert len(text) < 500


def test_a_large_file_is_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch):
    content = model(SMALL)
    monkeypatch.setattr("detector.models.caffemodel.MAX_BYTES", len(content))
    assert read(folder, content)
    monkeypatch.setattr("detector.models.caffemodel.MAX_BYTES", len(content) - 1)
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail("the file was read"))
    assert "has more than" in refused(folder, content)


FRAGMENT = st.one_of(
    st.binary(max_size=40),
    st.builds(message, st.sampled_from([1, 2, 4, 5, 6, 7, 8, 100]), st.binary(max_size=40)),
    st.builds(number, st.integers(1, 2**60), st.integers(0, 2**64)),
    st.builds(shape, st.lists(st.integers(0, 2**70 - 1), max_size=10)),
)


@given(st.lists(st.one_of(FRAGMENT, st.builds(layer, st.just("a"), FRAGMENT, FRAGMENT)), max_size=8).map(b"".join))
@example(layer("a", shape((2**35, 2**35)) + message(5, b"")))
@settings(deadline=2000, max_examples=300)
def test_random_bytes(folder: Path, content: bytes):
    """Arrays or one line, at once, and in no more memory than the file's size asks for."""
    tracemalloc.start()
    try:
        arrays = read(folder, content)
    except InputError:
        arrays = {}
        refused(folder, content)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 2_000_000
    assert sum(array.nbytes for array in arrays.values()) <= len(content)


def test_memory_is_bounded_by_the_size(folder: Path):
    """Numbers that are not packed cost five bytes each in the file, and not a hundred in the memory."""
    content = layer("a", shape((100_000,)) + fixed(5, 1.5) * 100_000)
    tracemalloc.start()
    try:
        assert read(folder, content)["a.weight"].sum() == 150_000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 6 * len(content)
