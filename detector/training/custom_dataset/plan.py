"""The settings of a training on a custom data set, chosen by rules from the data and a measured step, with reasons."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field

from detector.config import Count, ModelConfig, Positive, parse
from detector.errors import InputError
from detector.models.rfcn import RFCN
from detector.models.weights import Model
from detector.training.budget import Budget
from detector.training.custom_dataset.split import Split, join_names
from detector.training.photos import PhotoSet
from detector.training.recipes import (
    AugmentationConfig,
    Labels,
    Number,
    OptimizerConfig,
    PseudoLabelConfig,
    RandomCropConfig,
    RFCNDataConfig,
    RFCNRecipe,
    SharedMultiBoxConfig,
)
from detector.training.transfer import Transfer, match_classes
from proposals.names import unknown_name

PLAN = "plan.json"
"""File in the training's folder: what was requested, and the machine."""
LEARNING_RATE = 0.00012
"""Of a step on one photo; a larger batch multiplies it by the square root of its photos."""
_HEAD_LR_MULT = 3.0
"""The score maps of new classes have the most to learn."""
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
Augment = Literal["none", "light", "strong"]
_AUGMENTATIONS: dict[Augment, AugmentationConfig] = {
    "none": AugmentationConfig(scale=(1.0, 1.0), color_jitter=0.0, flip=False),
    # of the second part of the default model's training, and of its last (voc07/2_longer, voc07/5_augmentation)
    "light": AugmentationConfig(scale=(0.653, 1.167)),
    "strong": AugmentationConfig(
        scale=(0.55, 1.25),
        random_crop=RandomCropConfig(probability=0.6, area=(0.2, 1.0)),
        mosaic=0.35,
        mixup=0.25,
        color_jitter=0.5,
    ),
}


@dataclass(frozen=True)
class Settings:
    """What a user may choose of a training; the rest follows by rule.

    Attributes:
        epochs: passes over the photos; by default as many as the rule gives and time allows.
        minutes: time limit; by default 25 minutes for up to 400 photos, and 3 s for each further one. It does not
            shorten a training of given `epochs`.
        lr: highest learning rate; by default 0.00012 times the square root of the batch (AdamW).
        batch: photos in a step; they share one size and orientation.
        seed: of the split into training and validation photos, the order of the photos and the augmentation.
        freeze: part of the backbone up to which layers keep their weights, such as "inception_4e", or "backbone" for
            all of it; by default those before the inception modules.
        augment: "none"; "light": flips, color jitter and changes of scale; "strong": more of these, random crops,
            mosaic and mixup.
        size: short side of the network's input in pixels, of the model too; by default that of the starting model, or a
            larger one if objects are small (`detector.training.custom_dataset.sizes`).
        keep: the new model finds the starting model's classes too. Only the score maps of the classes in the photos are
            trained (learning without forgetting of what is shared, by not changing it), and `freeze` is "backbone".
        unlabeled: folder of photos to train on without labels (`detector.training.pseudo_labels`).
        labels: "boxes", or "image" to train on which classes a photo shows (`detector.training.image_labels`): only the
            score maps of these classes are trained, and `freeze` is "backbone".
    """

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}
    epochs: Count | None = None
    minutes: Positive | None = None
    lr: Positive | None = None
    batch: Count = 1
    seed: Number = 0
    freeze: str | None = None
    augment: Augment = "light"
    size: Annotated[int, Field(ge=32, le=2048)] | None = None
    keep: bool = False
    unlabeled: str | None = None
    labels: Labels = "boxes"

    @classmethod
    def checked(cls, **values: Any) -> Self:
        """Settings from values; `InputError` if one is wrong, or both epochs and minutes are given."""
        settings = parse(cls, values, "training")
        if settings.epochs is not None and settings.minutes is not None:
            raise InputError("give epochs or minutes, not both")
        if settings.labels == "image" and (settings.keep or settings.unlabeled is not None):
            raise InputError("training: labels: image labels train alone; leave out keep and unlabeled")
        if (settings.keep or settings.labels == "image") and settings.freeze is not None:
            raise InputError("training: freeze: keep and image labels leave the backbone as it is; leave freeze out")
        return settings


@dataclass(frozen=True)
class Machine:
    """The machine that trains.

    Attributes:
        step_seconds: measured time of a training step.
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
    settings: Settings,
    began: float | None = None,
) -> TrainingPlan:
    """Chooses all settings; the same arguments give the same recipe.

    Args:
        model: the model to start from.
        began: when the time began, by `time.perf_counter`; by default now.
    """
    epochs, minutes, batch = settings.epochs, settings.minutes, settings.batch
    photos, val = len(split.train), len(split.val)
    rule = math.ceil(_rule_images(photos) / batch)
    limit = minutes if minutes is not None else _DEFAULT_MINUTES[0] + _DEFAULT_MINUTES[1] * max(0, photos - _FEW_PHOTOS)
    seconds = 60 * limit - min(_MARGIN[0], _MARGIN[1] * 60 * limit) if epochs is None else math.inf
    evaluated = min(val, _EVAL_LIMIT)
    evaluation = evaluated * _DETECT_STEPS / batch
    budget = Budget(seconds, machine.step_seconds, evaluation, 2 * val / evaluated)
    if began is not None:
        budget.began = began
    steps = rule if epochs is None else math.ceil(epochs * photos / batch)
    stride, evaluates = budget.plan(steps, steps, _EVALUATIONS - 1)
    expected = max(1, round(steps / stride))
    evaluating = (1 + evaluates * (_EVALUATIONS - 1) + budget.closing) * evaluation
    total = (budget.elapsed + (expected + evaluating) * machine.step_seconds) / 60
    each = "one photo" if batch == 1 else f"{batch} photos"
    passes = f"{each} each ({expected * batch / photos:.3g} passes)"
    if epochs is not None:
        length = f"{steps}, {passes}: as requested"
    elif expected == rule:
        length = f"{steps}, {passes}: the rule for {_count(photos, 'photo')}"
    else:
        limited = f"the time limit is {_format_minutes(limit)}"
        length = f"about {expected}, {passes}: {limited}; the rule for {_count(photos, 'photo')} is {rule}"
    recipe = _recipe(split, model, steps, machine.step_seconds, evaluated, settings)
    reasons = [
        f"validation   {_count(val, 'photo')} to evaluate on, {photos} to train on",
        *_explain_transfer(match_classes(split.train.class_names, model), split.train.samples[0].annotations.unlabeled),
        f"steps        {length}",
        *_explain_recipe(recipe, settings),
        *_explain_unlabeled(recipe, split.unlabeled),
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


def _rule_images(photos: int) -> int:
    few = min(photos, _FEW_PHOTOS)
    return max(_MIN_STEPS, _EPOCHS[0] * few + _EPOCHS[1] * (photos - few))


def _recipe(
    split: Split, model: Model, steps: int, step_seconds: float, evaluated: int, settings: Settings
) -> RFCNRecipe:
    """All settings that are not given follow from the number of steps. Proposals come from Selective Search, because
    few photos do not suffice to train a MultiBox head, which fits no changed backbone."""
    assert isinstance(model.config, ModelConfig)
    config = model.config
    post = config.postprocess
    if settings.keep:
        new = len(split.train.class_names) - len(model.class_names)
        calibrations = post.class_calibrations and (*post.class_calibrations, *[post.calibration] * new)
    else:
        calibrations = ()
        config = dataclasses.replace(
            config, source="selective_search", network=dataclasses.replace(config.network, multibox=None)
        )
    config = dataclasses.replace(config, postprocess=dataclasses.replace(post, class_calibrations=calibrations))
    return RFCNRecipe(
        data=RFCNDataConfig(
            f"{split.digest} train", f"{split.digest} val", evaluated, settings.unlabeled, settings.labels
        ),
        model=config,
        multibox=SharedMultiBoxConfig(weight=0),
        pseudo_labels=PseudoLabelConfig(burn_in=PseudoLabelConfig.burn_in if _has_new_classes(split, model) else 0.0),
        augmentation=_AUGMENTATIONS[settings.augment],
        optimizer=OptimizerConfig(
            algorithm="adamw",  # SGD takes several times the steps to learn new classes
            steps=steps,
            lr=settings.lr or round(LEARNING_RATE * settings.batch**0.5, 6),
            head_lr_mult=_HEAD_LR_MULT,
            weight_decay=0.0,  # it would change the score maps that stay too
            warmup_steps=min(200, steps // 10),
            # an average over the last tenth of the steps
            ema_decay=round(min(0.999, 1 - 10 / (steps + 10)), 6),
        ),
        frozen=frozen_part(settings, model),
        batch=settings.batch,
        seed=settings.seed,
        eval_every=max(1, math.ceil(steps / _EVALUATIONS)),
        # about every minute, and not much more often if the machine was busy when it was measured
        checkpoint_every=max(50, round(60 / step_seconds)),
    )


def _has_new_classes(split: Split, model: Model) -> bool:
    return None in match_classes(split.train.class_names, model).sources.values()


def frozen_part(settings: Settings, model: Model) -> str | None:
    """`RFCNRecipe.frozen`; `InputError` if the backbone has no such part."""
    assert isinstance(model.network, RFCN)
    parts = [name for name, _ in model.network.backbone.named_children()]
    if settings.freeze not in (None, "backbone", *parts):
        raise InputError(f"training: freeze: {unknown_name('part', settings.freeze, ('backbone', *parts))}")
    fixed = settings.freeze == "backbone" or settings.keep or settings.labels == "image"
    return parts[-1] if fixed else settings.freeze


def _explain_transfer(transfer: Transfer, kept: frozenset[int]) -> list[str]:
    known = [
        name if name == source else f"{name} (its {source})"
        for label, (name, source) in enumerate(transfer.sources.items())
        if source and label not in kept
    ]
    new = [name for name, source in transfer.sources.items() if source is None]
    lines = {
        "kept         {}: the model's other classes, whose weights stay": [
            list(transfer.sources)[k] for k in sorted(kept)
        ],
        "pretrained   {}: start from the model's weights for them": known,
        "new          {}: start from the mean of the model's classes": new,
        "background   {}: the model's other classes, kept as background": transfer.extra_background_classes,
    }
    return [line.format(join_names(names)) for line, names in lines.items() if names]


_EXPLAINED: dict[Augment, str] = {
    "none": "as they are",
    "light": "{} to {} pixels, random flips and color jitter",
    "strong": "{} to {} pixels, random flips, color jitter, crops, mosaic and mixup",
}


def _explain_recipe(recipe: RFCNRecipe, settings: Settings) -> list[str]:
    side, warmup, evaluated = recipe.model.input.short_side, recipe.optimizer.warmup_steps, recipe.data.eval_limit
    sides = (round(side * scale) for scale in recipe.augmentation.scale)
    steps, photos = _count(recipe.eval_every, "step"), _count(evaluated, "validation photo")
    return [
        f"lr           {recipe.optimizer.lr}, warmed up over {_count(warmup, 'step')}, then half a cosine down to 0",
        f"input        short side {side} pixels; in training {_EXPLAINED[settings.augment].format(*sides)}",
        f"frozen       the backbone up to {recipe.frozen or 'its stem'}",
        f"evaluation   every {steps} on {photos}; keeps the last weights, or clearly better ones",
    ]


def _explain_unlabeled(recipe: RFCNRecipe, photos: PhotoSet | None) -> list[str]:
    if photos is None:
        return []
    config = recipe.pseudo_labels
    start = f"after {100 * config.burn_in:.0f} % of the steps" if config.burn_in else "from the first step"
    count = _count(config.ratio * recipe.batch, "more photo")
    return [f"unlabeled    {_count(len(photos), 'photo')} without labels: {count} in each step, {start}"]


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
