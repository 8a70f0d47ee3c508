"""Classification of whole images: GoogLeNet as in the paper, or a classifier on another backbone."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detector.errors import InputError
from detector.models.backbone import Backbone
from detector.models.backbones import make_backbone
from detector.models.googlenet import TABLE_1, Conv, GoogLeNetBackbone
from detector.ops.dropout import BatchDropout


class AuxiliaryHead(nn.Module):
    """Section 5's auxiliary classifier on 4a and 4d: 5x5/3 average pool, 1x1 convolution, two linear layers."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.conv = Conv(in_channels, 128, 1)
        self.fc = nn.Linear(128 * 4 * 4, 1024)
        self.dropout = BatchDropout(0.7)
        self.classifier = nn.Linear(1024, num_classes)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, 14, 14) -> (B, num_classes) logits
        x = F.avg_pool2d(x, 5, stride=3)
        if x.shape[2:] != (4, 4):
            raise InputError(
                "auxiliary heads need inputs of 224 pixels: set model.size to 224, or auxiliary_weight to 0"
            )
        x = self.conv(x)
        x = F.relu(self.fc(x.flatten(1)))
        return self.classifier(self.dropout(x))


class ImageClassifier(nn.Module):
    """A backbone, average pooling, 40 % dropout and one linear layer (GoogLeNet, Table 1).

    With GoogLeNet's backbone and 1,000 classes it has 6,998,552 parameters, 13,378,280 with the auxiliary heads. Takes
    (B, 3, 224, 224) RGB in 0..255 and gives (B, num_classes) logits, in training with `auxiliary` a tuple (main, head
    on 4a, head on 4d).

    Args:
        backbone: a name for `detector.models.backbones.make_backbone`, or the backbone itself.
        auxiliary: add GoogLeNet's auxiliary classifiers, which only training uses.

    Raises:
        InputError: the backbone is unknown, or is not GoogLeNet and `auxiliary` is set.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, num_classes: int = 1000, backbone: str | Backbone = "googlenet", auxiliary: bool = False
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.backbone = make_backbone(backbone) if isinstance(backbone, str) else backbone
        self.dropout = BatchDropout(0.4)
        self.classifier = nn.Linear(self.backbone.out_channels, num_classes)
        self.auxiliary_4a: AuxiliaryHead | None = None
        self.auxiliary_4d: AuxiliaryHead | None = None
        if auxiliary:
            if not isinstance(self.backbone, GoogLeNetBackbone):
                raise InputError("auxiliary heads belong to GoogLeNet; for another backbone set auxiliary_weight to 0")
            self.auxiliary_4a = AuxiliaryHead(TABLE_1["4a"].out_channels, num_classes)
            self.auxiliary_4d = AuxiliaryHead(TABLE_1["4d"].out_channels, num_classes)
        for name, color in (("mean", self.backbone.mean), ("std", self.backbone.std)):
            self.register_buffer(name, torch.tensor(color).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        x = ((images - self.mean) / self.std).to(next(self.backbone.parameters()).dtype)
        x = x.contiguous(memory_format=torch.channels_last)
        if self.training and self.auxiliary_4a is not None and self.auxiliary_4d is not None:
            assert isinstance(self.backbone, GoogLeNetBackbone)
            a, d, features = self.backbone.stage4_to_5(self.backbone.stage3(self.backbone.stem(x)))
            return self._classify(features), self.auxiliary_4a(a), self.auxiliary_4d(d)
        return self._classify(self.backbone(x))

    def _classify(self, features: Tensor) -> Tensor:  # (B, C, h, w) -> (B, num_classes)
        return self.classifier(self.dropout(features.mean(dim=(2, 3)).to(self.classifier.weight.dtype)))
