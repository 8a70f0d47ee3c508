"""Training from image labels alone, which say what classes a photo shows and not where.

Two streams of score maps, a and b, find the regions that explain the labels (WSDDN: Bilen and Vedaldi, 'Weakly
supervised deep detection networks', 2016, sections 3.2 and 3.3). For region r and class c:

    x[r, c]  = softmax over the classes of a[r, :]  *  softmax over the photo's regions of b[:, c]
    photo[c] = sum over the regions of x[r, c]
    loss     = sum over the classes of the binary cross entropy of photo[c] and the label

They find the part that tells a class best, such as a head. K classifiers with a background refine that, each by the
one before (OICR: Tang et al., 'Multiple instance detection network with online instance classifier refinement', 2017,
section 3.2), with s_0 = x and s_k the softmax of the kth. For each class of the photo the region of the highest s_{k-1}
is taken for an object, and regions that overlap it by an IoU of 0.5 belong to it:

    loss_k   = mean of  w * cross entropy  over the objects' regions, and over the hardest regions of the background

where w is s_{k-1} of the object (equation 4), for the first classifier photo[c], and that of the surest object for the
background. The last classifier is the R-FCN's own, and its box deltas learn the same objects. A network that was
trained with boxes of other classes knows objects: then log(1 - background) is added to b.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detector.config import NetworkConfig
from detector.models.rfcn import RFCN
from detector.ops.ps_roi_pool import ps_roi_pool
from detector.structures.rois import RoIs
from detector.training.targets import RegionTargets, hardest, match_regions

REFINEMENTS = 3
MAX_REGIONS = 1000
"""Regions of a photo that are trained, all at once; the best proposals come first."""
_BACKGROUND = 128
"""Hardest background regions of a photo that are trained."""
_EPSILON = 1e-6
_TRAINING_ONLY = ("streams", "objectness", "has_objectness")


class ImageLabelRFCN(RFCN):
    """An R-FCN with the score maps that only the training from image labels needs.

    Args:
        num_classes, config, extra_background_classes: as in `RFCN`.
    """

    has_objectness: Tensor

    def __init__(self, num_classes: int, config: NetworkConfig, extra_background_classes: int = 0) -> None:
        super().__init__(num_classes, config, extra_background_classes)
        self.config = config
        self.parts = (num_classes, num_classes, *[num_classes + 1] * (REFINEMENTS - 1))
        self.streams = nn.Conv2d(self.backbone.out_channels, self.bins**2 * sum(self.parts), 1)
        nn.init.normal_(self.streams.weight, std=0.01)
        self.objectness = nn.Conv2d(self.backbone.out_channels, self.bins**2 * self.scores, 1).requires_grad_(False)
        self.register_buffer("has_objectness", torch.tensor(False))

    def remember_objectness(self) -> None:
        """Takes the present score maps, which were trained with boxes, for the objectness of regions."""
        for name, parameter in self.objectness.named_parameters():
            scores, _ = self.split_maps(self.score_conv.get_parameter(name).detach(), dim=0)
            parameter.copy_(scores.flatten(0, 1))
        self.has_objectness.fill_(True)

    def pool(self, layer: nn.Conv2d, features: Tensor, rois: RoIs) -> Tensor:
        """(B, C, h, w) -> (R, channels) float32: the mean of a layer's maps over the bins of each region."""
        maps = layer(features).permute(0, 2, 3, 1)
        return ps_roi_pool(maps, rois, self.backbone.stride, self.backbone.offset, self.bins).float()

    @torch.no_grad()
    def log_objectness(self, features: Tensor, rois: RoIs) -> Tensor:
        """(R, 1) log of one minus the background's probability, by the score maps that are remembered."""
        scores = self.pool(self.objectness, features, rois).softmax(dim=1)
        return (1 - scores[:, :1]).clamp(min=_EPSILON).log()


def plain(network: RFCN) -> RFCN:
    """The R-FCN without what only this training needs; other networks as they are."""
    if not isinstance(network, ImageLabelRFCN):
        return network
    rfcn = RFCN(network.num_classes, network.config, network.extra_background_classes).to(network.mean.device)
    state = network.state_dict().items()
    rfcn.load_state_dict({name: value for name, value in state if name.split(".")[0] not in _TRAINING_ONLY})
    return rfcn


def image_label_losses(
    network: ImageLabelRFCN, features: Tensor, maps: Tensor, regions: RoIs, counts: tuple[int, ...], labels: Tensor
) -> dict[str, Tensor]:
    """The losses `image` (WSDDN), `classes` (all refinements) and `box_deltas`, means over the photos.

    Args:
        features: (B, C, h, w) of the backbone.
        maps: (B, h, w, channels), `RFCN.score_maps` of them.
        regions: of all photos, one photo after another.
        counts: number of regions of each photo.
        labels: (B, num_classes) int64: 1 for classes that a photo shows, 0 for others, -1 where that is unknown.
    """
    by_class, by_region, *refinements = network.pool(network.streams, features, regions).split(network.parts, dim=1)
    predictions = network.classify(maps, regions)
    refinements.append(predictions.class_logits)
    if network.has_objectness:
        by_region = by_region + network.log_objectness(features, regions)
    losses = dict.fromkeys(("image", "classes", "box_deltas"), features.new_zeros((), dtype=torch.float32))
    for rows, of_photo in zip(torch.arange(len(regions)).split(list(counts)), labels, strict=True):
        if len(rows) == 0:
            continue
        scores = by_class[rows].softmax(dim=1) * by_region[rows].softmax(dim=0)
        trust = scores.sum(dim=0).clamp(_EPSILON, 1 - _EPSILON)
        known, shown = of_photo >= 0, (of_photo == 1).nonzero()[:, 0]
        image = F.binary_cross_entropy(trust[known], of_photo[known].float(), reduction="sum")
        losses["image"] = losses["image"] + image / len(labels)
        trust, scores = trust.detach()[shown], scores.detach()
        for logits in refinements:
            targets, weights = _objects(regions.boxes[rows], scores, shown, trust)
            errors = weights * F.cross_entropy(logits[rows].float(), targets.labels, reduction="none")
            foreground, background = errors[targets.labels > 0], errors[targets.labels == 0]
            background = background[hardest(background.detach(), (len(background),), _BACKGROUND)]
            for part in (foreground, background):
                losses["classes"] = losses["classes"] + part.sum() / max(1, len(part)) / len(labels)
            scores = logits[rows].detach().float().softmax(dim=1)[:, 1:]
            trust = scores[:, shown].amax(dim=0)
        chosen = rows[targets.labels > 0]
        regression = F.smooth_l1_loss(
            predictions.box_deltas[chosen], targets.box_deltas[targets.labels > 0], reduction="none"
        )
        box_deltas = (weights[targets.labels > 0] * regression.sum(dim=1)).sum() / max(1, len(chosen))
        losses["box_deltas"] = losses["box_deltas"] + box_deltas / len(labels)
    return losses


def _objects(boxes: Tensor, scores: Tensor, shown: Tensor, trust: Tensor) -> tuple[RegionTargets, Tensor]:
    """The targets of regions (R, 4), of which the best of each class is taken for an object, and their weights (R,).

    Args:
        scores: (R, num_classes).
        shown: (G,) labels of the classes that the photo shows.
        trust: (G,) how sure each object is.
    """
    objects = boxes[scores[:, shown].argmax(dim=0)]
    targets = match_regions(boxes, objects, shown, torch.zeros_like(shown, dtype=torch.bool))
    by_label = scores.new_zeros(1 + scores.shape[1])
    by_label[0] = trust.max() if len(shown) else 1.0
    by_label[1 + shown] = trust
    return targets, by_label[targets.labels]
