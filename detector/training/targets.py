"""Training targets of regions, their losses, and online hard example mining."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from detector.models.rfcn import RegionPredictions
from proposals.boxes import box_iou, decode_boxes, encode_boxes

FOREGROUND_IOU = 0.5
IGNORED = -1


@dataclass(frozen=True)
class RegionTargets:
    """Training targets of R regions.

    Attributes:
        labels: (R,) int64; 0 is background, 1..num_classes, `IGNORED` for regions on difficult objects.
        box_deltas: (R, 4) float32, whitened deltas to the matched object; meaningful where labels > 0.
        unlabeled: (R, 1 + num_classes) bool, classes that are not annotated in a region's image, so that a region
            labeled as background may show them; column 0 is False. None if all classes are annotated.
    """

    labels: Tensor
    box_deltas: Tensor
    unlabeled: Tensor | None = None

    def __getitem__(self, selection: Tensor) -> "RegionTargets":
        unlabeled = None if self.unlabeled is None else self.unlabeled[selection]
        return RegionTargets(self.labels[selection], self.box_deltas[selection], unlabeled)


def match_regions(boxes: Tensor, objects: Tensor, labels: Tensor, difficult: Tensor) -> RegionTargets:
    """Matches the regions (R, 4) of an image with its objects, all float xyxy pixels.

    A region belongs to the object of highest IoU if that is at least 0.5 (R-CNN, section 2.3), else to the background.
    Regions that belong to a difficult object are ignored.

    Args:
        objects: (G, 4) boxes.
        labels: (G,) class indices 0..num_classes-1.
        difficult: (G,) bool.
    """
    if len(objects) == 0:
        return RegionTargets(torch.zeros(len(boxes), dtype=torch.long, device=boxes.device), torch.zeros_like(boxes))
    overlap, matched = box_iou(boxes, objects).max(dim=1)
    target = torch.where(difficult[matched], IGNORED, labels[matched] + 1)
    target = torch.where(overlap >= FOREGROUND_IOU, target, 0)
    return RegionTargets(target, encode_boxes(boxes, objects[matched]))


@dataclass(frozen=True)
class RegionLosses:
    """Losses of R regions: (R,) cross entropy, and (R,) smooth L1 of the box deltas, which is 0 for background."""

    classification: Tensor
    box_deltas: Tensor

    @property
    def total(self) -> Tensor:
        return self.classification + self.box_deltas


def region_losses(predictions: RegionPredictions, targets: RegionTargets, iou_targets: bool = False) -> RegionLosses:
    """The losses of regions, none of which counts what a background region in a partly annotated image scores for the
    classes that are not annotated there: the background's probability is the sum with theirs.

    Args:
        iou_targets: the target probability of an object's class is the IoU with the object that box regression gives
            the region, the rest is background's, so that scores rank well placed boxes first (Li et al., 'Generalized
            focal loss', 2020, section 3.1).
    """
    logits = predictions.class_logits
    if targets.unlabeled is not None:
        hidden = targets.unlabeled & (targets.labels == 0)[:, None]
        background = torch.cat((logits[:, :1], logits[:, 1:].masked_fill(~hidden[:, 1:], -math.inf)), dim=1)
        logits = torch.cat(
            (background.logsumexp(dim=1, keepdim=True), logits[:, 1:].masked_fill(hidden[:, 1:], -math.inf)), dim=1
        )
    classification = F.cross_entropy(logits, targets.labels, ignore_index=IGNORED, reduction="none")
    regression = F.smooth_l1_loss(predictions.box_deltas, targets.box_deltas, reduction="none").sum(dim=1)
    foreground = targets.labels > 0
    if iou_targets:
        background = logits.logsumexp(dim=1) - logits[:, 0]
        classification = torch.where(
            foreground, torch.lerp(background, classification, regressed_iou(predictions, targets)), classification
        )
    return RegionLosses(classification, torch.where(foreground, regression, 0.0))


def regressed_iou(predictions: RegionPredictions, targets: RegionTargets) -> Tensor:
    """(R,) IoU of each region, moved by its predicted box deltas, with its object; without a gradient."""
    unit = torch.tensor([[0.0, 0.0, 1.0, 1.0]], device=targets.box_deltas.device)  # IoU depends on deltas alone
    moved, objects = (
        decode_boxes(unit, deltas.detach().float()) for deltas in (predictions.box_deltas, targets.box_deltas)
    )
    return box_iou(moved[:, None], objects[:, None])[:, 0, 0]


def hardest(losses: Tensor, counts: Sequence[int], number: int) -> Tensor:
    """Indices of the `number` regions of highest loss in each image (online hard example mining, Shrivastava et al.,
    2016).

    Args:
        losses: (R,) losses of the regions of all images, one image after another.
        counts: number of regions of each image.
    """
    chosen, first = [], 0
    for image_losses in losses.split(list(counts)):
        chosen.append(image_losses.topk(min(number, len(image_losses))).indices + first)
        first += len(image_losses)
    return torch.cat(chosen)
