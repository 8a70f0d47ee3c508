"""Backbones by name."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.fx.proxy import TraceError

from detector.errors import InputError
from detector.models.backbone import Backbone
from detector.models.googlenet import GoogLeNetBackbone
from proposals.names import unknown_name

# Center of cell 0 by family. Odd kernels with padding leave it at 0.5; unpadded pools and even kernels shift it.
_OFFSETS = {"googlenet": 22.5, "vgg": 16.0, "convnext": 16.0, "swin": 16.0}


def torchvision_network(name: str, pretrained: bool = False) -> nn.Module:
    """A classification network of torchvision.

    Args:
        name: as in `torchvision.models.get_model`: googlenet, resnet18, mobilenet_v3_large, ...
        pretrained: download torchvision's ImageNet weights.

    Raises:
        InputError: torchvision has no such network, or its weights cannot be downloaded.
    """
    from torchvision.models import get_model

    special: dict[str, Any] = {}
    if name == "googlenet":  # torchvision's weights include auxiliary heads
        special = {"transform_input": False, "aux_logits": pretrained}
        special |= {} if pretrained else {"init_weights": True}
    try:
        return get_model(name, weights="DEFAULT" if pretrained else None, **special)
    except ValueError:
        raise InputError(f"backbone 'torchvision/{name}': torchvision has no network of this name") from None
    except OSError as error:
        reason = f"its weights cannot be downloaded ({error}); go online"
        raise InputError(f"backbone 'torchvision/{name}': {reason}") from None


class TorchvisionBackbone(Backbone):
    """A classification network of torchvision without its last pool and classifier, at stride 32.

    torchvision's `googlenet` differs from the paper's: 3x3 for 5x5 convolutions, batch norm, no LRN, a 2x2 fourth pool.

    Args:
        name: of the network; its family determines the offset of the features.
        network: from `torchvision_network`.

    Raises:
        InputError: the network does not classify photos with features at stride 32.
    """

    stride = 32

    def __init__(self, name: str, network: nn.Module) -> None:
        super().__init__()
        from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

        try:
            nodes = get_graph_node_names(network.eval())[1]
            if "avgpool" not in nodes[1:]:
                raise InputError(f"backbone 'torchvision/{name}': has no last average pool, which marks the features")
            self.body = create_feature_extractor(network, {nodes[nodes.index("avgpool") - 1]: "features"})
            with torch.inference_mode():
                features = self.body(torch.zeros(1, 3, 224, 224))["features"]
        except (TraceError, TypeError, RuntimeError):
            raise InputError(f"backbone 'torchvision/{name}': does not classify photos") from None
        if features.shape[2:] != (7, 7):
            raise InputError(f"backbone 'torchvision/{name}': its features are not at stride 32")
        self.out_channels = features.shape[1]
        self.offset = next((offset for family, offset in _OFFSETS.items() if name.startswith(family)), 0.5)
        # googlenet's weights were trained on pixels / 127.5 - 1
        self.mean = (127.5,) * 3 if name == "googlenet" else (123.675, 116.28, 103.53)
        self.std = (127.5,) * 3 if name == "googlenet" else (58.395, 57.12, 57.375)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)["features"]


def make_backbone(name: str, dense: bool = False) -> Backbone:
    """A backbone with random weights.

    Args:
        name: `googlenet` (the paper's), `googlenet_bn` (with batch norm, without LRN) or `torchvision/NAME`.
        dense: features at stride 16 for the two GoogLeNets; torchvision's networks stay at 32.

    Raises:
        InputError: the name is unknown; the message lists the known ones.
    """
    if name.startswith("torchvision/"):
        name = name.removeprefix("torchvision/")
        return TorchvisionBackbone(name, torchvision_network(name))
    if name not in ("googlenet", "googlenet_bn"):
        raise InputError(unknown_name("backbone", name, ("googlenet", "googlenet_bn", "torchvision/NAME")))
    return GoogLeNetBackbone(dense, batch_norm=name == "googlenet_bn")
