"""The settings of a training on a custom data set, chosen by rules from the data and a measured step, with reasons."""

import dataclasses
import math
from dataclasses import dataclass

from detector.config import ModelConfig
from detector.errors import InputError
from detector.models.weights import Model
from detector.training.budget import Budget
from detector.training.custom_dataset.split import Split, join_names
from detector.training.recipes import AugmentationConfig, DataConfig, OptimizerConfig, RFCNRecipe
from detector.training.transfer import Transfer, match_classes

PLAN = "plan.json"
"""File in the training's folder: what was requested, and the machine."""
LEARNING_RATE = 0.001
"""One third of the learning rate of the default model's first training, to limit forgetting."""
_EPOCHS = (10, 3)
"""Passes over the first `_FEW_PHOTOS` photos, and over the rest."""
_FEW_PHOTOS = 400
_MIN_STEPS = 300
_DEFAULT_MINUTES = (25.0, 0.05)
"""Default time limit in minutes for up to `_FEW_PHOTOS` photos, and for each further photo."""
_EVALUATIONS = 5
_EVAL_LIMIT = 150
"""Validation photos on which the best weights are chosen; at the end all are used."""
_DETECT_STEPS = 0.4
"""Time to detect on a photo, in training steps."""
_MARGIN = (10.0, 0.1)
"""Seconds reserved for unmeasured work (imports, picture, files), and its maximum share of the time limit."""
_SHORT = 1 / 3
"""A training of less than this part of the rule's steps gives a warning."""
_SCALE = (0.653, 1.167)
"""As in the default model's second training (recipe `voc07_continue`)."""


@dataclass(frozen=True)
class Machine:
    """The machine that trains.

    Attributes:
        step_seconds: measured time of a training step on one photo.
    """

    device: str
    threads: int
    step_seconds: float


@dataclass(frozen=True)
class TrainingPlan:
    """A planned training; `str` explains it, one line per choice.

    Attributes:
        recipe: for the training loop, with the steps of the rule or of the requested epochs.
        steps: expected number of steps.
        minutes: expected time, with evaluations.
        budget: time limit.
        reasons: the lines of the explanation.
    """

    recipe: RFCNRecipe
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
        model: the model to start from.
        epochs: passes over the photos; by default as many as the rule gives and time allows.
        minutes: time limit; by default 25 minutes for up to 400 photos, and 3 s for each further one. It does not
            shorten a training of given `epochs`.
        began: when the time began, by `time.perf_counter`; by default now.

    Raises:
        InputError: epochs or minutes are not numbers above 0, or both are given.
    """
    check_length(epochs, minutes)
    photos, val = len(split.train), len(split.val)
    rule = _rule_steps(photos)
    limit = minutes if minutes is not None else _DEFAULT_MINUTES[0] + _DEFAULT_MINUTES[1] * max(0, photos - _FEW_PHOTOS)
    seconds = 60 * limit - min(_MARGIN[0], _MARGIN[1] * 60 * limit) if epochs is None else math.inf
    evaluated = min(val, _EVAL_LIMIT)
    evaluation = evaluated * _DETECT_STEPS
    budget = Budget(seconds, machine.step_seconds, evaluation, 2 * val / evaluated)
    if began is not None:
        budget.began = began
    steps = rule if epochs is None else epochs * photos
    stride, evaluates = budget.plan(steps, steps, _EVALUATIONS - 1)
    expected = max(1, round(steps / stride))
    evaluating = (1 + evaluates * (_EVALUATIONS - 1) + budget.closing) * evaluation
    total = (budget.elapsed + (expected + evaluating) * machine.step_seconds) / 60
    passes = f"one photo each ({expected / photos:.3g} passes)"
    if epochs is not None:
        length = f"{steps}, {passes}: as requested"
    elif expected == rule:
        length = f"{steps}, {passes}: the rule for {_count(photos, 'photo')}"
    else:
        limited = f"the time limit is {_format_minutes(limit)}"
        length = f"about {expected}, {passes}: {limited}; the rule for {_count(photos, 'photo')} is {rule}"
    recipe = _recipe(split, model, steps, machine.step_seconds, evaluated, seed)
    reasons = [
        f"validation   {_count(val, 'photo')} to evaluate on, {photos} to train on",
        *_explain_transfer(match_classes(split.train.class_names, model)),
        f"steps        {length}",
        *_explain_recipe(recipe),
        f"time         about {_format_minutes(total)}: {machine.step_seconds:.2f} s per step on {_describe(machine)}",
    ]
    if warning := too_short(recipe, expected, total):
        reasons.append(f"warning      {warning}")
    return TrainingPlan(recipe, expected, total, budget, tuple(reasons))


def too_short(recipe: RFCNRecipe, steps: int, minutes: float) -> str:
    """A warning for a training of so few steps that its accuracy will be low; otherwise ""."""
    rule = recipe.optimizer.steps
    if steps >= _SHORT * rule:
        return ""
    return (
        f"{steps} {'step is' if steps == 1 else 'steps are'} less than a third of the {rule} that the rule asks for, "
        f"so expect low accuracy; at the current speed of this machine, {rule} steps need about "
        f"--minutes {math.ceil(minutes * rule / steps)}"
    )


def check_length(epochs: int | None, minutes: float | None) -> None:
    """Raises `InputError` if both are given, or one is not a number above 0, whole for epochs."""
    if epochs is not None and minutes is not None:
        raise InputError("give epochs or minutes, not both")
    if epochs is not None and not (isinstance(epochs, int) and epochs > 0):
        raise InputError(f"epochs is {epochs!r}; give a whole number above 0")
    if minutes is not None and not (isinstance(minutes, int | float) and 0 < minutes < math.inf):
        raise InputError(f"minutes is {minutes!r}; give a number above 0")


def _rule_steps(photos: int) -> int:
    few = min(photos, _FEW_PHOTOS)
    return max(_MIN_STEPS, _EPOCHS[0] * few + _EPOCHS[1] * (photos - few))


def _recipe(split: Split, model: Model, steps: int, step_seconds: float, evaluated: int, seed: int) -> RFCNRecipe:
    """All other settings follow from the number of steps. Proposals come from Selective Search, because few photos do
    not suffice to train a MultiBox head."""
    assert isinstance(model.config, ModelConfig)
    network = dataclasses.replace(model.config.network, multibox=None)
    return RFCNRecipe(
        data=DataConfig(f"{split.digest} train", f"{split.digest} val", evaluated),
        model=dataclasses.replace(model.config, source="selective_search", network=network),
        augmentation=AugmentationConfig(scale=_SCALE),
        optimizer=OptimizerConfig(
            steps=steps,
            lr=LEARNING_RATE,
            warmup_steps=min(200, steps // 10),
            # an average over the last tenth of the steps
            ema_decay=round(min(0.999, 1 - 10 / (steps + 10)), 6),
        ),
        seed=seed,
        eval_every=max(1, math.ceil(steps / _EVALUATIONS)),
        # about every minute, and not much more often if the machine was busy when it was measured
        checkpoint_every=max(50, round(60 / step_seconds)),
    )


def _explain_transfer(transfer: Transfer) -> list[str]:
    known = [
        name if name == source else f"{name} (its {source})" for name, source in transfer.sources.items() if source
    ]
    new = [name for name, source in transfer.sources.items() if source is None]
    lines = {
        "pretrained   {}: start from the model's weights for them": known,
        "new          {}: start from the mean of the model's classes": new,
        "background   {}: the model's other classes, kept as background": transfer.extra_background_classes,
    }
    return [line.format(join_names(names)) for line, names in lines.items() if names]


def _explain_recipe(recipe: RFCNRecipe) -> list[str]:
    side, warmup, evaluated = recipe.model.input.short_side, recipe.optimizer.warmup_steps, recipe.data.eval_limit
    smallest, largest = (round(side * scale) for scale in recipe.augmentation.scale)
    steps, photos = _count(recipe.eval_every, "step"), _count(evaluated, "validation photo")
    return [
        f"lr           {recipe.optimizer.lr}, warmed up over {_count(warmup, 'step')}, then half a cosine down to 0",
        f"input        short side {side} pixels, in training {smallest} to {largest}; random flips and color jitter",
        f"evaluation   every {steps} on {photos}; keeps the last weights, or clearly better ones",
    ]


def _format_minutes(minutes: float) -> str:
    if minutes < 1.5:
        return _count(max(1, round(60 * minutes)), "second")
    return f"{minutes:.0f} minutes" if minutes < 100 else f"{minutes / 60:.1f} hours"


def _describe(machine: Machine) -> str:
    if machine.device != "cpu":
        return machine.device
    return _count(machine.threads, "core")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"
