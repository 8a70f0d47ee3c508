"""GoogLeNet, following Table 1 of 'Going deeper with convolutions' (arXiv 1409.4842).

Every convolution, including reductions and projections, has a bias and is followed by ReLU; there is no batch norm. Max
pools are Caffe's: ceil mode, no padding. Modules and parameters are named after the BVLC Caffe model: its
`inception_3a/3x3_reduce` is `inception_3a.conv3x3_reduce` here (`detector.models.caffe`).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detector.models.backbone import Backbone
from detector.ops.fused import conv_relu, max_pool, max_pool_around, response_norm

IMAGENET_MEAN = (123.0, 117.0, 104.0)
"""Mean of the training images in RGB, 0..255 (Caffe: BGR 104, 117, 123)."""


@dataclass(frozen=True)
class InceptionWidths:
    """One row of Table 1: output channels of each convolution of an inception module."""

    in_channels: int
    conv1x1: int
    conv3x3_reduce: int
    conv3x3: int
    conv5x5_reduce: int
    conv5x5: int
    pool_proj: int

    @property
    def out_channels(self) -> int:
        return self.conv1x1 + self.conv3x3 + self.conv5x5 + self.pool_proj


TABLE_1 = {
    "3a": InceptionWidths(192, 64, 96, 128, 16, 32, 32),
    "3b": InceptionWidths(256, 128, 128, 192, 32, 96, 64),
    "4a": InceptionWidths(480, 192, 96, 208, 16, 48, 64),
    "4b": InceptionWidths(512, 160, 112, 224, 24, 64, 64),
    "4c": InceptionWidths(512, 128, 128, 256, 24, 64, 64),
    "4d": InceptionWidths(512, 112, 144, 288, 32, 64, 64),
    "4e": InceptionWidths(528, 256, 160, 320, 32, 128, 128),
    "5a": InceptionWidths(832, 256, 160, 320, 32, 128, 128),
    "5b": InceptionWidths(832, 384, 192, 384, 48, 128, 128),
}


class LocalResponseNorm(nn.Module):
    """LRN across channels with the paper's size 5, alpha 1e-4, beta 0.75, k 1; equals `nn.LocalResponseNorm(5)`."""

    band: Tensor
    bias: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        index = torch.arange(channels)
        band = ((index[:, None] - index).abs() <= 2).float() * (1e-4 / 5)
        self.register_buffer("band", band[:, :, None, None], persistent=False)
        self.register_buffer("bias", torch.ones(channels), persistent=False)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H, W)
        return response_norm(x, self.band, self.bias)


class Conv(nn.Conv2d):
    """Convolution with bias and ReLU."""

    def forward(self, x: Tensor) -> Tensor:
        return conv_relu(self, x)


class NormalizedConv(nn.Conv2d):
    """Convolution with batch norm (Ioffe and Szegedy, 2015) in place of the bias, and ReLU."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, **geometry: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size, bias=False, **geometry)  # type: ignore[arg-type]
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(super().forward(x)), inplace=True)


class Inception(nn.Module):
    """The four parallel branches of Figure 2(b), concatenated over channels.

    `dilation` > 1 spreads the 3x3 and 5x5 convolutions and the pool of a module that runs at a finer stride than it was
    trained at, so that its filters see features at the same spacing.
    """

    def __init__(
        self, widths: InceptionWidths, dilation: int = 1, conv: type[Conv] | type[NormalizedConv] = Conv
    ) -> None:
        super().__init__()
        w, d = widths, dilation
        self.dilation = dilation
        self.conv1x1 = conv(w.in_channels, w.conv1x1, 1)
        self.conv3x3_reduce = conv(w.in_channels, w.conv3x3_reduce, 1)
        self.conv3x3 = conv(w.conv3x3_reduce, w.conv3x3, 3, padding=d, dilation=d)
        self.conv5x5_reduce = conv(w.in_channels, w.conv5x5_reduce, 1)
        self.conv5x5 = conv(w.conv5x5_reduce, w.conv5x5, 5, padding=2 * d, dilation=d)
        self.pool_proj = conv(w.in_channels, w.pool_proj, 1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = max_pool_around(x, self.dilation)  # x is not negative after ReLU, LRN and pools
        a, b, c = self.conv1x1(x), self.conv3x3(self.conv3x3_reduce(x)), self.conv5x5(self.conv5x5_reduce(x))
        return torch.cat((a, b, c, self.pool_proj(pooled)), dim=1)


class GoogLeNetBackbone(Backbone):
    """The convolutional part of GoogLeNet: mean-subtracted images to features.

    Args:
        dense: drop the fourth stride (the pool before 5a becomes 3x3/1) and dilate 5a and 5b by 2, for features at
            stride 16 instead of 32, each with the receptive field it was trained with. Caffe's unpadded pools then put
            the center of cell 0 at pixel 14.5, not at half a stride.
        batch_norm: batch norm in every convolution and no LRN: not the paper's network, but easier to train from
            scratch.
    """

    out_channels = 1024
    mean = IMAGENET_MEAN
    inception_3a: Inception
    inception_3b: Inception
    inception_4a: Inception
    inception_4b: Inception
    inception_4c: Inception
    inception_4d: Inception
    inception_4e: Inception
    inception_5a: Inception
    inception_5b: Inception

    def __init__(self, dense: bool = False, batch_norm: bool = False) -> None:
        super().__init__()
        self.dense = dense
        conv = NormalizedConv if batch_norm else Conv
        self.stride, self.offset = (16, 14.5) if dense else (32, 30.5)
        self.conv1 = conv(3, 64, 7, stride=2, padding=3)
        self.conv2_reduce = conv(64, 64, 1)
        self.conv2 = conv(64, 192, 3, padding=1)
        self.norm1 = nn.Identity() if batch_norm else LocalResponseNorm(64)
        self.norm2 = nn.Identity() if batch_norm else LocalResponseNorm(192)
        for name, widths in TABLE_1.items():
            dilation = 2 if dense and name.startswith("5") else 1
            self.add_module(f"inception_{name}", Inception(widths, dilation, conv))

    def freeze_stem(self) -> None:
        """Excludes the convolutions before the inception modules from training."""
        for conv in (self.conv1, self.conv2_reduce, self.conv2):
            conv.requires_grad_(False)

    def stem(self, x: Tensor) -> Tensor:  # (B, 3, H, W) -> (B, 192, H/8, W/8)
        x = self.norm1(max_pool(self.conv1(x)))
        return max_pool(self.norm2(self.conv2(self.conv2_reduce(x))))

    def stage3(self, x: Tensor) -> Tensor:  # (B, 192, H/8, W/8) -> (B, 480, H/16, W/16)
        return max_pool(self.inception_3b(self.inception_3a(x)))

    def stage4_to_5(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 480, H/16, W/16) -> outputs of 4a (512 channels) and 4d (528), and the features (1024)."""
        a = self.inception_4a(x)
        d = self.inception_4d(self.inception_4c(self.inception_4b(a)))
        e = self.inception_4e(d)
        pooled = max_pool_around(e) if self.dense else max_pool(e)
        return a, d, self.inception_5b(self.inception_5a(pooled))

    def forward(self, x: Tensor) -> Tensor:  # (B, 3, H, W) -> (B, 1024, ~H/stride, ~W/stride)
        return self.stage4_to_5(self.stage3(self.stem(x)))[2]
