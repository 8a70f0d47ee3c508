"""The settings of a training on a user's own data: chosen by rules from the data and a measured step, with reasons."""

import dataclasses
import math
from dataclasses import dataclass

from detector.config import ModelConfig
from detector.errors import InputError
from detector.training.own_data.split import Split
from detector.training.own_data.transfer import Transfer, match_classes
from detector.training.recipes import AugmentationConfig, DataConfig, OptimizerConfig, Recipe
from detector.weights import Model

RATE = 0.003
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
_SCALE = (0.653, 1.167)
"""Of the default model's own training (`configs/voc07_continue.yaml`)."""


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
        photos, held_back: numbers of photos to train on and to judge by.
        epochs: passes over the photos.
        minutes: expected time, evaluations included.
        reasons: a line for each choice.
    """

    recipe: Recipe
    transfer: Transfer
    photos: int
    held_back: int
    epochs: float
    minutes: float
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
) -> TrainingPlan:
    """Chooses all settings; the same arguments give the same plan.

    Args:
        model: the weights to start from.
        epochs: passes over the photos; by default as the number of photos asks for, and the time allows.
        minutes: most time to take; by default 25 minutes for up to 400 photos, and 3 s more for each photo beyond.
            Time does not shorten a training whose `epochs` are given.

    Raises:
        InputError: epochs or minutes are not positive, or are both given.
    """
    if epochs is not None and minutes is not None:
        raise InputError("give epochs or minutes, not both")
    if (epochs is not None and epochs < 1) or (minutes is not None and not 0 < minutes < math.inf):
        raise InputError(f"{'minutes' if epochs is None else 'epochs'} must be above 0")
    photos, held_back = len(split.train), len(split.held_back)
    judged = min(held_back, _JUDGED)
    step = machine.step_seconds
    wanted = _wanted_steps(photos)
    evaluating = (_EVALUATIONS * judged + held_back) * _DETECTING * step
    limit = minutes if minutes is not None else _BUDGET[0] + _BUDGET[1] * max(0, photos - _FEW)
    fitting = max(1, int((60 * limit - evaluating) / step))
    steps = epochs * photos if epochs is not None else min(wanted, fitting)
    total = (steps * step + evaluating) / 60
    transfer = match_classes(split.train.class_names, model)
    assert isinstance(model.config, ModelConfig)
    recipe = Recipe(
        data=DataConfig(f"{split.digest} train", f"{split.digest} held back", judged),
        model=dataclasses.replace(
            model.config,
            source="selective_search",
            network=dataclasses.replace(model.config.network, multibox=None),
        ),
        augmentation=AugmentationConfig(scale=_SCALE),
        optimizer=OptimizerConfig(
            steps=steps,
            rate=RATE,
            warmup_steps=min(200, steps // 10),
            ema_decay=round(min(0.999, 1 - 10 / (steps + 10)), 6),
        ),
        seed=seed,
        eval_every=max(1, math.ceil(steps / _EVALUATIONS)),
        checkpoint_every=max(20, round(60 / step)),
    )
    passes = steps / photos
    if epochs is not None:
        why = "as asked"
    elif steps == wanted:
        why = f"the rule for {photos} photos"
    else:
        why = f"what fits into {limit:.0f} minutes; {wanted} would be the rule for {photos} photos"
    known, new = ", ".join(_named(transfer)), ", ".join(transfer.new)
    inputs = recipe.model.input.short_side
    sides = f"{inputs * _SCALE[0]:.0f} to {inputs * _SCALE[1]:.0f}"
    reasons = (
        f"held back    {held_back} photo{'s' * (held_back != 1)} to judge by, {photos} to learn from",
        *([f"known        {known}: from what the starting model knows"] if known else []),
        *([f"new          {new}: from the mean of the starting model's classes"] if new else []),
        f"steps        {steps}, one photo each ({passes:.3g} passes): {why}",
        f"rate         {RATE}, warmed up over {recipe.optimizer.warmup_steps} steps, then down to 0 by half a cosine",
        f"input        short side {inputs} pixels, in training {sides}; mirrored, brighter and darker at random",
        f"best         judged every {recipe.eval_every} steps by {judged} held-back photos; the best weights are kept",
        f"time         about {_minutes(total)}: {step:.2f} s a step on {_described(machine)}",
    )
    return TrainingPlan(recipe, transfer, photos, held_back, passes, total, reasons)


def _wanted_steps(photos: int) -> int:
    few = min(photos, _FEW)
    return max(_LEAST_STEPS, _EPOCHS[0] * few + _EPOCHS[1] * (photos - few))


def _named(transfer: Transfer) -> list[str]:
    return [
        name if source == name else f"{name} (its {source})"
        for name, source in transfer.sources.items()
        if source is not None
    ]


def _minutes(minutes: float) -> str:
    if minutes < 1.5:
        return f"{max(1, round(60 * minutes))} seconds"
    return f"{minutes:.0f} minutes" if minutes < 100 else f"{minutes / 60:.1f} hours"


def _described(machine: Machine) -> str:
    if machine.device != "cpu":
        return machine.device
    return f"{machine.threads} core{'s' * (machine.threads != 1)}"
