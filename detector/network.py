"""The region classifier: one pass of GoogLeNet over the whole image, then a light head for every region."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detector.caffe import IMAGENET_MEAN
from detector.config import NetworkConfig
from detector.googlenet import Trunk
from detector.regions import Regions, pool_regions


@dataclass(frozen=True)
class RegionPredictions:
    """What the network says of R regions.

    Attributes:
        class_logits: (R, num_classes + 1) float32; column 0 is the background.
        offsets: (R, 4) float32, whitened offsets from the region to the object (`detector.boxes`).
    """

    class_logits: Tensor
    offsets: Tensor


class RegionClassifier(nn.Module):
    def __init__(self, num_classes: int, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.num_classes = num_classes
        self.trunk = Trunk(dense=True)
        outputs = num_classes + 1 + 4
        cells = config.bins * config.bins
        if config.head == "rfcn":
            self.maps = nn.Conv2d(self.trunk.out_channels, cells * outputs, 1)
            nn.init.normal_(self.maps.weight, std=0.01)
            nn.init.zeros_(self.maps.bias)
        else:
            ch = cells * config.channels if config.head == "light" else config.channels
            self.maps = nn.Conv2d(self.trunk.out_channels, ch, 1)
            nn.init.kaiming_normal_(self.maps.weight, nonlinearity="relu")
            nn.init.zeros_(self.maps.bias)
            self.hidden = nn.Linear(cells * config.channels, config.hidden)
            nn.init.kaiming_normal_(self.hidden.weight, nonlinearity="relu")
            nn.init.zeros_(self.hidden.bias)
            self.predict = nn.Linear(config.hidden, outputs)
            nn.init.normal_(self.predict.weight, std=0.01)
            nn.init.zeros_(self.predict.bias)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)

    def features(self, images: Tensor) -> Tensor:  # (B, 3, H, W) RGB 0..255 -> (B, h, w, C)
        x = (images - self.mean).contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            x = self.trunk.stem(x)
        x = self.maps(self.trunk.stage4_to_5(self.trunk.stage3(x))[2])
        if self.config.head == "align":
            x = F.relu(x)
        return x.permute(0, 2, 3, 1)

    def classify(self, maps: Tensor, regions: Regions) -> RegionPredictions:
        head = self.config.head
        pooled = pool_regions(
            maps, regions, self.trunk.stride, self.trunk.offset, self.config.bins, head != "align", head == "rfcn"
        )
        if head != "rfcn":
            pooled = self.predict(F.relu(self.hidden(pooled.flatten(1))))
        pooled = pooled.float()
        return RegionPredictions(pooled[:, : self.num_classes + 1], pooled[:, self.num_classes + 1 :])

    def forward(self, images: Tensor, regions: Regions) -> RegionPredictions:
        return self.classify(self.features(images), regions)
