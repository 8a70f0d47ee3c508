"""R-CNN (Girshick et al., 2014): each region is cropped and passed through the whole network.

The features of a crop feed three kinds of heads: softmax over the background and the classes, fine-tuned with the
network; a linear SVM per class; ridge regression of the box per class.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detector.config import CropNetworkConfig, ScoringHead
from detector.models.backbones import make_backbone
from detector.ops.devices import without_denormals
from detector.ops.dropout import BatchDropout


@dataclass(frozen=True)
class CropFeatures:
    """Features and logits of R crops, the input of the SVMs and the box regression.

    Attributes:
        class_logits: (R, num_classes + 1); column 0 is the background.
        pooled: (R, C) features averaged over the crop.
        parts: (R, C * box_bins**2) features averaged over parts of the crop.
    """

    class_logits: Tensor
    pooled: Tensor
    parts: Tensor


class RCNN(nn.Module):
    """Scores and box deltas of crops.

    SVMs and box regression are fitted after the network is trained (`detector.training.rcnn_heads`), zero until then.
    """

    mean: Tensor
    std: Tensor
    svm_weight: Tensor
    svm_bias: Tensor
    box_weight: Tensor
    box_bias: Tensor

    def __init__(self, num_classes: int, config: CropNetworkConfig) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.backbone = make_backbone(config.backbone)
        channels = self.backbone.out_channels
        parts = channels * config.box_bins**2
        self.bins = config.box_bins
        self.dropout = BatchDropout(config.dropout)
        self.classifier = nn.Linear(channels, num_classes + 1)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)
        for name, color in (("mean", self.backbone.mean), ("std", self.backbone.std)):
            self.register_buffer(name, torch.tensor(color).view(3, 1, 1), persistent=False)
        self.register_buffer("svm_weight", torch.zeros(num_classes, channels))
        self.register_buffer("svm_bias", torch.zeros(num_classes))
        self.register_buffer("box_weight", torch.zeros(num_classes * 4, parts))
        self.register_buffer("box_bias", torch.zeros(num_classes * 4))

    def normalize(self, image: Tensor) -> Tensor:
        """(3, H, W) RGB in 0..255 -> normalized, as `detector.ops.crops.warp_windows` expects it."""
        return (image.float() - self.mean) / self.std

    def features(self, crops: Tensor) -> CropFeatures:
        """Features and logits of normalized crops (R, 3, size, size)."""
        with without_denormals():
            maps = self.backbone(crops).float()
        pooled = maps.mean(dim=(2, 3))
        return CropFeatures(self.classifier(pooled), pooled, F.adaptive_avg_pool2d(maps, self.bins).flatten(1))

    def forward(self, crops: Tensor) -> Tensor:
        """(R, 3, size, size) -> (R, num_classes + 1) logits, for training."""
        return self.classifier(self.dropout(self.backbone(crops).mean(dim=(2, 3))))

    def log_odds(self, features: CropFeatures, head: ScoringHead) -> Tensor:
        """(R, num_classes) scores before calibration: log-odds of the softmax, or margins of the SVMs."""
        if head == "svm":
            return F.linear(features.pooled, self.svm_weight, self.svm_bias)
        return features.class_logits.softmax(dim=1)[:, 1:].logit(eps=1e-6)

    def box_deltas(self, features: CropFeatures) -> Tensor:
        """(R, num_classes, 4) whitened box deltas from the region to an object of each class (`proposals.boxes`)."""
        return F.linear(features.parts, self.box_weight, self.box_bias).unflatten(1, (-1, 4))
