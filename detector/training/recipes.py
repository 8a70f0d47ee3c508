"""Recipes: training runs, read from YAML. The key `task` says what is trained, by default an R-FCN."""

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
    Strict,
    find_config,
    parse,
    read_yaml,
)
from detector.errors import InputError
from proposals.multibox.config import MultiBoxLossConfig
from proposals.names import unknown_name

NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Number = Annotated[int, Field(ge=0)]
Labels = Literal["boxes", "image"]
Interpolation = Literal["bilinear", "area", "nearest", "cubic"]


@dataclass(frozen=True)
class DataConfig(Strict):
    """Images of a data set in VOC's layout.

    Attributes:
        train_split, eval_split: lists in `ImageSets/Main` of the data folder.
        eval_limit: number of images to evaluate on before the last step.
    """

    train_split: str
    eval_split: str
    eval_limit: Count = 150


@dataclass(frozen=True)
class RFCNDataConfig(DataConfig):
    """As `DataConfig`, with `unlabeled` and `labels` as in `PhotosConfig`."""

    unlabeled: str | None = None
    labels: Labels = "boxes"


@dataclass(frozen=True)
class LabeledPhotosConfig(Strict):
    """Photos and their labels.

    Attributes:
        path: what `detector train --data` takes, relative to the data folder.
        labeled_classes: the classes that are annotated in these photos; None for all. Objects of the others may be
            there, so that no region counts as an example against them.
    """

    path: str
    labeled_classes: tuple[str, ...] | None = None


@dataclass(frozen=True)
class PhotosConfig(Strict):
    """Photos of several data sets, in any layout that `detector train --data` takes.

    Attributes:
        train: data sets, of which the first one has all classes.
        val: photos to evaluate on, as `LabeledPhotosConfig.path`.
        repeat_threshold: photos that show a class that fewer than this fraction of the photos shows are repeated by the
            square root of the ratio (Gupta et al., 2019, section 4.2: 0.001); 0 for no repetition.
        eval_limit: number of images to evaluate on before the last step.
        unlabeled: folder of photos to train on without labels, relative to the data folder (`PseudoLabelConfig`).
        labels: boxes; or image: photos in folders by class and CSV files too (`detector.training.image_labels`).
    """

    train: Annotated[tuple[LabeledPhotosConfig, ...], Field(min_length=1)]
    val: str
    repeat_threshold: Fraction = 0.0
    eval_limit: Count = 150
    unlabeled: str | None = None
    labels: Labels = "boxes"

    @property
    def eval_split(self) -> str:
        return self.val


@dataclass(frozen=True)
class RandomCropConfig(Strict):
    """Random crops of a training image.

    Attributes:
        probability: of a crop; otherwise the whole image is used.
        area: (min, max) fraction of the image's area, before the sides are limited to the image's.
        aspect: (min, max) aspect ratio, width over height, relative to the image's.
        overlap: an object of which a smaller fraction remains is ignored.
    """

    probability: Fraction = 0.7
    area: tuple[Positive, Positive] = (0.2, 1.0)
    aspect: tuple[Positive, Positive] = (0.75, 4 / 3)
    overlap: Fraction = 0.5

    def __post_init__(self) -> None:
        if not self.area[0] <= self.area[1] <= 1 or self.aspect[0] > self.aspect[1]:
            raise ValueError("area and aspect are (min, max), and area is at most 1")


@dataclass(frozen=True)
class AugmentationConfig(Strict):
    """Random augmentation of a training image (`detector.training.augmentation`).

    Attributes:
        scale: (min, max) factor on the input's short side.
        random_crop: random crops, unless the image becomes a mosaic.
        mosaic: probability that four images are combined into one (Bochkovskiy et al., 2020).
        mixup: probability that another image is blended in at a random ratio (Zhang et al., 2019).
        jittered_copies: extra regions per object, moved and resized at random.
        color_jitter: strength of changes in brightness, contrast and saturation; 0 turns them off.
        flip: whether half of the images are mirrored left to right.
    """

    scale: tuple[Positive, Positive] = (0.85, 1.2)
    random_crop: RandomCropConfig = field(default_factory=lambda: RandomCropConfig(probability=0.0))
    mosaic: Fraction = 0.0
    mixup: Fraction = 0.0
    jittered_copies: Number = 8
    color_jitter: Fraction = 0.3
    flip: bool = True

    def __post_init__(self) -> None:
        if self.scale[0] > self.scale[1]:
            raise ValueError(f"scale is (min, max), not {self.scale}")


@dataclass(frozen=True)
class OptimizerConfig(Strict):
    """SGD with momentum, or AdamW, and linear warm-up; `ema_decay` is the paper's Polyak averaging.

    Attributes:
        algorithm: AdamW (Loshchilov and Hutter, 2019) needs a learning rate about thirty times smaller.
        decay: factor on the learning rate every `decay_every` steps (GoogLeNet: 0.96 every 8 epochs); None: half a
            cosine down to zero at the last step.
        head_lr_mult: factor on the learning rate of layers without initial weights (R-CNN: 10).
    """

    algorithm: Literal["sgd", "adamw"] = "sgd"
    steps: Count = 20_000
    lr: Positive = 0.003
    momentum: Fraction = 0.9
    weight_decay: NonNegative = 5e-4
    warmup_steps: Number = 200
    gradient_clip: Positive = 10.0
    ema_decay: Fraction = 0.999
    decay: Fraction | None = None
    decay_every: Count = 1
    head_lr_mult: Positive = 1.0


@dataclass(frozen=True)
class SharedMultiBoxConfig(Strict):
    """Training of a MultiBox head on the backbone of an R-FCN.

    Attributes:
        loss: MultiBox's loss.
        weight: weight of that loss relative to the R-FCN's; 0 leaves the head as it is.
        backbone: whether its gradients reach the backbone.
    """

    loss: MultiBoxLossConfig = field(default_factory=MultiBoxLossConfig)
    weight: NonNegative = 1.0
    backbone: bool = False


@dataclass(frozen=True)
class PseudoLabelConfig(Strict):
    """Training on photos without labels (`detector.training.pseudo_labels`).

    Attributes:
        ratio: photos without labels in a step for each labeled one.
        weight: weight of their loss relative to that of the labeled photos.
        sure, unsure: lowest scores, as a softmax, of a detection that becomes an object, and of one that counts as
            neither an object nor background.
        burn_in: part of the steps at the start on labeled photos alone; 0 if the initial weights know the classes.
    """

    ratio: Count = 1
    weight: NonNegative = 1.0
    sure: Fraction = 0.8
    unsure: Fraction = 0.1
    burn_in: Fraction = 0.2

    def __post_init__(self) -> None:
        if self.unsure > self.sure:
            raise ValueError("unsure is at most sure")


@dataclass(frozen=True)
class RFCNRecipe(Strict):
    """Training of an R-FCN.

    Attributes:
        batch: images per step, over all processes; they share one size and orientation.
        ohem_rois: regions of highest loss per image that are trained (online hard example mining).
        iou_targets: train class scores to be the IoU of the detection too (`detector.training.targets.region_losses`).
        multibox: for a network with a MultiBox head.
        pseudo_labels: for `data.unlabeled`.
        frozen: child of the backbone up to which, in the order of the pass, the weights stay fixed, such as
            inception_3b; by default what its `freeze_stem` excludes.
    """

    data: RFCNDataConfig | PhotosConfig
    task: Literal["rfcn"] = "rfcn"
    model: ModelConfig = field(default_factory=ModelConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    multibox: SharedMultiBoxConfig = field(default_factory=SharedMultiBoxConfig)
    pseudo_labels: PseudoLabelConfig = field(default_factory=PseudoLabelConfig)
    frozen: str | None = None
    batch: Count = 1
    ohem_rois: Count = 128
    iou_targets: bool = False
    seed: Number = 0
    eval_every: Count = 2000
    checkpoint_every: Count = 500


@dataclass(frozen=True)
class CropBatchConfig(Strict):
    """The crops of one training step; the defaults are R-CNN's 32 foreground and 96 background regions.

    Attributes:
        images: number of images, each of which gives the same number of crops.
        crops, foreground: number of all crops, and of those whose IoU with an object is at least 0.5.
        without_context: fraction of the crops without context, so that one model serves with and without it.
        color_jitter: strength of changes in brightness, contrast and saturation; R-CNN has none.
        micro_batch: crops that pass through the network at once.
    """

    images: Count = 32
    crops: Count = 128
    foreground: Number = 32
    without_context: Fraction = 0.0
    color_jitter: Fraction = 0.0
    micro_batch: Count = 32

    def __post_init__(self) -> None:
        if self.crops % self.images or self.foreground % self.images or self.foreground > self.crops:
            raise ValueError("crops and foreground must be multiples of images, and foreground at most crops")


@dataclass(frozen=True)
class HeadsConfig(Strict):
    """SVMs and box regression on the features of the trained network (R-CNN, section 2.3 and appendix C).

    Attributes:
        images: number of training images whose regions are used; the objects of all images are used.
        negatives, near: regions drawn per image with IoU below `svm_negative_iou`, and above `box_iou`.
        svm_c, svm_positive_weight, svm_bias: the hinge loss's C, weight of positives, value of the bias feature.
        svm_negative_iou: regions below it are negatives of a class (in R-CNN 0.5 costs 5 mAP, 0 costs 4).
        feature_norm: mean norm that the features are scaled to.
        box_lambda, box_iou: penalty of the ridge regression, and the IoU above which proposals are used.
    """

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
class RCNNRecipe(Strict):
    """Training of an R-CNN: the network on crops, then SVMs and box regression."""

    data: DataConfig
    task: Literal["rcnn"] = "rcnn"
    model: RCNNConfig = field(default_factory=RCNNConfig)
    batch: CropBatchConfig = field(default_factory=CropBatchConfig)
    heads: HeadsConfig = field(default_factory=HeadsConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    seed: Number = 0
    eval_every: Count = 1000
    checkpoint_every: Count = 50


@dataclass(frozen=True)
class RandomResizedCropConfig(Strict):
    """Random resized crops of a training image (GoogLeNet, section 6).

    Attributes:
        area: (min, max) fraction of the image's area.
        aspect: (min, max) aspect ratio, width over height.
        color_jitter: strength of changes in brightness, contrast and saturation (after Howard, 2013).
        interpolations: one is drawn for each crop.
    """

    area: tuple[Positive, Positive] = (0.08, 1.0)
    aspect: tuple[Positive, Positive] = (0.75, 4 / 3)
    color_jitter: Fraction = 0.4
    interpolations: tuple[Interpolation, ...] = ("bilinear", "area", "nearest", "cubic")

    def __post_init__(self) -> None:
        if not self.area[0] <= self.area[1] <= 1 or not self.aspect[0] <= self.aspect[1] or not self.interpolations:
            raise ValueError("area and aspect are (min, max), area is at most 1, and interpolations names at least one")


@dataclass(frozen=True)
class ClassificationOptimizerConfig(OptimizerConfig):
    """Defaults of GoogLeNet's paper (the decay), and Caffe's where the paper gives none."""

    lr: Positive = 0.01
    weight_decay: NonNegative = 2e-4
    warmup_steps: Number = 0
    decay: Fraction | None = 0.96


@dataclass(frozen=True)
class ClassificationRecipe(Strict):
    """Training of an image classifier as GoogLeNet was trained (sections 5 and 6).

    Attributes:
        train, val: folders in the data set's root, each with a folder of photos per class.
        auxiliary_weight: weight of the losses of the two auxiliary heads; 0 removes the heads.
        batch: images per step, over all processes.
        decay_epochs: epochs after which the learning rate is multiplied by `optimizer.decay`; `optimizer.steps` and
            `decay_every` follow from the epochs.
    """

    task: Literal["classification"]
    train: str = "train"
    val: str = "val"
    model: ClassifierConfig = field(default_factory=ClassifierConfig)
    random_resized_crop: RandomResizedCropConfig = field(default_factory=RandomResizedCropConfig)
    auxiliary_weight: NonNegative = 0.3
    epochs: Count = 60
    batch: Count = 32
    decay_epochs: Count = 8
    optimizer: ClassificationOptimizerConfig = field(default_factory=ClassificationOptimizerConfig)
    seed: Number = 0
    eval_every: Count = 1000
    checkpoint_every: Count = 100


@dataclass(frozen=True)
class MultiBoxRecipe(Strict):
    """Training of MultiBox as a separate network.

    Attributes:
        color_jitter: strength of changes in brightness, contrast and saturation; 0 turns them off.
        batch: images per step.
    """

    task: Literal["multibox"]
    data: DataConfig
    model: MultiBoxModelConfig = field(default_factory=MultiBoxModelConfig)
    loss: MultiBoxLossConfig = field(default_factory=MultiBoxLossConfig)
    random_crop: RandomCropConfig = field(default_factory=RandomCropConfig)
    color_jitter: Fraction = 0.3
    batch: Count = 16
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    seed: Number = 0
    eval_every: Count = 2000
    checkpoint_every: Count = 100


AnyRecipe = RFCNRecipe | RCNNRecipe | ClassificationRecipe | MultiBoxRecipe
TASKS: dict[str, type[AnyRecipe]] = {
    "rfcn": RFCNRecipe,
    "rcnn": RCNNRecipe,
    "classification": ClassificationRecipe,
    "multibox": MultiBoxRecipe,
}


def load_recipe(path: str | Path) -> AnyRecipe:
    """Reads a YAML recipe, by its path or, for one in the package, by its name, such as "voc07/1_rfcn".

    Raises:
        InputError: the file is missing, is not YAML, or does not describe a recipe.
    """
    path = find_config(path)
    values = read_yaml(path)
    if isinstance(values, dict) and "models" in values:
        raise InputError(f"{path}: configures a detector, not a training; pass it to detect or evaluate with --config")
    task = values.get("task", "rfcn") if isinstance(values, dict) else "rfcn"
    if not isinstance(task, str) or task not in TASKS:
        raise InputError(f"{path}: {unknown_name('task', task, TASKS)}")
    return parse(TASKS[task], values, str(path))
