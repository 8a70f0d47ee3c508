"""The region classifier: one pass of GoogLeNet over the whole image, then position-sensitive votes for each region.

R-FCN (Dai et al., 2016) on GoogLeNet: one 1x1 convolution on the dense features gives, for each of bins x bins parts
of a region, a map of every class score and every box offset; a region's prediction is the average of its parts.
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
    """What the network says of R regions.

    Attributes:
        class_logits: (R, num_classes + 1) float32; column 0 is the background.
        box_deltas: (R, 4) float32, whitened box_deltas from the region to the object (`proposals.boxes`).
    """

    class_logits: Tensor
    box_deltas: Tensor


@dataclass(frozen=True)
class ImageMaps:
    """What the pass gives for B images.

    Attributes:
        features: (B, C, h, w) of the backbone, from which a MultiBox head proposes.
        score_maps: (B, h, w, bins * bins * (classes + 1 + 4)), from which regions are scored.
    """

    features: Tensor
    score_maps: Tensor


class RFCN(nn.Module):
    """Scores and box deltas for any number of regions of an image from one pass of the backbone.

    `multibox`, if the configuration has one, proposes boxes from the same features.

    Args:
        extra_background_classes: number of further classes that the head tells apart and that count as background, such
            as those that a model knew before it was trained on new ones.
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

    def classify(self, maps: Tensor, regions: RoIs) -> RegionPredictions:
        """Predictions for regions of the images whose maps these are."""
        pooled = ps_roi_pool(maps, regions, self.backbone.stride, self.backbone.offset, self.bins)
        logits, extra, box_deltas = pooled.split((self.num_classes + 1, self.extra_background_classes, 4), dim=1)
        if self.extra_background_classes:
            background = torch.cat((logits[:, :1], extra), dim=1).logsumexp(dim=1, keepdim=True)
            logits = torch.cat((background, logits[:, 1:]), dim=1)
        return RegionPredictions(logits, box_deltas)

    def forward(self, images: Tensor, regions: RoIs) -> RegionPredictions:
        return self.classify(self.score_maps(self.features(images)), regions)
