"""MultiBox's loss (Erhan et al., equations 1 to 4)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from proposals.boxes import box_iou, encode_boxes
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


@dataclass(frozen=True)
class MultiBoxTargets:
    """What the predictions for B images should be.

    Attributes:
        image, prior: (M,) int64, the predictions that were given an object.
        box_deltas: (M, 4) float32 that lead from those priors to their objects.
        difficult: (B, D, 4) boxes of difficult objects in parts of the images' sides; images that have fewer are filled
            up with boxes without area.
        counts: number of the other objects of each image.
    """

    image: Tensor
    prior: Tensor
    box_deltas: Tensor
    difficult: Tensor
    counts: tuple[int, ...]

    def map(self, change: Callable[[Tensor], Tensor]) -> "MultiBoxTargets":
        """The same with every tensor changed, such as moved to a device."""
        image, prior, box_deltas, difficult = map(change, (self.image, self.prior, self.box_deltas, self.difficult))
        return MultiBoxTargets(image, prior, box_deltas, difficult, self.counts)


def multibox_targets(
    head: MultiBoxHead,
    objects: Sequence[MultiBoxObjects],
    config: MultiBoxLossConfig,
    predictions: MultiBoxPredictions | None = None,
) -> MultiBoxTargets:
    """Matches the objects of images with priors. The matching runs on the CPU: give all on it.

    Args:
        predictions: for these images, which a configuration with matching "predictions" needs.

    Raises:
        ValueError: it needs them, and there are none.
    """
    if config.matching == "predictions" and predictions is None:
        raise ValueError("matching by predictions needs predictions")
    images, priors, box_deltas, counts = [], [], [], []
    for index, truth in enumerate(objects):
        clear = truth.boxes[~truth.difficult]
        wanted = target_deltas(head, clear)  # (K, G, 4)
        if config.matching == "priors" or predictions is None:
            costs = 0.5 * wanted.square().sum(dim=2)
        else:  # what the loss would become: -log c + log(1 - c) is the negative logit
            found, logits = predictions.box_deltas[index].detach(), predictions.logits[index].detach()
            costs = config.alpha * 0.5 * (found[:, None] - wanted).square().sum(dim=2) - logits[:, None]
        chosen, matched = match_objects(costs)
        images.append(torch.full_like(chosen, index))
        priors.append(chosen)
        box_deltas.append(wanted[chosen, matched])
        counts.append(len(clear))
    difficult = [truth.boxes[truth.difficult] for truth in objects]
    return MultiBoxTargets(
        torch.cat(images),
        torch.cat(priors),
        torch.cat(box_deltas),
        pad_sequence(difficult, batch_first=True),
        tuple(counts),
    )


def multibox_loss(
    head: MultiBoxHead,
    predictions: MultiBoxPredictions,
    targets: MultiBoxTargets,
    config: MultiBoxLossConfig,
    objects: Tensor | None = None,
) -> MultiBoxLoss:
    """F = alpha * F_match + F_conf for a batch of images; nothing in it waits for a GPU.

    Args:
        objects: what the sums are divided by; by default the number of objects, or one. For a part of a batch, such as
            a half: half the number that the batch has, or half.
    """
    logits, where = predictions.logits, (targets.image, targets.prior)
    moved = predictions.box_deltas[where] - targets.box_deltas
    positive = torch.zeros_like(logits).index_put(where, torch.ones_like(moved[:, 0], dtype=logits.dtype))
    negative = (1 - positive) * ~_on_difficult(head.boxes(predictions.box_deltas.detach()), targets.difficult)
    losses = F.binary_cross_entropy_with_logits(logits, positive, reduction="none")
    wrong = losses * negative
    if config.negatives is not None:
        numbers = (min(wrong.shape[1], config.negatives * max(1, count)) for count in targets.counts)
        hard = torch.cat([row.topk(number).values for row, number in zip(wrong, numbers, strict=True)])
    else:
        hard = wrong
    count = max(1, sum(targets.counts)) if objects is None else objects
    boxes_loss = 0.5 * moved.square().sum() / count
    confidence_loss = ((losses * positive).sum() + hard.sum()) / count
    return MultiBoxLoss(boxes_loss, confidence_loss, config.alpha * boxes_loss + confidence_loss)


def target_deltas(head: MultiBoxHead, objects: Tensor) -> Tensor:
    """(K, G, 4): the box_deltas that would move every prior onto every object (G, 4)."""
    priors = head.priors.to(objects)
    shape = (len(priors), len(objects), 4)
    first, second = priors[:, None].expand(shape), objects[None].expand(shape)
    if head.config.coordinates == "corners":
        return second - first
    return encode_boxes(first.reshape(-1, 4), second.reshape(-1, 4)).view(shape)


def _on_difficult(predicted: Tensor, difficult: Tensor) -> Tensor:
    """(B, K) bool: boxes (B, K, 4) that lie on a difficult object (B, D, 4), by IoU 0.5: neither right nor wrong."""
    return (box_iou(predicted, difficult) > 0.5).any(dim=-1)
