"""R-FCN (Dai et al., 2016) on GoogLeNet: one pass over the image, then position-sensitive RoI pooling.

A 1x1 convolution on the dense features gives a score map of every class and every box delta for each of bins x bins
parts of a region; a region's prediction is the mean over its parts. Scores and box deltas may have different bins.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from detector.config import NetworkConfig
from detector.models.backbones import make_backbone
from detector.ops.ps_roi_pool import ps_roi_pool
from detector.ops.transforms import normalize
from detector.structures.rois import RoIs
from proposals.multibox.network import MultiBoxHead


@dataclass(frozen=True)
class RegionPredictions:
    """Predictions for R regions.

    Attributes:
        class_logits: (R, num_classes + 1) float32; column 0 is the background.
        box_deltas: (R, 4) float32, whitened box deltas from the region to the object (`proposals.boxes`).
    """

    class_logits: Tensor
    box_deltas: Tensor


@dataclass(frozen=True)
class ImageMaps:
    """The output of one pass over B images.

    Attributes:
        features: (B, C, h, w) of the backbone, the input of a MultiBox head.
        score_maps: (B, h, w, channels), the input of RoI pooling; `RFCN.split_maps` says which channel is what.
    """

    features: Tensor
    score_maps: Tensor


class RFCN(nn.Module):
    """Scores and box deltas for any number of regions of an image from one pass of the backbone.

    `multibox`, if configured, proposes boxes from the same features.

    Args:
        extra_background_classes: number of further classes that the head distinguishes and that count as background,
            such as the former classes of a model that is trained on new ones.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, num_classes: int, config: NetworkConfig, extra_background_classes: int = 0) -> None:
        super().__init__()
        self.bins, self.delta_bins = config.bins, config.delta_bins
        self.num_classes = num_classes
        self.extra_background_classes = extra_background_classes
        self.backbone = make_backbone(config.backbone, dense=True)
        self.scores = 1 + num_classes + extra_background_classes
        channels = config.bins**2 * self.scores + (config.delta_bins or config.bins) ** 2 * 4
        self.score_conv = nn.Conv2d(self.backbone.out_channels, channels, 1)
        nn.init.normal_(self.score_conv.weight, std=0.01)
        assert self.score_conv.bias is not None
        nn.init.zeros_(self.score_conv.bias)
        self.multibox = None if config.multibox is None else MultiBoxHead(self.backbone.out_channels, config.multibox)
        for name, color in (("mean", self.backbone.mean), ("std", self.backbone.std)):
            self.register_buffer(name, torch.tensor(color).view(1, 3, 1, 1), persistent=False)

    def features(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in 0..255 -> the backbone's features (B, C, h, w)."""
        return self.backbone(normalize(images, self.mean, self.std))

    def score_maps(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, h, w, channels)."""
        return self.score_conv(features).permute(0, 2, 3, 1)

    def split_maps(self, maps: Tensor, dim: int) -> tuple[Tensor, Tensor]:
        """Splits the channels of score maps, or the weights that make them, along `dim`.

        Returns:
            (..., bins * bins, 1 + classes + extra background classes, ...), and the class-agnostic box deltas
            (..., bins * bins or delta_bins * delta_bins, 4, ...).
        """
        if self.delta_bins is None:
            scores, box_deltas = maps.unflatten(dim, (self.bins**2, -1)).split((self.scores, 4), dim + 1)
            return scores, box_deltas
        scores, box_deltas = maps.split((self.bins**2 * self.scores, self.delta_bins**2 * 4), dim)
        return scores.unflatten(dim, (self.bins**2, -1)), box_deltas.unflatten(dim, (self.delta_bins**2, -1))

    def join_maps(self, scores: Tensor, box_deltas: Tensor, dim: int) -> Tensor:
        """The inverse of `split_maps`."""
        if self.delta_bins is None:
            return torch.cat((scores, box_deltas), dim + 1).flatten(dim, dim + 1)
        return torch.cat((scores.flatten(dim, dim + 1), box_deltas.flatten(dim, dim + 1)), dim)

    def classify(self, maps: Tensor, rois: RoIs) -> RegionPredictions:
        """Predictions for RoIs from the score maps (B, h, w, channels) of their images."""
        stride, offset = self.backbone.stride, self.backbone.offset
        if self.delta_bins is None:  # one pooling for both
            pooled = ps_roi_pool(maps, rois, stride, offset, self.bins)
            scores, box_deltas = pooled.split((self.scores, 4), dim=1)
        else:
            parts = maps.split((self.bins**2 * self.scores, self.delta_bins**2 * 4), dim=3)
            scores, box_deltas = (
                ps_roi_pool(part, rois, stride, offset, bins)
                for part, bins in zip(parts, (self.bins, self.delta_bins), strict=True)
            )
        logits, extra = scores.split((self.num_classes + 1, self.extra_background_classes), dim=1)
        if self.extra_background_classes:
            background = torch.cat((logits[:, :1], extra), dim=1).logsumexp(dim=1, keepdim=True)
            logits = torch.cat((background, logits[:, 1:]), dim=1)
        return RegionPredictions(logits, box_deltas)

    def forward(self, images: Tensor, rois: RoIs) -> RegionPredictions:
        return self.classify(self.score_maps(self.features(images)), rois)
