"""MultiBox's network: a head on the features of a backbone."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from proposals.boxes import decode_boxes
from proposals.multibox.config import MultiBoxConfig

# The global form averages the features over _CELLS x _CELLS parts of the image.
_CELLS = 7
# Few priors match an object, so a head that started at one half would first have to learn that.
_INITIAL_CONFIDENCE = 0.01


@dataclass(frozen=True)
class MultiBoxPredictions:
    """The head's float32 outputs for B images.

    Attributes:
        box_deltas: (B, K, 4), from each prior to its box.
        logits: (B, K), of the confidence that the box contains an object.
    """

    box_deltas: Tensor
    logits: Tensor


class MultiBoxHead(nn.Module):
    """Predicts K boxes with confidences from the features of whole images.

    The buffer `priors` (K, 4), xyxy as fractions of the image's sides, is saved with the weights. Set it for a new head
    with `set_priors` (see `proposals.multibox.priors.make_priors`).

    Args:
        in_channels: number of channels of the features.
    """

    priors: Tensor

    def __init__(self, in_channels: int, config: MultiBoxConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("priors", torch.zeros(config.boxes, 4))
        self.reduce = nn.Conv2d(in_channels, config.channels, 1)
        layers: list[nn.Linear | nn.Conv2d]
        if config.form == "global":
            layers = [nn.Linear(config.channels * _CELLS**2, config.priors * 5)]
        else:
            self.mix = nn.Conv2d(config.channels, config.channels, 3, padding=1)
            # each cell sees its 3x3 parts, which locate an object within the cell
            layers = [nn.Conv2d(config.channels, config.cell_priors(g) * 5, 3, stride=3) for g in config.grids]
        hidden = [self.reduce] if config.form == "global" else [self.reduce, self.mix]
        for convolution in hidden:
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
            assert convolution.bias is not None
            nn.init.zeros_(convolution.bias)
        for layer in layers:
            nn.init.normal_(layer.weight, std=0.001)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
            layer.bias.data.view(-1, 5)[:, 4] = math.log(_INITIAL_CONFIDENCE / (1 - _INITIAL_CONFIDENCE))
        self.predict = nn.ModuleList(layers)

    def set_priors(self, priors: Tensor) -> None:
        """Sets the priors (K, 4), xyxy as fractions of the image's sides.

        Raises:
            ValueError: the shape is wrong or a box has no area.
        """
        if priors.shape != self.priors.shape:
            raise ValueError(f"priors must have the shape {tuple(self.priors.shape)}, not {tuple(priors.shape)}")
        if not (priors[:, 2:] > priors[:, :2]).all():
            raise ValueError("priors: a box has no area")
        self.priors.copy_(priors)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> "MultiBoxHead":
        """Keeps the priors in float32 when the layers change their dtype, for example by `to(torch.bfloat16)`."""
        priors = self.priors
        super()._apply(fn, recurse)
        self.priors = priors.to(self.priors.device)
        return self

    def forward(self, features: Tensor) -> MultiBoxPredictions:
        """Predicts from features (B, in_channels, h, w)."""
        x = F.relu(self.reduce(features))
        if self.config.form == "global":
            flat = _average(x, _CELLS).flatten(1)
            outputs = self.predict[0](flat).view(len(x), -1, 5)
        else:
            x = F.relu(self.mix(x))
            # (B, shapes * 5, g, g) -> (B, g * g * shapes, 5), the order of the priors
            outputs = torch.cat(
                [
                    layer(_average(x, 3 * grid)).permute(0, 2, 3, 1).reshape(len(x), -1, 5)
                    for grid, layer in zip(self.config.grids, self.predict, strict=True)
                ],
                dim=1,
            )
        outputs = outputs.float()
        return MultiBoxPredictions(outputs[..., :4], outputs[..., 4])

    def boxes(self, box_deltas: Tensor) -> Tensor:
        """Decodes `box_deltas` (B, K, 4) to xyxy fractions of the image's sides; boxes may exceed the image."""
        priors = self.priors.to(box_deltas).expand_as(box_deltas)
        if self.config.coordinates == "corners":
            return priors + box_deltas
        return decode_boxes(priors.reshape(-1, 4), box_deltas.reshape(-1, 4)).view_as(box_deltas)


def _average(x: Tensor, cells: int) -> Tensor:
    """Averages (B, C, H, W) over cells x cells parts of about the same size: (B, C, cells, cells)."""
    if not torch.compiler.is_exporting():
        return F.adaptive_avg_pool2d(x, cells)
    # The same as two matrix products, because ONNX has no such pool.
    rows, columns = (_shares(cells, size, x.device) for size in x.shape[2:])
    return rows @ x @ columns.T


def _shares(cells: int, size: int, device: torch.device) -> Tensor:
    """The share of each of `size` values in the average of each part, (cells, size)."""
    index, values = torch.arange(cells, device=device), torch.arange(size, device=device)
    low, high = index * size // cells, ((index + 1) * size + cells - 1) // cells
    inside = (values >= low[:, None]) & (values < high[:, None])
    return inside.float() / (high - low)[:, None]


class MultiBox(nn.Module):
    """A complete MultiBox network: a backbone and a head.

    Args:
        backbone: maps normalized images (B, 3, H, W) to features; has the attributes `out_channels`, and `mean` and
            `std` (RGB, in 0..255).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: nn.Module, config: MultiBoxConfig) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = MultiBoxHead(backbone.out_channels, config)  # type: ignore[arg-type]
        for name in ("mean", "std"):
            color = torch.tensor(getattr(backbone, name)).view(1, 3, 1, 1)
            self.register_buffer(name, color, persistent=False)

    def forward(self, images: Tensor) -> MultiBoxPredictions:
        """Predicts from images (B, 3, H, W), RGB in 0..255."""
        x = ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        return self.head(self.backbone(x))
