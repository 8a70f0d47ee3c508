"""The settings of a training on a user's own data: chosen by rules from the data and a measured step, with reasons."""

import dataclasses
import math
from dataclasses import dataclass

from detector.config import ModelConfig
from detector.errors import InputError
from detector.models.weights import Model
from detector.training.budget import Budget
from detector.training.custom_dataset.split import Split, listed
from detector.training.custom_dataset.transfer import Transfer, match_classes
from detector.training.recipes import AugmentationConfig, DataConfig, OptimizerConfig, Recipe

PLAN = "plan.json"
"""In the folder of a training: what it was asked for, and the machine."""
RATE = 0.001
"""A third of that of the default model's first trainings, so that less of what it knows is forgotten."""
_EPOCHS = (10, 3)
"""Passes over the photos: over the first `_FEW`, and over what there is beyond them."""
_FEW = 400
_LEAST_STEPS = 300
_BUDGET = (25.0, 0.05)
"""Minutes that a training may take without being told: for up to `_FEW` photos, and more for each photo beyond."""
_EVALUATIONS = 5
_JUDGED = 150
"""Held-back photos by which the best weights are chosen on the way; at the end all are judged."""
_DETECTING = 0.4
"""Time of detecting on a photo, in training steps."""
_MARGIN = (10.0, 0.1)
"""Seconds, and at most that part of the time, that are kept for what is not measured: imports, picture, files."""
_SHORT = 1 / 3
"""Part of the rule's steps with less of which little can be expected."""
_SCALE = (0.653, 1.167)
"""Of the default model's second training (`configs/voc07_continue.yaml`)."""


@dataclass(frozen=True)
class Machine:
    """What the training runs on.

    Attributes:
        step_seconds: measured time of a training step, one photo.
    """

    device: str
    threads: int
    step_seconds: float


@dataclass(frozen=True)
class TrainingPlan:
    """What will be done; `str` tells it with the reasons, a line each.

    Attributes:
        recipe: of the training loop.
        transfer: what is known of the classes before.
        photos, val: numbers of photos to train on and to judge by.
        steps: that are expected; the recipe's are the rule's, or those that were asked for.
        minutes: expected time, evaluations included.
        budget: the time that may be taken.
        reasons: a line for each choice.
    """

    recipe: Recipe
    transfer: Transfer
    photos: int
    val: int
    steps: int
    minutes: float
    budget: Budget
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join(self.reasons)


def make_plan(
    split: Split,
    model: Model,
    machine: Machine,
    epochs: int | None = None,
    minutes: float | None = None,
    seed: int = 0,
    began: float | None = None,
) -> TrainingPlan:
    """Chooses all settings; the same arguments give the same recipe.

    Args:
        model: the weights to start from.
        epochs: passes over the photos; by default as the number of photos asks for, and the time allows.
        minutes: most time to take; by default 25 minutes for up to 400 photos, and 3 s more for each photo beyond.
            Time does not shorten a training whose `epochs` are given.
        began: when the time began, by `time.perf_counter`; by default now.

    Raises:
        InputError: epochs or minutes are not positive, or are both given.
    """
    check_length(epochs, minutes)
    photos, val = len(split.train), len(split.val)
    step = machine.step_seconds
    wanted = _wanted_steps(photos)
    limit = minutes if minutes is not None else _BUDGET[0] + _BUDGET[1] * max(0, photos - _FEW)
    seconds = 60 * limit - min(_MARGIN[0], _MARGIN[1] * 60 * limit) if epochs is None else math.inf
    judged = min(val, _JUDGED)
    evaluation = judged * _DETECTING
    budget = Budget(seconds, step, evaluation, 2 * val / judged)
    if began is not None:
        budget.began = began
    steps = wanted if epochs is None else epochs * photos
    stride, on_the_way = budget.plan(steps, steps, _EVALUATIONS - 1)
    expected = max(1, round(steps / stride))
    evaluating = (1 + on_the_way * (_EVALUATIONS - 1) + budget.closing) * evaluation
    total = (budget.elapsed + (expected + evaluating) * step) / 60
    passes = f"one photo each ({expected / photos:.3g} passes)"
    if epochs is not None:
        told = f"{steps}, {passes}: as asked"
    elif expected == wanted:
        told = f"{steps}, {passes}: the rule for {photos} photos"
    else:
        fits = f"{limit:.0f} minute{'s' * (round(limit) != 1)}"
        told = f"about {expected}, {passes}: what fits into {fits}; {wanted} would be the rule for {photos} photos"
    recipe = _recipe(split, model, steps, step, judged, seed)
    transfer = match_classes(split.train.class_names, model)
    reasons = (
        f"held back    {val} photo{'s' * (val != 1)} to judge by, {photos} to learn from",
        *_told_transfer(transfer),
        f"steps        {told}",
        *_told_recipe(recipe),
        f"time         about {_minutes(total)}: {step:.2f} s a step on {_described(machine)}",
        *([f"warning      {warning}"] if (warning := too_short(recipe, expected, total)) else []),
    )
    return TrainingPlan(recipe, transfer, photos, val, expected, total, budget, reasons)


def too_short(recipe: Recipe, steps: int, minutes: float) -> str:
    """What to tell of a training of so few steps that little can be expected of it; "" of any other."""
    wanted = recipe.optimizer.steps
    if steps >= _SHORT * wanted:
        return ""
    needed = math.ceil(minutes * wanted / steps)
    return (
        f"{steps} steps are less than a third of the {wanted} that the rule asks for, so expect little; on this "
        f"machine as it is now they need about --minutes {needed}"
    )


def _recipe(split: Split, model: Model, steps: int, step_seconds: float, judged: int, seed: int) -> Recipe:
    """All else follows from the number of steps. RoIs are those of Selective Search: a MultiBox head would have to
    be trained as well, and few photos do not suffice for it."""
    assert isinstance(model.config, ModelConfig)
    network = dataclasses.replace(model.config.network, multibox=None)
    return Recipe(
        data=DataConfig(f"{split.digest} train", f"{split.digest} held back", judged),
        model=dataclasses.replace(model.config, source="selective_search", network=network),
        augmentation=AugmentationConfig(scale=_SCALE),
        optimizer=OptimizerConfig(
            steps=steps,
            lr=RATE,
            warmup_steps=min(200, steps // 10),
            # an average over the last tenth of the steps
            ema_decay=round(min(0.999, 1 - 10 / (steps + 10)), 6),
        ),
        seed=seed,
        eval_every=max(1, math.ceil(steps / _EVALUATIONS)),
        # about every minute, and not much more often where the machine was busy when it was measured
        checkpoint_every=max(50, round(60 / step_seconds)),
    )


def check_length(epochs: int | None, minutes: float | None) -> None:
    """Raises `InputError` unless one of them at most is given, and is positive."""
    if epochs is not None and minutes is not None:
        raise InputError("give epochs or minutes, not both")
    if (epochs is not None and epochs < 1) or (minutes is not None and not 0 < minutes < math.inf):
        raise InputError(f"{'minutes' if epochs is None else 'epochs'} must be above 0")


def _wanted_steps(photos: int) -> int:
    few = min(photos, _FEW)
    return max(_LEAST_STEPS, _EPOCHS[0] * few + _EPOCHS[1] * (photos - few))


def _told_transfer(transfer: Transfer) -> list[str]:
    known = [
        name if source == name else f"{name} (its {source})"
        for name, source in transfer.sources.items()
        if source is not None
    ]
    lines = []
    if known:
        lines.append(f"known        {listed(known)}: from what the starting model knows")
    if transfer.new:
        lines.append(f"new          {listed(transfer.new)}: from the mean of the starting model's classes")
    if transfer.extra_background_classes:
        lines.append(
            f"background   {listed(transfer.extra_background_classes)}: kept as what the new model is not to show"
        )
    return lines


def _told_recipe(recipe: Recipe) -> list[str]:
    side, warm = recipe.model.input.short_side, recipe.optimizer.warmup_steps
    least, most = (round(side * scale) for scale in recipe.augmentation.scale)
    judged = recipe.data.eval_limit
    photos = f"{judged} held-back photo{'s' * (judged != 1)}"
    return [
        f"lr           {recipe.optimizer.lr}, warmed up over {warm} steps, then down to 0 by half a cosine",
        f"input        short side {side} pixels, in training {least} to {most}; mirrored, brighter, darker at random",
        f"judged       every {recipe.eval_every} steps by {photos}; the last weights are kept, or clearly better ones",
    ]


def _minutes(minutes: float) -> str:
    if minutes < 1.5:
        return f"{max(1, round(60 * minutes))} seconds"
    return f"{minutes:.0f} minutes" if minutes < 100 else f"{minutes / 60:.1f} hours"


def _described(machine: Machine) -> str:
    if machine.device != "cpu":
        return machine.device
    return f"{machine.threads} core{'s' * (machine.threads != 1)}"
