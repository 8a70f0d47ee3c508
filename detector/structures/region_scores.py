"""What models say of the regions of an image, and of several models together."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class RegionScores:
    """What is known of R regions of an image.

    Attributes:
        scores: (R, num_classes) float32, 0..1: how sure it is that the region is an object of the class.
        box_deltas: (R, 1, 4) or (R, num_classes, 4) float32, whitened box_deltas from the region to the object
            (`proposals.boxes`), for all classes or for each; None: boxes stay as they are.
    """

    scores: Tensor
    box_deltas: Tensor | None


def average_scores(members: Sequence[RegionScores]) -> RegionScores:
    """The ensemble of several models' scores of the same regions: the mean of the scores, as GoogLeNet's six networks
    were averaged for each region, and of the box_deltas of those that have any."""
    if len(members) == 1:
        return members[0]
    scores = torch.stack([m.scores for m in members]).mean(dim=0)
    classes = scores.shape[1]
    moved = [m.box_deltas.expand(-1, classes, 4) for m in members if m.box_deltas is not None]
    return RegionScores(scores, torch.stack(moved).mean(dim=0) if moved else None)


def fetch(scored: Sequence[RegionScores]) -> list[RegionScores]:
    """The scores of several images on the CPU. A GPU is waited for once, whatever their number."""
    if all(one.scores.device.type == "cpu" for one in scored):
        return list(scored)
    moved, classes = scored[0].box_deltas is not None, scored[0].scores.shape[1]
    rows = [
        one.scores if one.box_deltas is None else torch.cat((one.scores, one.box_deltas.flatten(1)), 1)
        for one in scored
    ]
    counts = [len(own) for own in rows]
    return [
        RegionScores(own[:, :classes], own[:, classes:].unflatten(1, (-1, 4)) if moved else None)
        for own in torch.cat(rows).cpu().split(counts)
    ]


def calibrate(log_odds: Tensor, calibration: tuple[float, float]) -> Tensor:
    """Scores in 0..1 from log-odds or margins, by Platt scaling with (slope, offset)."""
    slope, shift = calibration
    return (slope * log_odds + shift).sigmoid()
