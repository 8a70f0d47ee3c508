"""What each region should be predicted as, and the loss on the regions that are hardest."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import box_iou

from detector.models.rfcn import RegionPredictions
from proposals.boxes import encode_boxes

FOREGROUND_IOU = 0.5
IGNORED = -1


@dataclass(frozen=True)
class RegionTargets:
    """Training targets of R regions.

    Attributes:
        labels: (R,) int64; 0 background, 1..num_classes, `IGNORED` for regions on difficult objects.
        box_deltas: (R, 4) float32, whitened box_deltas to the matched object; meaningful where labels > 0.
    """

    labels: Tensor
    box_deltas: Tensor

    def __getitem__(self, selection: Tensor) -> "RegionTargets":
        return RegionTargets(self.labels[selection], self.box_deltas[selection])


def match_regions(boxes: Tensor, objects: Tensor, labels: Tensor, difficult: Tensor) -> RegionTargets:
    """Matches the regions (R, 4) of one image with its objects.

    A region belongs to the object of highest IoU if that is at least 0.5 (R-CNN's fine-tuning), else to the
    background; one that belongs to a difficult object is ignored.

    Args:
        objects: (G, 4) boxes; labels: (G,) class indices 0..num_classes-1; difficult: (G,) bool.
    """
    if len(objects) == 0:
        return RegionTargets(torch.zeros(len(boxes), dtype=torch.long, device=boxes.device), torch.zeros_like(boxes))
    overlap, matched = box_iou(boxes, objects).max(dim=1)
    target = torch.where(difficult[matched], IGNORED, labels[matched] + 1)
    target = torch.where(overlap >= FOREGROUND_IOU, target, 0)
    return RegionTargets(target, encode_boxes(boxes, objects[matched]))


@dataclass(frozen=True)
class RegionLosses:
    """Loss of each of R regions: (R,) cross entropy and (R,) smooth L1 of the box_deltas (0 off the foreground)."""

    classification: Tensor
    box_deltas: Tensor

    @property
    def total(self) -> Tensor:
        return self.classification + self.box_deltas


def region_losses(predictions: RegionPredictions, targets: RegionTargets) -> RegionLosses:
    classification = F.cross_entropy(predictions.class_logits, targets.labels, ignore_index=IGNORED, reduction="none")
    moved = F.smooth_l1_loss(predictions.box_deltas, targets.box_deltas, reduction="none").sum(dim=1)
    return RegionLosses(classification, torch.where(targets.labels > 0, moved, 0.0))


def hardest(losses: Tensor, counts: Sequence[int], number: int) -> Tensor:
    """Indices of the `number` regions of highest loss in each image (online hard example mining, Shrivastava 2016).

    Args:
        losses: (R,) of the regions of all images, one image after the other.
        counts: regions of each image.
    """
    chosen, first = [], 0
    for own in losses.split(list(counts)):
        chosen.append(own.topk(min(number, len(own))).indices + first)
        first += len(own)
    return torch.cat(chosen)
