"""Recipes: whole training runs, read from YAML. The key `task` says what is trained: regions, crops,
classification or multibox."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from detector.config import (
    ClassifierConfig,
    Count,
    Fraction,
    ModelConfig,
    MultiBoxModelConfig,
    Positive,
    RCNNConfig,
    parse,
    read_yaml,
)
from detector.errors import InputError
from proposals.multibox.config import MultiBoxLossConfig
from proposals.names import unknown_name

_FORBID = {"extra": "forbid"}


@dataclass(frozen=True)
class DataConfig:
    """Which images: `train_split` and `eval_split` are lists in `ImageSets/Main` of the data folder."""

    __pydantic_config__ = _FORBID
    train_split: str
    eval_split: str
    eval_limit: Count = 150


@dataclass(frozen=True)
class RandomCropConfig:
    """Random parts of a training image, in place of the whole.

    Attributes:
        probability: of taking a part.
        area: least and most of the part's share of the image's area, before its sides are cut to the image's.
        aspect: least and most of its width over its height, in units of the image's.
        overlap: an object of which less is left is not trained.
    """

    __pydantic_config__ = _FORBID
    probability: Fraction = 0.7
    area: tuple[Positive, Positive] = (0.2, 1.0)
    aspect: tuple[Positive, Positive] = (0.75, 4 / 3)
    overlap: Fraction = 0.5

    def __post_init__(self) -> None:
        if not self.area[0] <= self.area[1] <= 1 or self.aspect[0] > self.aspect[1]:
            raise ValueError("area and aspect are (least, most), area at most 1")


@dataclass(frozen=True)
class AugmentationConfig:
    """Random changes to a training image.

    Attributes:
        scale: factors (least, most) on the input's short side.
        random_crop: parts of the image in place of the whole.
        mosaic: how often four images are put together to one (Bochkovskiy et al., 2020).
        mixup: how often another image is laid over it at a random mixing ratio (Zhang et al., 2019).
        jittered_copies: extra regions a ground-truth box, moved and resized at random.
        color_jitter: strength of brightness, contrast and saturation changes; 0 turns them off.
    """

    __pydantic_config__ = _FORBID
    scale: tuple[Positive, Positive] = (0.85, 1.2)
    random_crop: RandomCropConfig = field(default_factory=lambda: RandomCropConfig(probability=0.0))
    mosaic: Fraction = 0.0
    mixup: Fraction = 0.0
    jittered_copies: Annotated[int, Field(ge=0)] = 8
    color_jitter: Fraction = 0.3

    def __post_init__(self) -> None:
        if self.scale[0] > self.scale[1]:
            raise ValueError(f"scale is (least, most), not {self.scale}")


@dataclass(frozen=True)
class OptimizerConfig:
    """SGD with momentum and linear warm-up; `ema_decay` is the paper's Polyak averaging.

    Attributes:
        decay: None: half a cosine down to zero at the last step. Otherwise the factor on the rate every `decay_every`
            steps (GoogLeNet: 0.96 every 8 epochs).
        head_lr_mult: factor on the rate of layers that start from nothing (R-CNN: 10).
    """

    __pydantic_config__ = _FORBID
    steps: Count = 20_000
    lr: Positive = 0.003
    momentum: Fraction = 0.9
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 5e-4
    warmup_steps: Annotated[int, Field(ge=0)] = 200
    gradient_clip: Positive = 10.0
    ema_decay: Fraction = 0.999
    decay: Fraction | None = None
    decay_every: Count = 1
    head_lr_mult: Positive = 1.0


@dataclass(frozen=True)
class SharedMultiBoxConfig:
    """How a MultiBox head on the backbone of a region classifier is trained with it.

    Attributes:
        loss: of MultiBox.
        weight: of that loss against the region classifier's.
        backbone: whether its gradients reach the backbone; otherwise the backbone is the region classifier's alone.
    """

    __pydantic_config__ = _FORBID
    loss: MultiBoxLossConfig = field(default_factory=MultiBoxLossConfig)
    weight: Positive = 1.0
    backbone: bool = False


@dataclass(frozen=True)
class Recipe:
    """Training of a region classifier with shared computation.

    Attributes:
        batch: images a step, all of one size and mostly of one orientation. The rate is that of a batch.
        ohem_rois: of an image's regions, that many of highest loss are trained (online hard example mining).
        multibox: if the network has a MultiBox head.
    """

    __pydantic_config__ = _FORBID
    data: DataConfig
    task: Literal["regions"] = "regions"
    model: ModelConfig = field(default_factory=ModelConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    multibox: SharedMultiBoxConfig = field(default_factory=SharedMultiBoxConfig)
    batch: Count = 1
    ohem_rois: Count = 128
    seed: Annotated[int, Field(ge=0)] = 0
    eval_every: Count = 2000
    checkpoint_every: Count = 500


@dataclass(frozen=True)
class CropBatchConfig:
    """The crops of one training step; the defaults are R-CNN's batch of 32 foreground and 96 background regions.

    Attributes:
        images: that the crops are drawn from, the same number of each.
        crops, foreground: how many in all, and how many of them overlap an object by IoU 0.5 or more.
        without_context: part of the crops that are taken without context, so that one model serves with and without.
        color_jitter: strength of brightness, contrast and saturation changes; R-CNN had none.
        micro_batch: crops that go through the network at once.
    """

    __pydantic_config__ = _FORBID
    images: Count = 32
    crops: Count = 128
    foreground: Annotated[int, Field(ge=0)] = 32
    without_context: Fraction = 0.0
    color_jitter: Fraction = 0.0
    micro_batch: Count = 32

    def __post_init__(self) -> None:
        if self.crops % self.images or self.foreground % self.images or self.foreground > self.crops:
            raise ValueError("crops and foreground must be multiples of images, and foreground at most crops")


@dataclass(frozen=True)
class HeadsConfig:
    """SVMs and box regression on the features of the trained network (R-CNN, section 2.3 and appendix C).

    Attributes:
        images: training images from whose regions the heads are fitted; all have their objects used.
        negatives, near: regions drawn of each image with IoU below `svm_negative_iou`, and above `box_iou`.
        svm_c, svm_positive_weight, svm_bias: of the hinge loss; weight of positives; value of the bias feature.
        svm_negative_iou: regions below it are negatives of a class (0.5 costs R-CNN 5 mAP, 0 costs 4).
        feature_norm: the features' mean norm is brought to it.
        box_lambda: of the ridge regression; box_iou: proposals above it take part.
    """

    __pydantic_config__ = _FORBID
    images: Count = 2000
    negatives: Count = 40
    near: Count = 12
    svm_c: Positive = 1e-3
    svm_positive_weight: Positive = 2.0
    svm_bias: Positive = 10.0
    svm_negative_iou: Fraction = 0.3
    feature_norm: Positive = 20.0
    box_lambda: Positive = 1000.0
    box_iou: Fraction = 0.6


@dataclass(frozen=True)
class CropRecipe:
    """Training of R-CNN: the network on crops, then SVMs and box regression."""

    __pydantic_config__ = _FORBID
    data: DataConfig
    task: Literal["crops"] = "crops"
    model: RCNNConfig = field(default_factory=RCNNConfig)
    batch: CropBatchConfig = field(default_factory=CropBatchConfig)
    heads: HeadsConfig = field(default_factory=HeadsConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    seed: Annotated[int, Field(ge=0)] = 0
    eval_every: Count = 1000
    checkpoint_every: Count = 50


@dataclass(frozen=True)
class RandomResizedCropConfig:
    """Random patches of a training image (GoogLeNet, section 6).

    Attributes:
        area, aspect: least and most of the patch's part of the image's area, and of its width over its height.
        color_jitter: strength of brightness, contrast and saturation changes (after Howard, 2013).
        interpolations: of which one is drawn for each patch.
    """

    __pydantic_config__ = _FORBID
    area: tuple[Positive, Positive] = (0.08, 1.0)
    aspect: tuple[Positive, Positive] = (0.75, 4 / 3)
    color_jitter: Fraction = 0.4
    interpolations: tuple[Literal["bilinear", "area", "nearest", "cubic"], ...] = (
        "bilinear", "area", "nearest", "cubic",
    )  # fmt: skip

    def __post_init__(self) -> None:
        if not self.area[0] <= self.area[1] <= 1 or not self.aspect[0] <= self.aspect[1] or not self.interpolations:
            raise ValueError("area and aspect are (least, most), area at most 1, and interpolations has at least one")


@dataclass(frozen=True)
class ClassificationOptimizerConfig(OptimizerConfig):
    """The same with GoogLeNet's decay, and Caffe's numbers where the paper has none."""

    lr: Positive = 0.01
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 2e-4
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    decay: Fraction | None = 0.96


@dataclass(frozen=True)
class ClassificationRecipe:
    """Training of a classifier of whole images as GoogLeNet was trained (sections 5 and 6).

    Attributes:
        train, val: folders below the data set's root, with a subfolder of photos for each class.
        auxiliary_weight: of the losses of the two auxiliary heads; 0 leaves them out.
        epochs, batch: the batch is that of all processes together.
        decay_epochs: every so many epochs the rate falls by `optimizer.decay`; `optimizer.steps` and `decay_every`
            follow from the epochs.
    """

    __pydantic_config__ = _FORBID
    task: Literal["classification"]
    train: str = "train"
    val: str = "val"
    model: ClassifierConfig = field(default_factory=ClassifierConfig)
    random_resized_crop: RandomResizedCropConfig = field(default_factory=RandomResizedCropConfig)
    auxiliary_weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.3
    epochs: Count = 60
    batch: Count = 32
    decay_epochs: Count = 8
    optimizer: ClassificationOptimizerConfig = field(default_factory=ClassificationOptimizerConfig)
    seed: Annotated[int, Field(ge=0)] = 0
    eval_every: Count = 1000
    checkpoint_every: Count = 100


@dataclass(frozen=True)
class MultiBoxRecipe:
    """Training of a MultiBox network of its own.

    Attributes:
        random_crop: parts of an image in place of the whole.
        color_jitter: strength of brightness, contrast and saturation changes; 0 turns them off.
        batch: images a step.
    """

    __pydantic_config__ = _FORBID
    task: Literal["multibox"]
    data: DataConfig
    model: MultiBoxModelConfig = field(default_factory=MultiBoxModelConfig)
    loss: MultiBoxLossConfig = field(default_factory=MultiBoxLossConfig)
    random_crop: RandomCropConfig = field(default_factory=RandomCropConfig)
    color_jitter: Fraction = 0.3
    batch: Count = 16
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    seed: Annotated[int, Field(ge=0)] = 0
    eval_every: Count = 2000
    checkpoint_every: Count = 100


AnyRecipe = Recipe | CropRecipe | ClassificationRecipe | MultiBoxRecipe
KINDS: dict[str, type[AnyRecipe]] = {
    "regions": Recipe,
    "crops": CropRecipe,
    "classification": ClassificationRecipe,
    "multibox": MultiBoxRecipe,
}


def load_recipe(path: str | Path) -> AnyRecipe:
    """Reads a YAML recipe.

    Raises:
        InputError: the file is missing, no YAML, or does not describe a recipe.
    """
    values = read_yaml(path, "the recipes are in configs/")
    if isinstance(values, dict) and "models" in values:
        raise InputError(f"{path}: a detector's configuration, no recipe; detect and evaluate take it with --config")
    task = values.get("task", "regions") if isinstance(values, dict) else "regions"
    if not isinstance(task, str) or task not in KINDS:
        raise InputError(f"{path}: {unknown_name('task', task, KINDS)}")
    return parse(KINDS[task], values, str(path))
