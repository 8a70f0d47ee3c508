"""R-FCN (Dai et al., 2016) on GoogLeNet: one pass over the image, then position-sensitive RoI pooling.

A 1x1 convolution on the dense features gives a score map of every class and every box delta for each of bins x bins
parts of a region; a region's prediction is the mean over its parts.
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
        score_maps: (B, h, w, bins * bins * (1 + classes + extra background classes + 4)), the input of RoI pooling.
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
        self.bins = config.bins
        self.num_classes = num_classes
        self.extra_background_classes = extra_background_classes
        self.backbone = make_backbone(config.backbone, dense=True)
        outputs = 1 + num_classes + extra_background_classes + 4  # background, classes, class-agnostic box deltas
        self.score_conv = nn.Conv2d(self.backbone.out_channels, config.bins**2 * outputs, 1)
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
        """(B, C, h, w) -> (B, h, w, bins * bins * outputs)."""
        return self.score_conv(features).permute(0, 2, 3, 1)

    def classify(self, maps: Tensor, rois: RoIs) -> RegionPredictions:
        """Predictions for RoIs from the score maps (B, h, w, bins * bins * outputs) of their images."""
        pooled = ps_roi_pool(maps, rois, self.backbone.stride, self.backbone.offset, self.bins)
        logits, extra, box_deltas = pooled.split((self.num_classes + 1, self.extra_background_classes, 4), dim=1)
        if self.extra_background_classes:
            background = torch.cat((logits[:, :1], extra), dim=1).logsumexp(dim=1, keepdim=True)
            logits = torch.cat((background, logits[:, 1:]), dim=1)
        return RegionPredictions(logits, box_deltas)

    def forward(self, images: Tensor, rois: RoIs) -> RegionPredictions:
        return self.classify(self.score_maps(self.features(images)), rois)
