"""Assembly: from a recipe to the training loop of its task."""

import logging
from pathlib import Path
from typing import Any

from detector.errors import InputError
from detector.training.custom_dataset.plan import PLAN
from detector.training.data import ProposedImages, proposed_splits
from detector.training.loop import Task, TrainingLoop
from detector.training.photos import PhotoSet, without_boxes
from detector.training.pseudo_labels import find_unlabeled
from detector.training.recipes import (
    AnyRecipe,
    ClassificationRecipe,
    MultiBoxRecipe,
    PseudoLabelConfig,
    RCNNRecipe,
    RFCNRecipe,
)
from detector.training.tasks.classification import ClassificationTask
from detector.training.tasks.multibox import MultiBoxTask
from detector.training.tasks.rcnn import RCNNTask
from detector.training.tasks.rfcn import RFCNTask

log = logging.getLogger(__name__)


def make_loop(
    recipe: AnyRecipe,
    root: Path,
    out: Path,
    init: Path | None,
    cache: Path,
    device: str = "auto",
    workers: int | None = None,
) -> TrainingLoop[Any]:
    """The training loop of a recipe; its `run` starts the training or resumes it.

    Args:
        root: folder of the data set: the one that holds JPEGImages, or for classification `train` and `val`.
        out: folder for checkpoints, logs and the model.
        init: initial weights of a new run.
        cache: folder of cached proposals.
        workers: processes that prepare examples (`TrainingLoop`).

    Raises:
        InputError: data, weights or checkpoint cannot be used, or `out` holds a training on a custom data set.
    """
    if (out / PLAN).exists():  # a recipe would overwrite its model and remove its checkpoints
        raise InputError(f"{out}: holds a training with --data; choose another --out")
    task: Task[Any]
    match recipe:
        case ClassificationRecipe():
            task = ClassificationTask(recipe, root)
        case RCNNRecipe():
            task = RCNNTask(recipe, root, cache)
        case MultiBoxRecipe():
            task = MultiBoxTask(recipe, root)
        case RFCNRecipe():
            task = _rfcn_task(recipe, root, cache)
    return TrainingLoop(task, out, init, device, workers)


def _rfcn_task(recipe: RFCNRecipe, root: Path, cache: Path) -> RFCNTask:
    if recipe.data.labels == "image":
        multibox = recipe.model.network.multibox is not None and recipe.multibox.weight > 0
        if recipe.data.unlabeled is not None or recipe.iou_targets or multibox:
            raise InputError("data: labels: unlabeled, iou_targets and multibox need boxes; leave them out with image")
    train, val = proposed_splits(recipe.data, recipe.model.proposals, root, cache)
    if recipe.data.labels == "image":
        train = ProposedImages(without_boxes(train.dataset), recipe.model.proposals, cache)
    if recipe.data.unlabeled is None:
        if recipe.pseudo_labels != PseudoLabelConfig():
            raise InputError("pseudo_labels need photos without labels; name their folder as data: unlabeled")
        return RFCNTask(recipe, train, val)
    labeled = (images.dataset.image_path(index) for images in (train, val) for index in range(len(images)))
    found = find_unlabeled(root / recipe.data.unlabeled, labeled)
    if found.faults:
        raise InputError(f"{found.faults[0]}; repair it or remove it from {found.path}")
    log.info("%s", "; ".join((f"{len(found.samples)} photos without labels", *found.notes)))
    photos = PhotoSet(found.samples, train.dataset.class_names)
    return RFCNTask(recipe, train, val, unlabeled=ProposedImages(photos, recipe.model.proposals, cache))
