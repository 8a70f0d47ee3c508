"""GoogLeNet as a classifier of whole images, against the sizes of the paper and BVLC's model."""

import pytest
import torch
from torch import nn

from detector.errors import InputError
from detector.models.classifier import ImageClassifier


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_parameter_counts():
    network = ImageClassifier(auxiliary=True)
    assert parameters(ImageClassifier()) == 6_998_552
    assert parameters(network) == 13_378_280
    assert parameters(network.auxiliary_4a) == 3_188_840
    assert parameters(network.auxiliary_4d) == 3_190_888


def test_multiply_adds():
    """1.58 G at 224 x 224, counted by hooks on every convolution and linear layer."""
    network, counted = ImageClassifier().eval(), 0

    def count(module: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        nonlocal counted
        counted += module.weight.numel() * (output[0, 0].numel() if output.ndim == 4 else 1)

    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.register_forward_hook(count)
    with torch.inference_mode():
        network(torch.zeros(1, 3, 224, 224))
    assert round(counted / 1e9, 2) == 1.58


@pytest.mark.parametrize("backbone", ["googlenet", "torchvision/resnet18"])
def test_input_is_normalized_for_the_backbone(backbone: str):
    """The network normalizes RGB in 0..255 itself."""
    torch.manual_seed(0)
    network = ImageClassifier(5, backbone).eval()
    images = torch.rand(2, 3, 64, 64) * 255
    mean, std = (torch.tensor(c).view(3, 1, 1) for c in (network.backbone.mean, network.backbone.std))
    with torch.inference_mode():
        features = network.backbone((images - mean) / std)
        expected = features.mean(dim=(2, 3)) @ network.classifier.weight.T + network.classifier.bias
        torch.testing.assert_close(network(images), expected, rtol=1e-4, atol=1e-5)


def test_auxiliary_heads_belong_to_googlenet():
    with pytest.raises(InputError, match="auxiliary"):
        ImageClassifier(5, "torchvision/resnet18", auxiliary=True)
