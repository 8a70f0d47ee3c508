"""MultiBox's loss (Erhan et al., equations 1 to 4)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import box_iou

from proposals.boxes import encode_offsets
from proposals.multibox.config import MultiBoxLossConfig
from proposals.multibox.matching import match_objects
from proposals.multibox.network import MultiBoxHead, MultiBoxPredictions


@dataclass(frozen=True)
class MultiBoxObjects:
    """The objects of an image: boxes (G, 4) float32, xyxy in parts of the image's sides, and which are difficult
    (G,) bool: boxes on those are not trained.

    Raises ValueError naming the box that has no area or is not finite.
    """

    boxes: Tensor
    difficult: Tensor

    def __post_init__(self) -> None:
        fine = (self.boxes[:, 2:] > self.boxes[:, :2]).all(dim=1) & self.boxes.isfinite().all(dim=1)
        if not fine.all():
            first = int((~fine).nonzero()[0])
            raise ValueError(f"object {first}: box {self.boxes[first].tolist()} has no area or is not finite")


@dataclass(frozen=True)
class MultiBoxLoss:
    """Sums over a batch, divided by the number of its objects (by one if there is none)."""

    boxes: Tensor
    confidences: Tensor
    total: Tensor


def multibox_loss(
    head: MultiBoxHead,
    predictions: MultiBoxPredictions,
    objects: Sequence[MultiBoxObjects],
    config: MultiBoxLossConfig,
) -> MultiBoxLoss:
    """F = alpha * F_match + F_conf for a batch of images."""
    match_losses, confidence_losses, count = [], [], 0
    for offsets, logits, truth in zip(predictions.offsets, predictions.logits, objects, strict=True):
        clear = truth.boxes[~truth.difficult]
        count += len(clear)
        wanted = target_offsets(head, clear)  # (K, G, 4)
        if config.matching == "priors":
            costs = 0.5 * wanted.square().sum(dim=2)
        else:  # what the loss would become: -log c + log(1 - c) is the negative logit
            distance = 0.5 * (offsets.detach()[:, None] - wanted).square().sum(dim=2)
            costs = config.alpha * distance - logits.detach()[:, None]
        priors, matched = match_objects(costs)
        match_losses.append(0.5 * (offsets[priors] - wanted[priors, matched]).square().sum())
        positive = torch.zeros_like(logits, dtype=torch.bool)
        positive[priors] = True
        negative = ~positive & ~_on_difficult(head.boxes(offsets.detach()[None])[0], truth)
        losses = F.binary_cross_entropy_with_logits(logits, positive.to(logits), reduction="none")
        wrong = losses[negative]
        if config.negatives is not None:
            wrong = wrong.topk(min(len(wrong), config.negatives * max(1, len(clear)))).values
        confidence_losses.append(losses[positive].sum() + wrong.sum())
    boxes_loss = torch.stack(match_losses).sum() / max(1, count)
    confidence_loss = torch.stack(confidence_losses).sum() / max(1, count)
    return MultiBoxLoss(boxes_loss, confidence_loss, config.alpha * boxes_loss + confidence_loss)


def target_offsets(head: MultiBoxHead, objects: Tensor) -> Tensor:
    """(K, G, 4): the offsets that would move every prior onto every object (G, 4)."""
    priors = head.priors.to(objects)
    shape = (len(priors), len(objects), 4)
    first, second = priors[:, None].expand(shape), objects[None].expand(shape)
    if head.config.coordinates == "corners":
        return second - first
    return encode_offsets(first.reshape(-1, 4), second.reshape(-1, 4)).view(shape)


def _on_difficult(predicted: Tensor, objects: MultiBoxObjects) -> Tensor:
    """(K,) bool: boxes that lie on a difficult object (IoU 0.5): they are neither right nor wrong."""
    if not objects.difficult.any():
        return torch.zeros(len(predicted), dtype=torch.bool, device=predicted.device)
    return (box_iou(predicted, objects.boxes[objects.difficult]) > 0.5).any(dim=1)
