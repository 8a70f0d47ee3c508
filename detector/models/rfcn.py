"""The region classifier: one pass of GoogLeNet over the whole image, then position-sensitive votes for each region.

R-FCN (Dai et al., 2016) on GoogLeNet: one 1x1 convolution on the dense features gives, for each of bins x bins parts
of a region, a map of every class score and every box offset; a region's prediction is the average of its parts.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from detector.config import NetworkConfig
from detector.models.backbones import make_backbone
from detector.ops.transforms import normalise
from detector.structures.rois import Regions, pool_votes
from proposals.multibox.network import MultiBoxHead


@dataclass(frozen=True)
class RegionPredictions:
    """What the network says of R regions.

    Attributes:
        class_logits: (R, num_classes + 1) float32; column 0 is the background.
        offsets: (R, 4) float32, whitened offsets from the region to the object (`proposals.boxes`).
    """

    class_logits: Tensor
    offsets: Tensor


@dataclass(frozen=True)
class ImageMaps:
    """What the pass gives for B images.

    Attributes:
        features: (B, C, h, w) of the trunk, from which a MultiBox head proposes.
        votes: (B, h, w, bins * bins * (classes + 1 + 4)), from which regions are scored.
    """

    features: Tensor
    votes: Tensor


class RegionClassifier(nn.Module):
    """Scores and box offsets for any number of regions of an image from one pass of the trunk.

    `multibox`, if the configuration has one, proposes boxes from the same features.

    Args:
        others: further classes that the head tells from each other and that count as background, such as those that a
            model knew before it was trained on other ones: its background is then "none, or one of these".
    """

    mean: Tensor
    std: Tensor

    def __init__(self, num_classes: int, config: NetworkConfig, others: int = 0) -> None:
        super().__init__()
        self.bins = config.bins
        self.num_classes = num_classes
        self.others = others
        self.trunk = make_backbone(config.backbone, dense=True)
        votes = 1 + num_classes + others + 4  # background, classes, other classes, class-agnostic offsets
        self.maps = nn.Conv2d(self.trunk.out_channels, config.bins**2 * votes, 1)
        nn.init.normal_(self.maps.weight, std=0.01)
        assert self.maps.bias is not None
        nn.init.zeros_(self.maps.bias)
        self.multibox = None if config.multibox is None else MultiBoxHead(self.trunk.out_channels, config.multibox)
        for name, colour in (("mean", self.trunk.mean), ("std", self.trunk.std)):
            self.register_buffer(name, torch.tensor(colour).view(1, 3, 1, 1), persistent=False)

    def features(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in 0..255 -> the trunk's features (B, C, h, w)."""
        return self.trunk(normalise(images, self.mean, self.std))

    def vote_maps(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, h, w, bins * bins * votes)."""
        return self.maps(features).permute(0, 2, 3, 1)

    def classify(self, maps: Tensor, regions: Regions) -> RegionPredictions:
        """Predictions for regions of the images whose maps these are."""
        votes = pool_votes(maps, regions, self.trunk.stride, self.trunk.offset, self.bins)
        logits, others, offsets = votes.split((self.num_classes + 1, self.others, 4), dim=1)
        if self.others:
            background = torch.cat((logits[:, :1], others), dim=1).logsumexp(dim=1, keepdim=True)
            logits = torch.cat((background, logits[:, 1:]), dim=1)
        return RegionPredictions(logits, offsets)

    def forward(self, images: Tensor, regions: Regions) -> RegionPredictions:
        return self.classify(self.vote_maps(self.features(images)), regions)
