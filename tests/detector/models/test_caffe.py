"""BVLC's weights by Caffe layer name: an .npz, and Caffe's binary models, written by a small protobuf writer."""

import os
import re
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from detector.data.image_folder import labeled_photos
from detector.errors import InputError
from detector.evaluation.prediction.classification import evaluate_classifier
from detector.inference.classification import load_classifier
from detector.models.caffe import (
    AUXILIARY_LAYERS,
    CLASSIFIER_LAYERS,
    load_caffe_weights,
    read_caffe_arrays,
    save_caffe_arrays,
)
from detector.models.classifier import ImageClassifier
from detector.models.googlenet import GoogLeNetBackbone

Arrays = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def source() -> ImageClassifier:
    torch.manual_seed(0)
    return ImageClassifier(auxiliary=True).eval()


def caffe_arrays(network: ImageClassifier, auxiliary: bool = True) -> Arrays:
    """By Caffe's names, without the code under test; input channels of the first convolution are BGR."""
    arrays = {}
    for caffe, name in (CLASSIFIER_LAYERS | (AUXILIARY_LAYERS if auxiliary else {})).items():
        module = network.get_submodule(name)
        arrays[f"{caffe}.weight"], arrays[f"{caffe}.bias"] = (p.detach().numpy() for p in (module.weight, module.bias))
    arrays["conv1/7x7_s2.weight"] = np.ascontiguousarray(arrays["conv1/7x7_s2.weight"][:, ::-1])
    return arrays


def npz(path: Path, arrays: Arrays) -> Path:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


def assert_same(a: torch.nn.Module, b: torch.nn.Module) -> None:
    for (name, one), other in zip(a.named_parameters(), b.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0, msg=name)


def test_a_backbone_and_a_classifier_load_what_they_have(tmp_path: Path, source: ImageClassifier):
    path = npz(tmp_path / "w.npz", caffe_arrays(source, auxiliary=False))
    backbone, target = GoogLeNetBackbone(dense=True), ImageClassifier(auxiliary=True)
    before = target.auxiliary_4a.fc.weight.clone()
    load_caffe_weights(backbone, path)
    load_caffe_weights(target, path)
    assert_same(backbone, source.backbone)
    assert_same(target.classifier, source.classifier)
    torch.testing.assert_close(target.auxiliary_4a.fc.weight, before, rtol=0, atol=0)


def test_saved_weights_have_bvlcs_layout_in_half_precision(tmp_path: Path, source: ImageClassifier):
    save_caffe_arrays(source, tmp_path / "w.npz")
    assert [p.name for p in tmp_path.iterdir()] == ["w.npz"]
    saved, expected = np.load(tmp_path / "w.npz"), caffe_arrays(source)
    assert set(saved.files) == set(expected)
    assert len(expected) == 2 * 64
    for name in saved.files:
        np.testing.assert_array_equal(saved[name], expected[name].astype(np.float16), err_msg=name)


def test_batch_norm_is_refused(tmp_path: Path, source: ImageClassifier):
    path, network = npz(tmp_path / "w.npz", caffe_arrays(source)), ImageClassifier(backbone="googlenet_bn")
    with pytest.raises(InputError, match=r"w\.npz: .*batch norm"):
        load_caffe_weights(network, path)
    with pytest.raises(InputError, match="batch norm"):
        save_caffe_arrays(network, tmp_path / "bn.npz")
    assert not (tmp_path / "bn.npz").exists()


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("inception_4c/5x5.bias", None, "is missing"),
        ("conv1/7x7_s2.bias", np.full(64, np.nan), "holds numbers that are not finite"),
        ("loss3/classifier.weight", np.zeros((5, 1024)), r"has shape \(5, 1024\), not \(1000, 1024\)"),
        ("conv2/3x3.bias", np.zeros((2, 96)), r"has shape \(2, 96\), not \(192,\)"),
    ],
)
def test_wrong_arrays_are_named(
    tmp_path: Path, source: ImageClassifier, name: str, array: np.ndarray | None, message: str
):
    arrays = caffe_arrays(source, auxiliary=False)
    arrays = {key: value for key, value in (arrays | {name: array}).items() if value is not None}
    with pytest.raises(InputError, match=rf"w\.npz: array '{re.escape(name)}' {message}"):
        load_caffe_weights(ImageClassifier(), npz(tmp_path / "w.npz", arrays))


def test_files_that_cannot_be_read(tmp_path: Path):
    npz(tmp_path / "text.npz", {"a": np.array(["a"])})
    npz(tmp_path / "objects.npz", {"a": np.array([{}])})
    (tmp_path / "cut.npz").write_bytes(npz(tmp_path / "whole.npz", {"a": np.zeros(9)}).read_bytes()[:100])
    np.save(tmp_path / "single.npy", np.zeros(3))
    (tmp_path / "single.npy").rename(tmp_path / "single.npz")
    (tmp_path / "empty.caffemodel").touch()
    reasons = {"empty.caffemodel": "not .* holds no layers", "none.caffemodel": "no such weights file", ".": "not .*"}
    reasons |= dict.fromkeys(("text.npz", "objects.npz", "cut.npz", "single.npz"), "not a readable .npz")
    for name, reason in reasons.items():
        with pytest.raises(InputError, match=f"^{re.escape(str(tmp_path / name))}: {reason}"):
            read_caffe_arrays(tmp_path / name)


# Caffe's binary models


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
    return read_caffe_arrays(folder / "m.caffemodel")


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


def test_a_whole_googlenet(folder: Path, source: ImageClassifier):
    """All parameters exactly, including auxiliary heads, with the blob shapes of older Caffe."""
    (folder / "g.caffemodel").write_bytes(model(caffe_arrays(source), *FORMS["layers"]))
    target = ImageClassifier(auxiliary=True)
    load_caffe_weights(target, folder / "g.caffemodel")
    assert_same(source, target)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (varint(100 << 3 | 2) + varint(2**63), f"a field of {2**63} bytes, where 0 are left"),
        (message(100, varint(7 << 3 | 2) + varint(2**40) + b"abc"), "bytes, where 3 are left"),
        (varint(1 << 3) + b"\x80" * 10 + b"\x00", "a number has more than 10 bytes"),
        (varint(1 << 3) + b"\x80", "ends inside a number"),
        (varint(100 << 3 | 3) + b"\0" * 20, "the wire type 3"),
        (b"\x02\x00", "a field has the number 0"),
        (fixed(100, 0)[:-1], "a field of 4 bytes, where 3 are left"),
        (layer("a", shape((2, 2)) + message(5, bytes(12))), r"of 3 numbers cannot have the shape \[2, 2\]"),
        (layer("a", shape((2,)) + message(5, bytes(7))), "multiple of element size"),
        (layer("a", number(1, 3) + message(5, bytes(4))), r"of 1 numbers cannot have the shape \[3, 1, 1, 1\]"),
        (layer("a", shape((0, 2**64 - 1))), ""),
        # their product, of seven million bits, would take minutes
        (layer("a", message(7, message(1, b"\x7f" * 1_000_000))), "cannot have the shape"),
        (message(100, message(1, b"\xff\xfe") + message(7, shape((0,)))), "utf-8"),
    ],
)
def test_malformed_messages(folder: Path, content: bytes, reason: str):
    assert re.search(reason, refused(folder, content))


def test_a_large_file_is_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch):
    content = model(SMALL)
    monkeypatch.setattr("detector.models.caffe.MAX_BYTES", len(content))
    assert read(folder, content)
    monkeypatch.setattr("detector.models.caffe.MAX_BYTES", len(content) - 1)
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail("the file was read"))
    assert "more than" in refused(folder, content)


@pytest.mark.skipif(
    not {"IMAGENET_SAMPLES", "BVLC_WEIGHTS"} <= os.environ.keys(),
    reason="needs IMAGENET_SAMPLES, a folder of photos, and BVLC_WEIGHTS, the .npz",
)
def test_reference_weights(monkeypatch: pytest.MonkeyPatch):
    """BVLC's weights: 155 top-1 and 186 top-5 hits on the 200 sample photos (center crop 224)."""
    monkeypatch.setattr("detector.inference.classification.fast_dtype", lambda device: torch.float32)
    classifier = load_classifier([os.environ["BVLC_WEIGHTS"]], crops=1, device="cpu")
    photos = labeled_photos(Path(os.environ["IMAGENET_SAMPLES"]), classifier.class_names)
    result = evaluate_classifier(classifier, photos)
    assert (result.images, result.top1, result.top5, result.failed) == (200, 155, 186, {})
