"""Backbones by name: their attributes match their features."""

from urllib.error import URLError

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from detector.config import CropNetworkConfig, NetworkConfig
from detector.errors import InputError
from detector.models.backbone import Backbone
from detector.models.backbones import make_backbone, torchvision_network
from detector.models.classifier import ImageClassifier
from detector.models.googlenet import IMAGENET_MEAN, GoogLeNetBackbone
from detector.models.rcnn import RCNN
from detector.models.rfcn import RFCN
from detector.structures.rois import RoIs

NAMES = ("googlenet", "googlenet_bn", "torchvision/googlenet", "torchvision/resnet18")


@pytest.fixture(params=[*NAMES, "googlenet dense", "googlenet_bn dense"])
def backbone(request: pytest.FixtureRequest) -> Backbone:
    name, *dense = request.param.split()
    return make_backbone(name, dense=bool(dense)).eval()


def test_channels_and_stride(backbone: Backbone):
    with torch.inference_mode():
        features = backbone(torch.rand(2, 3, 192, 256))
    assert features.shape[:2] == (2, backbone.out_channels)
    assert abs(features.shape[2] - 192 / backbone.stride) <= 1
    assert abs(features.shape[3] - 256 / backbone.stride) <= 1


def average_pool(
    x: Tensor, kernel_size: int, stride: int = 1, padding: int = 0, dilation: int = 1, ceil_mode=False, **_: bool
) -> Tensor:
    hang = int(ceil_mode and stride > 1)
    kernel = torch.full((x.shape[1], 1, kernel_size, kernel_size), 1 / kernel_size**2)
    x = F.pad(x, (padding, padding + hang, padding, padding + hang))
    return F.conv2d(x, kernel, stride=stride, dilation=dilation, groups=x.shape[1])


def receptive_field_center(backbone: Backbone, cell: int) -> list[float]:
    """x and y of the center of a cell's receptive field: the mean position of pixels weighted by the gradient."""
    x = torch.ones(1, 3, 480, 480, requires_grad=True)
    backbone(x)[0, :, cell, cell].sum().backward()
    gradient, position = x.grad[0].sum(dim=0).double(), torch.arange(480) + 0.5
    assert gradient.min() >= 0
    assert gradient.sum() > 0
    return [float((gradient.sum(dim=axis) * position).sum() / gradient.sum()) for axis in (0, 1)]


def test_offset_and_stride_match_the_receptive_fields(backbone: Backbone, monkeypatch: pytest.MonkeyPatch):
    """With equal weights and average pools, the receptive field of a cell is symmetric around its center."""
    monkeypatch.setattr(F, "max_pool2d", average_pool)
    for name, parameter in backbone.named_parameters():
        nn.init.constant_(parameter, 1 if "norm" in name or "bn" in name else 1e-3)
    if isinstance(backbone, GoogLeNetBackbone):
        backbone.norm1 = backbone.norm2 = nn.Identity()
    for cell in (224 // backbone.stride, 256 // backbone.stride):
        center = backbone.offset + backbone.stride * cell
        assert receptive_field_center(backbone, cell) == pytest.approx([center, center], abs=0.1)


@pytest.mark.parametrize(
    ("name", "offset"), [("vgg11", 16.0), ("convnext_tiny", 16.0), ("swin_t", 16.0), ("mobilenet_v3_small", 0.5)]
)
def test_offset_of_other_families(name: str, offset: float):
    """The center of the gradient's energy in random networks: less exact, but within half a cell."""
    torch.manual_seed(0)
    backbone, position = make_backbone(f"torchvision/{name}").eval(), torch.arange(224) + 0.5
    x = torch.randn(1, 3, 224, 224, requires_grad=True)
    backbone(x)[0, :, 3, 3].square().sum().backward()
    energy = x.grad[0].square().sum(dim=0)
    center = [float((energy.sum(dim=axis) * position).sum() / energy.sum()) - 3 * 32 for axis in (0, 1)]
    assert backbone.offset == offset
    assert center == pytest.approx([offset, offset], abs=7)


def test_colors():
    """Caffe's mean; torchvision's own in 0..255, and for its GoogLeNet pixels / 127.5 - 1."""
    assert (make_backbone("googlenet").mean, make_backbone("googlenet").std) == (IMAGENET_MEAN, (1, 1, 1))
    resnet = make_backbone("torchvision/resnet18")
    preset = torchvision.models.ResNet18_Weights.DEFAULT.transforms()
    assert resnet.mean == pytest.approx([255 * m for m in preset.mean])
    assert resnet.std == pytest.approx([255 * s for s in preset.std])
    googlenet = make_backbone("torchvision/googlenet")
    assert (googlenet.mean, googlenet.std) == ((127.5,) * 3, (127.5,) * 3)


def test_the_first_parts_can_be_frozen():
    def frozen() -> set[str]:
        return {name.split(".")[0] for name, p in backbone.named_parameters() if not p.requires_grad}

    backbone = make_backbone("googlenet")
    backbone.freeze_stem()
    assert frozen() == {"conv1", "conv2_reduce", "conv2"}
    backbone.freeze("inception_3a")
    assert frozen() == {"conv1", "conv2_reduce", "conv2", "inception_3a"}
    with pytest.raises(InputError, match="inception_3a"):
        backbone.freeze("inception3a")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("alexnet", "backbone 'alexnet' is unknown"),
        ("torchvision/lenet", "'torchvision/lenet': "),
        ("torchvision/alexnet", "'torchvision/alexnet': .*stride"),
        ("torchvision/squeezenet1_0", "'torchvision/squeezenet1_0': .*average pool"),
        ("torchvision/r3d_18", "'torchvision/r3d_18': "),
    ],
)
def test_networks_that_cannot_be_used(name: str, reason: str):
    with pytest.raises(InputError, match=reason) as caught:
        make_backbone(name)
    assert "\n" not in str(caught.value)


def test_weights_that_cannot_be_downloaded(monkeypatch: pytest.MonkeyPatch):
    def offline(name: str, **options: object) -> None:
        assert (name, options["weights"]) == ("resnet18", "DEFAULT")
        raise URLError("no route")

    monkeypatch.setattr(torchvision.models, "get_model", offline)
    with pytest.raises(InputError, match=r"'torchvision/resnet18': its weights cannot be downloaded .*route"):
        torchvision_network("resnet18", pretrained=True)


@pytest.mark.parametrize("name", ["googlenet_bn", "torchvision/resnet18"])
@torch.inference_mode()
def test_detection_networks_take_any_backbone(name: str):
    rois = RoIs.of_images([torch.tensor([[0.0, 0, 100, 90]]), torch.tensor([[20.0, 30, 60, 100]])])
    result = RFCN(3, NetworkConfig(backbone=name, bins=3)).eval()(torch.rand(2, 3, 128, 160) * 255, rois)
    assert (result.class_logits.shape, result.box_deltas.shape) == ((2, 4), (2, 4))
    crops = RCNN(3, CropNetworkConfig(backbone=name)).eval()
    assert crops(torch.rand(2, 3, 64, 64)).shape == (2, 4)
    whole = ImageClassifier(3, name).eval()
    logits = whole(torch.rand(2, 3, 64, 64) * 255)
    assert logits.shape == (2, 3)
    assert logits.isfinite().all()
