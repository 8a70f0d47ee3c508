"""Small networks of random weights, which are exported in seconds."""

import pytest
import torch
from torch import Tensor, nn

from detector.config import InputConfig, ModelConfig, NetworkConfig, PostprocessConfig
from detector.models.googlenet import Conv, LocalResponseNorm
from detector.models.rfcn import RFCN
from detector.models.weights import Model
from detector.ops.fused import max_pool, max_pool_around
from proposals.multibox.config import MultiBoxConfig
from tests.detector.inference.random_models import fill


class SmallBackbone(nn.Module):
    """Every kind of layer of GoogLeNet, few channels."""

    out_channels, stride, offset, mean, std = 12, 16, 14.5, (120.0, 110.0, 100.0), (1.0, 1.0, 1.0)

    def __init__(self) -> None:
        super().__init__()
        self.first = Conv(3, 8, 7, stride=4, padding=3)
        self.norm = LocalResponseNorm(8)
        self.second = Conv(8, 12, 3, padding=2, dilation=2)

    def forward(self, x: Tensor) -> Tensor:
        x = max_pool(self.norm(max_pool(self.first(x))))
        return self.second(max_pool_around(max_pool_around(x), 2))


def small_model(
    multibox: MultiBoxConfig | None = None,
    postprocess: PostprocessConfig | None = None,
    extra: int = 0,
    delta_bins: int | None = None,
) -> Model:
    """An R-FCN of two classes whose scores and boxes depend on the photo."""
    torch.manual_seed(0)
    config = ModelConfig(
        input=InputConfig(short_side=96, long_side=192),
        network=NetworkConfig(bins=3, delta_bins=delta_bins, multibox=multibox),
        postprocess=postprocess or PostprocessConfig(),
        multibox_boxes=20,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("detector.models.rfcn.make_backbone", lambda name, dense: SmallBackbone())
        network = RFCN(2, config.network, extra).eval()
    nn.init.normal_(network.score_conv.weight, std=0.05)
    if network.multibox is not None:
        fill(network.multibox)
        for layer in network.multibox.predict:  # confidences that differ
            layer.weight.data *= 0.05  # type: ignore[operator, union-attr]
    extras = tuple(f"extra {i}" for i in range(extra))
    return Model(network, config, ("cat", "dog"), {}, extras)
