"""The objects of images in parts of their sides, as MultiBox learns them."""

import numpy as np
import torch
from torch import Tensor

from detector.data.voc import VOCDataset
from detector.errors import InputError
from detector.evaluation.prediction.proposals import ProposalReport
from proposals.multibox.loss import MultiBoxObjects
from proposals.multibox.network import MultiBoxHead
from proposals.multibox.priors import make_priors

BUDGETS = (100, 200)
"""Numbers of boxes at which the recall of a MultiBox is followed."""


def relative_objects(boxes: Tensor, difficult: Tensor, width: int, height: int) -> MultiBoxObjects:
    """The objects of an image: boxes (G, 4) in its pixels, difficult (G,) bool."""
    return MultiBoxObjects(boxes / boxes.new_tensor((width, height, width, height)), difficult)


def set_priors(head: MultiBoxHead, dataset: VOCDataset, seed: int) -> None:
    """Gives a head without priors those that fit the objects of a data set. One that comes from a model file has its
    own, with which its weights were learned.

    Raises:
        InputError: the data set has too few different objects, or an annotation is wrong.
    """
    if head.priors.any():
        return
    try:
        priors = make_priors(clear_boxes(dataset), head.config, seed)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{dataset.root}: split '{dataset.split}': {error}") from None
    head.set_priors(torch.from_numpy(priors).to(head.priors))


def recall_at_budgets(report: ProposalReport) -> dict[str, float]:
    """Recall at IoU 0.5 at each of `BUDGETS`.

    Raises:
        InputError: images failed.
    """
    for image_id, reason in report.failed.items():
        raise InputError(f"image {image_id}: {reason}")
    return {f"recall50 at {budget}": report.evaluation.coverage(budget).recall50 for budget in BUDGETS}


def clear_boxes(dataset: VOCDataset) -> np.ndarray:
    """(N, 4) float32: boxes of all objects of a data set that are not difficult, in parts of their image's sides.

    Raises:
        InputError: an annotation is missing or wrong.
    """
    parts: list[np.ndarray] = [np.zeros((0, 4), np.float32)]
    for index in range(len(dataset)):
        annotations = dataset.annotations(index)
        width, height = annotations.image_size
        boxes = annotations.boxes[~annotations.difficult]
        parts.append(boxes / np.array((width, height, width, height), np.float32))
    return np.concatenate(parts)
