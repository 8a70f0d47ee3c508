"""BVLC's weights by Caffe layer name, to and from an .npz."""

import os
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
    BACKBONE_LAYERS,
    CLASSIFIER_LAYERS,
    load_caffe_weights,
    read_caffe_arrays,
    save_caffe_arrays,
    to_caffe_arrays,
)
from detector.models.classifier import ImageClassifier
from detector.models.googlenet import GoogLeNetBackbone


def npz(path: Path, network: ImageClassifier, skip: str = "", **change: np.ndarray) -> Path:
    """Written without the code under test: OIHW, input channels of the first convolution BGR."""
    arrays = {}
    for caffe, name in {**BACKBONE_LAYERS, "loss3/classifier": "classifier"}.items():
        module = network.get_submodule(name if name == "classifier" else f"backbone.{name}")
        weight = module.weight.detach()
        arrays[f"{caffe}.weight"] = (weight.flip(1) if caffe == "conv1/7x7_s2" else weight).half().numpy()
        arrays[f"{caffe}.bias"] = module.bias.detach().half().numpy()
    arrays.pop(skip, None)
    np.savez(path, **arrays | change)
    return path


def half(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.half().float()


def test_weights_load_with_channels_in_order(tmp_path: Path):
    source, target = ImageClassifier(), ImageClassifier()
    load_caffe_weights(target, npz(tmp_path / "w.npz", source))
    for (name, a), b in zip(source.named_parameters(), target.parameters(), strict=True):
        torch.testing.assert_close(half(a), b, rtol=0, atol=0, msg=name)


def test_a_backbone_loads_its_layers(tmp_path: Path):
    source, backbone = ImageClassifier(), GoogLeNetBackbone(dense=True)
    load_caffe_weights(backbone, npz(tmp_path / "w.npz", source))
    for (name, a), b in zip(source.backbone.named_parameters(), backbone.parameters(), strict=True):
        torch.testing.assert_close(half(a), b, rtol=0, atol=0, msg=name)


@pytest.mark.parametrize("auxiliary", [False, True])
def test_round_trip(tmp_path: Path, auxiliary: bool):
    source, target = (ImageClassifier(auxiliary=auxiliary) for _ in range(2))
    save_caffe_arrays(source, tmp_path / "w.npz")
    assert [p.name for p in tmp_path.iterdir()] == ["w.npz"]
    load_caffe_weights(target, tmp_path / "w.npz")
    for (name, a), b in zip(source.named_parameters(), target.parameters(), strict=True):
        torch.testing.assert_close(half(a), b, rtol=0, atol=0, msg=name)


def test_the_layout_is_bvlcs(tmp_path: Path):
    network = ImageClassifier(auxiliary=True)
    ours, theirs = to_caffe_arrays(network), np.load(npz(tmp_path / "w.npz", network))
    layers = [*CLASSIFIER_LAYERS, *AUXILIARY_LAYERS]
    assert set(ours) == {f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")}
    assert len(layers) == 64
    for name in theirs.files:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


def test_a_file_without_auxiliary_heads_does_not_change_them(tmp_path: Path):
    target = ImageClassifier(auxiliary=True)
    before = target.auxiliary_4a.fc.weight.clone()
    load_caffe_weights(target, npz(tmp_path / "w.npz", ImageClassifier()))
    torch.testing.assert_close(target.auxiliary_4a.fc.weight, before, rtol=0, atol=0)


def test_batch_norm_is_refused(tmp_path: Path):
    path = npz(tmp_path / "w.npz", ImageClassifier())
    with pytest.raises(InputError, match=r"w\.npz: .*batch norm"):
        load_caffe_weights(ImageClassifier(backbone="googlenet_bn"), path)
    with pytest.raises(InputError, match="batch norm"):
        save_caffe_arrays(ImageClassifier(backbone="googlenet_bn"), tmp_path / "bn.npz")
    assert not (tmp_path / "bn.npz").exists()


def test_errors_name_file_and_array(tmp_path: Path):
    with pytest.raises(InputError, match=r"none\.npz: no such"):
        load_caffe_weights(GoogLeNetBackbone(), tmp_path / "none.npz")
    path = npz(tmp_path / "w.npz", ImageClassifier(), skip="inception_4c/5x5.bias")
    with pytest.raises(InputError, match=r"w\.npz: array 'inception_4c/5x5\.bias' is missing"):
        load_caffe_weights(GoogLeNetBackbone(), path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(InputError, match=r"w\.npz: not a readable"):
        load_caffe_weights(GoogLeNetBackbone(), path)
    other = npz(tmp_path / "other.npz", ImageClassifier(num_classes=5))
    with pytest.raises(InputError, match=r"loss3/classifier\.weight' has shape \(5, 1024\), not \(1000, 1024\)"):
        load_caffe_weights(ImageClassifier(), other)
    damaged = npz(tmp_path / "nan.npz", ImageClassifier(), **{"conv1/7x7_s2.bias": np.full(64, np.nan)})
    with pytest.raises(InputError, match=r"nan\.npz: array 'conv1/7x7_s2\.bias' holds numbers that are not finite"):
        load_caffe_weights(ImageClassifier(), damaged)


def test_arrays_that_are_not_numbers(tmp_path: Path):
    for name, array in (("text", np.array(["a"])), ("objects", np.array([{}]))):
        np.savez(tmp_path / f"{name}.npz", array)
        with pytest.raises(InputError, match=rf"{name}\.npz: not a readable \.npz"):
            read_caffe_arrays(tmp_path / f"{name}.npz")
    np.save(tmp_path / "single.npy", np.zeros(3))
    (tmp_path / "single.npy").rename(tmp_path / "single.npz")
    with pytest.raises(InputError, match=r"single\.npz: not a readable \.npz"):
        read_caffe_arrays(tmp_path / "single.npz")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_damaged_archives_are_input_errors(tmp_path: Path, save):
    """With any byte changed: arrays, or an error of one line that names the file."""
    path = tmp_path / "w.npz"
    save(path, **{"a.weight": np.arange(12, dtype=np.float32).reshape(3, 4), "a.bias": np.zeros(3, np.float16)})
    good = path.read_bytes()
    for position in range(len(good)):
        for flip in (0x01, 0xFF):
            path.write_bytes(good[:position] + bytes([good[position] ^ flip]) + good[position + 1 :])
            try:
                arrays = read_caffe_arrays(path)
            except InputError as error:
                assert str(error).startswith(f"{path}: ")  # noqa: PT017
                assert "\n" not in str(error)  # noqa: PT017
            else:
                assert all(array.dtype == np.float32 for array in arrays.values())


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
