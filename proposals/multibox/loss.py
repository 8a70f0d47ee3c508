"""MultiBox's matching and loss (Erhan et al., equations 1 to 4)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from proposals.boxes import box_iou, encode_boxes
from proposals.multibox.config import MultiBoxLossConfig
from proposals.multibox.network import MultiBoxHead, MultiBoxPredictions


@dataclass(frozen=True)
class MultiBoxObjects:
    """The objects of an image.

    Attributes:
        boxes: (G, 4) float32, xyxy as fractions of the image's sides.
        difficult: (G,) bool; boxes on difficult objects are not trained.
        complete: whether all objects are annotated; if not, boxes without an object are not trained.

    Raises:
        ValueError: a box has no area or is not finite; the message names it.
    """

    boxes: Tensor
    difficult: Tensor
    complete: bool = True

    def __post_init__(self) -> None:
        valid = (self.boxes[:, 2:] > self.boxes[:, :2]).all(dim=1) & self.boxes.isfinite().all(dim=1)
        if not valid.all():
            first = int((~valid).nonzero()[0])
            raise ValueError(f"object {first}: box {self.boxes[first].tolist()} has no area or is not finite")


@dataclass(frozen=True)
class MultiBoxLoss:
    """Losses summed over a batch and divided by its number of objects, or by one if there are none."""

    boxes: Tensor
    confidences: Tensor
    total: Tensor


@dataclass(frozen=True)
class MultiBoxTargets:
    """The training targets of B images.

    Attributes:
        image, prior: (M,) int64, indices of the predictions that are matched with an object.
        box_deltas: (M, 4) float32, the deltas from those priors to their objects.
        difficult: (B, D, 4), boxes of difficult objects as fractions of the image's sides, padded with zeros.
        complete: (B,) bool, as of the images' `MultiBoxObjects`.
        counts: number of the remaining objects of each image.
    """

    image: Tensor
    prior: Tensor
    box_deltas: Tensor
    difficult: Tensor
    complete: Tensor
    counts: tuple[int, ...]


def multibox_targets(
    head: MultiBoxHead,
    objects: Sequence[MultiBoxObjects],
    config: MultiBoxLossConfig,
    predictions: MultiBoxPredictions | None = None,
) -> MultiBoxTargets:
    """Matches the objects of images with priors. The matching runs on the CPU, so pass tensors on the CPU.

    Args:
        predictions: predictions for the images, required if `config.matching` is "predictions".

    Raises:
        ValueError: the predictions are required but missing.
    """
    if config.matching == "predictions" and predictions is None:
        raise ValueError("matching by predictions needs predictions")
    images, priors, box_deltas, counts = [], [], [], []
    for index, truth in enumerate(objects):
        boxes = truth.boxes[~truth.difficult]
        deltas = target_deltas(head, boxes)  # (K, G, 4)
        if config.matching == "priors" or predictions is None:
            costs = 0.5 * deltas.square().sum(dim=2)
        else:  # the loss of each match: -log c + log(1 - c) is the negative logit
            predicted, logits = predictions.box_deltas[index].detach(), predictions.logits[index].detach()
            costs = config.alpha * 0.5 * (predicted[:, None] - deltas).square().sum(dim=2) - logits[:, None]
        prior, matched = match_objects(costs)
        images.append(torch.full_like(prior, index))
        priors.append(prior)
        box_deltas.append(deltas[prior, matched])
        counts.append(len(boxes))
    difficult = [truth.boxes[truth.difficult] for truth in objects]
    return MultiBoxTargets(
        torch.cat(images),
        torch.cat(priors),
        torch.cat(box_deltas),
        pad_sequence(difficult, batch_first=True),
        torch.tensor([truth.complete for truth in objects]),
        tuple(counts),
    )


def match_objects(costs: Tensor) -> tuple[Tensor, Tensor]:
    """Assigns each object a different prior with the minimum sum of costs (bipartite matching, section 3.2).

    With more objects than priors, every prior gets an object.

    Args:
        costs: (K, G), the cost of every prior for every object; values that are not finite count as very high.

    Returns:
        (M,) priors and (M,) objects, M = min(K, G), in the order of the objects.
    """
    table = np.nan_to_num(costs.detach().double().cpu().numpy(), nan=1e12, posinf=1e12, neginf=-1e12)
    objects, priors = linear_sum_assignment(table.T)
    return torch.from_numpy(priors).to(costs.device), torch.from_numpy(objects).to(costs.device)


def multibox_loss(
    head: MultiBoxHead,
    predictions: MultiBoxPredictions,
    targets: MultiBoxTargets,
    config: MultiBoxLossConfig,
    objects: Tensor | None = None,
) -> MultiBoxLoss:
    """Computes F = alpha * F_match + F_conf for a batch of images without synchronizing the GPU.

    Args:
        objects: divisor of the sums; None uses the number of objects, or one if there are none. For part of a batch,
            pass that part's share of the whole batch's divisor.
    """
    logits, index = predictions.logits, (targets.image, targets.prior)
    errors = predictions.box_deltas[index] - targets.box_deltas
    positive = torch.zeros_like(logits).index_put(index, torch.ones_like(errors[:, 0], dtype=logits.dtype))
    ignored = _on_difficult(head.boxes(predictions.box_deltas.detach()), targets.difficult)
    negative = (1 - positive) * ~ignored * targets.complete[:, None]
    losses = F.binary_cross_entropy_with_logits(logits, positive, reduction="none")
    negative_losses = losses * negative
    if config.negatives is not None:
        numbers = (min(negative_losses.shape[1], config.negatives * max(1, count)) for count in targets.counts)
        rows = zip(negative_losses, numbers, strict=True)
        negative_losses = torch.cat([row.topk(number).values for row, number in rows])
    divisor = max(1, sum(targets.counts)) if objects is None else objects
    boxes_loss = 0.5 * errors.square().sum() / divisor
    confidence_loss = ((losses * positive).sum() + negative_losses.sum()) / divisor
    return MultiBoxLoss(boxes_loss, confidence_loss, config.alpha * boxes_loss + confidence_loss)


def target_deltas(head: MultiBoxHead, objects: Tensor) -> Tensor:
    """Returns the deltas (K, G, 4) from every prior to every object (G, 4)."""
    shape = (len(head.priors), len(objects), 4)
    priors, targets = head.priors.to(objects)[:, None].expand(shape), objects[None].expand(shape)
    if head.config.coordinates == "corners":
        return targets - priors
    return encode_boxes(priors.reshape(-1, 4), targets.reshape(-1, 4)).view(shape)


def _on_difficult(predicted: Tensor, difficult: Tensor) -> Tensor:
    """Returns which boxes (B, K, 4) overlap a difficult object (B, D, 4) by IoU 0.5, (B, K) bool; they are ignored."""
    return (box_iou(predicted, difficult) > 0.5).any(dim=-1)
