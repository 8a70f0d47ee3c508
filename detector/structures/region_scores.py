"""Scores and box deltas of an image's regions, and their average over several models."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class RegionScores:
    """Scores and box deltas of R regions of an image.

    Attributes:
        scores: (R, num_classes) float32 in 0..1, the probability that the region is an object of the class.
        box_deltas: (R, 1, 4) for all classes or (R, num_classes, 4) for each, float32: whitened box deltas from the
            region to the object (`proposals.boxes`); None if boxes are not regressed.
        photo: (num_classes,) float32 probabilities of the classes in the whole image, where a classifier gives them.
    """

    scores: Tensor
    box_deltas: Tensor | None
    photo: Tensor | None = None


def average_scores(members: Sequence[RegionScores]) -> RegionScores:
    """The ensemble of several models' scores of the same regions, as GoogLeNet's six networks were averaged.

    Returns:
        The mean of the scores, and the mean of the box deltas over the members that have them.
    """
    if len(members) == 1:
        return members[0]
    scores = torch.stack([member.scores for member in members]).mean(dim=0)
    deltas = [m.box_deltas.expand(-1, scores.shape[1], 4) for m in members if m.box_deltas is not None]
    return RegionScores(scores, torch.stack(deltas).mean(dim=0) if deltas else None)


def fetch(batch: Sequence[RegionScores]) -> list[RegionScores]:
    """Moves the scores of several images to the CPU in one transfer, so that a GPU is synchronized with once."""
    if all(image.scores.device.type == "cpu" for image in batch):
        return list(batch)
    classes, has_deltas = batch[0].scores.shape[1], batch[0].box_deltas is not None
    rows = [
        image.scores if image.box_deltas is None else torch.cat((image.scores, image.box_deltas.flatten(1)), 1)
        for image in batch
    ]
    return [
        RegionScores(image[:, :classes], image[:, classes:].unflatten(1, (-1, 4)) if has_deltas else None)
        for image in torch.cat(rows).cpu().split([len(image) for image in rows])
    ]


def calibrate(
    log_odds: Tensor, calibration: tuple[float, float], class_calibrations: Sequence[tuple[float, float]] = ()
) -> Tensor:
    """Scores in 0..1 from log-odds or SVM margins (R, num_classes) by Platt scaling with (slope, offset), or with those
    of each class."""
    slope, offset = log_odds.new_tensor(class_calibrations).T if class_calibrations else calibration
    return (slope * log_odds + offset).sigmoid()
