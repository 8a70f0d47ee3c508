"""From a recipe to a training that can run."""

from pathlib import Path
from typing import Any

from detector.errors import InputError
from detector.training.custom_dataset.plan import PLAN
from detector.training.data import proposed_splits
from detector.training.loop import Task, TrainingLoop
from detector.training.recipes import AnyRecipe, ClassificationRecipe, CropRecipe, MultiBoxRecipe
from detector.training.tasks.classification import ClassificationTask
from detector.training.tasks.multibox import MultiBoxTask
from detector.training.tasks.rcnn import CropTask
from detector.training.tasks.rfcn import RegionTask


def make_loop(
    recipe: AnyRecipe,
    root: Path,
    out: Path,
    init: Path | None,
    cache: Path,
    device: str = "auto",
    workers: int | None = None,
) -> TrainingLoop[Any]:
    """The training that a recipe describes; its `run` starts it, or goes on where it stopped.

    Args:
        root: folder of the data set: the one that holds JPEGImages, or for classification the training photos.
        out: folder for checkpoints, logs and the model.
        init: weights to start a new run from.
        cache: folder of cached proposals.
        workers: processes that prepare examples (`TrainingLoop`).

    Raises:
        InputError: data, weights or checkpoint cannot be used, or `out` holds a training on a user's own data.
    """
    if (out / PLAN).exists():  # whose model would be lost, and which removes checkpoints
        raise InputError(f"{out}: holds a training with --data; choose another --out")
    return TrainingLoop(_task(recipe, root, cache), out, init, device, workers)


def _task(recipe: AnyRecipe, root: Path, cache: Path) -> Task[Any]:
    if isinstance(recipe, ClassificationRecipe):
        return ClassificationTask(recipe, root)
    if isinstance(recipe, CropRecipe):
        return CropTask(recipe, root, cache)
    if isinstance(recipe, MultiBoxRecipe):
        return MultiBoxTask(recipe, root)
    return RegionTask(recipe, *proposed_splits(recipe.data, recipe.model.proposals, root, cache))
