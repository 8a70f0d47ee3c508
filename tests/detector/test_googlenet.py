"""Table 1 of 'Going deeper with convolutions', and the layers against torch's own."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from detector.caffe import TRUNK_LAYERS, load_caffe_weights
from detector.errors import InputError
from detector.googlenet import IMAGENET_MEAN, TABLE_1, GoogLeNet, LocalResponseNorm, Trunk, max_pool
from detector.images import read_image


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_parameter_counts():
    network = GoogLeNet(auxiliary=True)
    assert parameters(GoogLeNet()) == 6_998_552
    assert parameters(network) == 13_378_280
    assert parameters(network.auxiliary_4a) == 3_188_840
    assert parameters(network.auxiliary_4d) == 3_190_888


def test_module_outputs_follow_table_1():
    expected = [256, 480, 512, 512, 512, 528, 832, 832, 1024]
    assert [w.out_channels for w in TABLE_1.values()] == expected


def test_stages_have_the_papers_sizes():
    trunk = Trunk()
    x = torch.zeros(1, 3, 224, 224)
    stem = trunk.stem(x)
    assert stem.shape == (1, 192, 28, 28)
    stage3 = trunk.stage3(stem)
    assert stage3.shape == (1, 480, 14, 14)
    a, d, features = trunk.stage4_to_5(stage3)
    assert (a.shape[1:], d.shape[1:], features.shape[1:]) == ((512, 14, 14), (528, 14, 14), (1024, 7, 7))


def test_multiply_adds():
    """1.58 G at 224 x 224, counted by hooks on every convolution and linear layer."""
    network, counted = GoogLeNet().eval(), 0

    def count(module: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        nonlocal counted
        counted += module.weight.numel() * (output[0, 0].numel() if output.ndim == 4 else 1)

    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.register_forward_hook(count)
    with torch.inference_mode():
        network(torch.zeros(1, 3, 224, 224))
    assert round(counted / 1e9, 2) == 1.58


def test_training_gives_three_outputs_and_testing_one():
    network = GoogLeNet(num_classes=7, auxiliary=True)
    x = torch.zeros(2, 3, 224, 224)
    assert [tuple(y.shape) for y in network.train()(x)] == [(2, 7)] * 3
    assert network.eval()(x).shape == (2, 7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_lrn_equals_torchs(dtype: torch.dtype):
    x = torch.randn(2, 9, 5, 6, dtype=dtype).abs() * 100
    expected = nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0)(x)
    torch.testing.assert_close(LocalResponseNorm(9).to(dtype)(x), expected)


@pytest.mark.parametrize(("size", "expected"), [(4, 2), (5, 2), (6, 3), (112, 56), (113, 56)])
def test_max_pool_is_caffes(size: int, expected: int):
    """ceil((size - 3) / 2) + 1 outputs; the last window may hang over the edge."""
    x = torch.arange(size * size, dtype=torch.float32).view(1, 1, size, size)
    pooled = max_pool(x)
    assert pooled.shape[-1] == expected
    assert pooled[0, 0, -1, -1] == x.max()
    assert pooled[0, 0, 0, 0] == x[0, 0, :3, :3].max()


def test_dense_trunk_contains_the_strided_one():
    """Dilation in 5a and 5b makes the stride-16 features equal the stride-32 ones wherever both exist.

    Only cells whose field of view stays inside can agree exactly: at the border Caffe's ceil-mode pool and the
    padded 3x3/1 pool see different things. The pooled maps are aligned by one cell: output i of the 3x3/2 pool
    is centred where output 2 i + 1 of the 3x3/1 pool is.
    """
    torch.manual_seed(0)
    strided, dense = Trunk().eval(), Trunk(dense=True).eval()
    for p in strided.parameters():
        nn.init.normal_(p, std=0.05)
    dense.load_state_dict(strided.state_dict())
    x = torch.randn(1, 3, 480, 480) * 50
    with torch.inference_mode():
        a, b = strided(x), dense(x)
    assert dense.stride == strided.stride // 2
    assert dense.offset + dense.stride == strided.offset
    inner = slice(6, 9)
    aligned = b[:, :, 1::2, 1::2][:, :, : a.shape[2], : a.shape[3]]
    torch.testing.assert_close(aligned[:, :, inner, inner], a[:, :, inner, inner], rtol=1e-4, atol=1e-5)


def average_pool(x: torch.Tensor, size: int, stride: int = 1, padding: int = 0, dilation: int = 1, ceil_mode=False):
    channels, hang = x.shape[1], 1 if ceil_mode else 0
    kernel = torch.full((channels, 1, size, size), 1 / size**2)
    x = F.pad(x, (padding, padding + hang, padding, padding + hang))
    return F.conv2d(x, kernel, stride=stride, dilation=dilation, groups=channels)


@pytest.mark.parametrize("dense", [False, True])
def test_offset_is_the_centre_of_a_cells_field_of_view(dense: bool, monkeypatch: pytest.MonkeyPatch):
    """With even weights and pools that average, cell i sees the pixels symmetrically about offset + stride * i."""
    monkeypatch.setattr(F, "max_pool2d", average_pool)
    trunk = Trunk(dense=dense)
    for p in trunk.parameters():
        nn.init.constant_(p, 1e-3)
    trunk.lrn = nn.Identity()
    x = torch.ones(1, 3, 640, 640, requires_grad=True)
    cell = 10 if not dense else 20
    trunk(x)[0, :, cell, cell].sum().backward()
    seen = x.grad[0].sum(dim=(0, 1)).double()
    centre = (seen * (torch.arange(640) + 0.5)).sum() / seen.sum()
    assert float(centre) == pytest.approx(trunk.offset + trunk.stride * cell, abs=0.1)


def npz(path: Path, network: GoogLeNet, skip: str = "") -> Path:
    arrays = {}
    for caffe, name in {**TRUNK_LAYERS, "loss3/classifier": "classifier"}.items():
        module = network.get_submodule(name if name == "classifier" else f"trunk.{name}")
        weight = module.weight.detach()
        arrays[f"{caffe}.weight"] = (weight.flip(1) if caffe == "conv1/7x7_s2" else weight).half().numpy()
        arrays[f"{caffe}.bias"] = module.bias.detach().half().numpy()
    arrays.pop(skip, None)
    np.savez(path, **arrays)
    return path


def test_caffe_weights_load_with_colours_in_order(tmp_path: Path):
    source, target = GoogLeNet(), GoogLeNet()
    load_caffe_weights(target, npz(tmp_path / "w.npz", source))
    for (name, a), b in zip(source.named_parameters(), target.parameters(), strict=True):
        torch.testing.assert_close(a.half().float(), b, rtol=0, atol=0, msg=name)


def test_caffe_weights_errors_name_file_and_array(tmp_path: Path):
    with pytest.raises(InputError, match=r"none\.npz: no such"):
        load_caffe_weights(Trunk(), tmp_path / "none.npz")
    path = npz(tmp_path / "w.npz", GoogLeNet(), skip="inception_4c/5x5.bias")
    with pytest.raises(InputError, match=r"w\.npz: array 'inception_4c/5x5\.bias' is missing"):
        load_caffe_weights(Trunk(), path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(InputError, match=r"w\.npz: not a readable"):
        load_caffe_weights(Trunk(), path)
    other = npz(tmp_path / "other.npz", GoogLeNet(num_classes=5))
    with pytest.raises(InputError, match=r"loss3/classifier\.weight' has shape \(5, 1024\), not \(1000, 1024\)"):
        load_caffe_weights(GoogLeNet(), other)


@pytest.mark.skipif(
    not {"IMAGENET_SAMPLES", "BVLC_WEIGHTS"} <= os.environ.keys(),
    reason="needs IMAGENET_SAMPLES, a folder of photos, and BVLC_WEIGHTS, the .npz",
)
def test_reference_weights_give_the_known_hits():
    """BVLC's weights: 155 top-1 and 186 top-5 hits on the 200 sample photos (centre crop 224)."""
    weights = Path(os.environ["BVLC_WEIGHTS"])
    photos = sorted(Path(os.environ["IMAGENET_SAMPLES"]).glob("*.jpg"))
    synsets = [line.split()[0] for line in (weights.parent / "synset_words.txt").read_text().splitlines()]
    network = GoogLeNet().eval()
    load_caffe_weights(network, weights)
    top1 = top5 = 0
    for photo in photos:
        image = read_image(photo)
        y, x = (image.height - 224) // 2, (image.width - 224) // 2
        crop = image.pixels[y : y + 224, x : x + 224].astype(np.float32) - np.float32(IMAGENET_MEAN)
        with torch.inference_mode():
            best = network(torch.from_numpy(crop).permute(2, 0, 1)[None])[0].topk(5).indices.tolist()
        truth = synsets.index(photo.name.split("_")[0])
        top1, top5 = top1 + (best[0] == truth), top5 + (truth in best)
    assert (len(photos), top1, top5) == (200, 155, 186)
