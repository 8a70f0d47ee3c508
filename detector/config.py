"""Configurations: frozen dataclasses, read from YAML and validated; errors for unknown keys list the known ones.

`ModelConfig` and `RCNNConfig` hold everything that detection needs and are stored in the model files; the recipes of
`detector.training.recipes` add the settings of training.
"""

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar, get_args

from pydantic import Field, TypeAdapter, ValidationError

from detector.errors import InputError
from detector.io.yaml import parse_yaml
from proposals import SelectiveSearchConfig
from proposals.multibox.config import MultiBoxConfig
from proposals.names import check_name, unknown_name

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Side = Annotated[int, Field(ge=1, le=10_000)]
"""Of a network's input in pixels, bounded so that a model file cannot exhaust the memory."""
Bins = Annotated[int, Field(ge=1, le=31)]
Fraction = Annotated[float, Field(ge=0, le=1)]
ScoringHead = Literal["softmax", "svm"]
CropMode = Literal["warp", "square"]
Head = Literal[ScoringHead, "both"]
"""What scores a crop; "both" is the mean of the two, each calibrated."""


class Strict:
    """What all configurations have in common: a key that is not a field is an error."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}


@dataclass(frozen=True)
class InputConfig(Strict):
    """How a photo is resized for the network (`detector.ops.transforms.input_size`).

    Attributes:
        short_side: pixels of the short side, rounded to a multiple of 32.
        long_side: most pixels of the long side; longer photos are reduced further.
    """

    short_side: Side = 400
    long_side: Side = 1000


@dataclass(frozen=True)
class NetworkConfig(Strict):
    """An R-FCN (`detector.models.rfcn`).

    Attributes:
        backbone: a name for `detector.models.backbones.make_backbone`.
        bins: bins along each side of a region (R-FCN: 7).
        delta_bins: bins for the box deltas, if they differ: many classes need few bins, exact boxes need many.
        multibox: a head that proposes boxes from the same features; None for no such head.
    """

    backbone: str = "googlenet"
    bins: Bins = 7
    delta_bins: Bins | None = None
    multibox: MultiBoxConfig | None = None


@dataclass(frozen=True)
class PostprocessConfig(Strict):
    """From scores and boxes to detections.

    Attributes:
        nms_iou: NMS within a class suppresses boxes that overlap a better one by more than this (R-CNN: 0.3).
        max_detections: most detections per image.
        calibration: slope and offset of Platt scaling of the log-odds of scores; does not change the order of
            detections. Fitted after training (`detector.evaluation.metrics.calibration`).
        class_calibrations: in place of it the slope and offset of each class, in the order of the classes, for a model
            whose classes were trained apart; () if all share `calibration`.
        voting_iou: boxes that overlap a detection by at least this vote on its position
            (`detector.ops.box_voting.vote_boxes`); None for no voting. Voting requires box regression.
        agnostic_nms: NMS suppresses overlapping boxes of other classes too.
    """

    nms_iou: Fraction = 0.3
    max_detections: Count = 100
    calibration: tuple[Positive, Finite] = (1.0, 0.0)
    class_calibrations: tuple[tuple[Positive, Finite], ...] = ()
    voting_iou: Fraction | None = 0.5
    agnostic_nms: bool = False


Source = Literal["selective_search", "multibox", "both"]
"""What proposes a detector's regions."""
SOURCES: tuple[Source, ...] = get_args(Source)


@dataclass(frozen=True)
class ModelConfig(Strict):
    """An R-FCN model: all regions share one pass of the network.

    Attributes:
        source: what proposes regions, unless the user selects another. "both" merges MultiBox and Selective Search with
            doubled superpixels (`proposals.merge_proposals`), as in GoogLeNet's section 8.
        multibox_boxes: number of MultiBox's boxes.
        union_boxes: most boxes in total with source "both"; None for no limit.
    """

    input: InputConfig = field(default_factory=InputConfig)
    source: Source = "selective_search"
    multibox_boxes: Count = 200
    union_boxes: Count | None = None
    proposals: SelectiveSearchConfig = field(default_factory=SelectiveSearchConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    postprocess: PostprocessConfig = field(default_factory=PostprocessConfig)

    def __post_init__(self) -> None:
        check_name("source", self.source, SOURCES)
        if self.source != "selective_search" and self.network.multibox is None:
            raise ValueError(f"source {self.source} needs network.multibox, a MultiBox head")


@dataclass(frozen=True)
class CropConfig(Strict):
    """How a region becomes a crop (`detector.ops.crops`).

    Attributes:
        size: side of the square crop in pixels.
        context: pixels of the crop on each side of the region (R-CNN: 16).
        mode: "warp" stretches the region to the crop (R-CNN's choice); "square" crops the smallest square that contains
            the region and shares its center, which preserves the aspect ratio.
        longest_side: a larger image is first reduced to this many pixels, which bounds the memory.

    Raises:
        ValueError: the mode is unknown, or the context leaves no pixel for the region.
    """

    size: Side = 224
    context: Annotated[int, Field(ge=0)] = 16
    mode: CropMode = "warp"
    longest_side: Side = 2000

    def __post_init__(self) -> None:
        check_name("mode", self.mode, get_args(CropMode))
        if 2 * self.context >= self.size:
            raise ValueError(f"context {self.context} on both sides leaves nothing of a crop of {self.size} pixels")


@dataclass(frozen=True)
class CropNetworkConfig(Strict):
    """An R-CNN's network (`detector.models.rcnn`).

    Attributes:
        backbone: a name for `detector.models.backbones.make_backbone`.
        box_bins: box regression uses features averaged over box_bins x box_bins parts of the crop. R-CNN uses all of
            pool5 (6x6x256); GoogLeNet's last features, 7x7x1024, are too many for ridge regression.
        dropout: share of the averaged features that is dropped in training (GoogLeNet: 0.4).
    """

    backbone: str = "googlenet"
    box_bins: Bins = 3
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.4


@dataclass(frozen=True)
class Calibration(Strict):
    """Slope and offset of Platt scaling for each kind of classifier of an R-CNN."""

    softmax: tuple[Positive, Finite] = (1.0, 0.0)
    svm: tuple[Positive, Finite] = (1.0, 0.0)


@dataclass(frozen=True)
class RCNNConfig(Strict):
    """An R-CNN model, which classifies each region as a separate crop (`detector.models.rcnn`).

    Attributes:
        head: what scores a crop: "softmax", "svm", or "both" for their mean.
        box_regression: whether ridge regression refines the boxes.
    """

    crops: CropConfig = field(default_factory=CropConfig)
    proposals: SelectiveSearchConfig = field(default_factory=SelectiveSearchConfig)
    network: CropNetworkConfig = field(default_factory=CropNetworkConfig)
    head: Head = "softmax"
    box_regression: bool = True
    postprocess: PostprocessConfig = field(default_factory=PostprocessConfig)
    calibration: Calibration = field(default_factory=Calibration)

    def __post_init__(self) -> None:
        check_name("head", self.head, get_args(Head))
        if self.postprocess.calibration != PostprocessConfig.calibration:
            raise ValueError("postprocess.calibration does not apply to crops; set calibration.softmax and .svm")


@dataclass(frozen=True)
class RegionClassifierConfig(Strict):
    """An ImageNet classifier that names the regions of a detector (`detector.inference.class_transfer`).

    Attributes:
        model: the classification model, relative to the configuration, or the name of an installed one.
        classes: file of the classes (`detector.models.synsets.synset_classes`), relative to the configuration; None for
            all classes of the classifier.
        short_side: pixels of the short side of the classifier's input.
        photo_side: pixels of the short side of a second input, whose mean features classify the whole photo. The scores
            of a class then are its probability in the photo times its score in the region relative to the best region
            (ILSVRC's task CLS-LOC: classify the photo, then localize each class). None: the regions alone.
        objectness_power: of the objectness in the product with the class probability.
        unnamed: classes of the detector that the classifier cannot name and would call something else (a person a ski);
            they do not count as objects, unless the detector's own scores tell them.
        own_scores: whether classes that the detector knows by itself keep its scores.
        calibration: slope and offset of Platt scaling of the log-odds of the other scores.
    """

    model: str = "bvlc_googlenet"
    classes: str | None = None
    short_side: Side = 352
    photo_side: Side | None = None
    objectness_power: Positive = 1.0
    unnamed: tuple[str, ...] = ()
    own_scores: bool = True
    calibration: tuple[Positive, Finite] = (1.0, 0.0)


@dataclass(frozen=True)
class DetectorConfig(Strict):
    """A detector assembled from trained models; None keeps the models' own settings.

    Attributes:
        models: model files, relative to the configuration, or names of installed models ("voc07"). The scores of
            several models are averaged for each region.
        classifier: gives the regions other classes than those of `models`.
        proposals: settings of Selective Search; null for MultiBox's boxes only.
        multibox: number of MultiBox's boxes that are added to Selective Search's (GoogLeNet: 200).
        multibox_model: the model whose MultiBox proposes; by default the first of `models` that has one.
        context: pixels around the region in a crop (`CropConfig.context`), for R-CNN models.
        head: "softmax", "svm" or "both", for R-CNN models.
        test_scales: short sides in pixels at which R-FCN models process each image; by default the model's own.
            MultiBox proposes at the first.
        flip_test: R-FCN models also process each input flipped horizontally. All scores are averaged.
        box_regression: whether box deltas refine the boxes.
        nms_iou, max_detections, voting_iou, agnostic_nms: see `PostprocessConfig`.
    """

    models: tuple[str, ...]
    classifier: RegionClassifierConfig | None = None
    proposals: SelectiveSearchConfig | None = field(default_factory=SelectiveSearchConfig)
    multibox: Annotated[int, Field(ge=0)] = 0
    multibox_model: str | None = None
    context: Annotated[int, Field(ge=0)] | None = None
    head: Head | None = None
    test_scales: tuple[Annotated[int, Field(ge=32, le=2048)], ...] | None = None
    flip_test: bool = False
    box_regression: bool = True
    nms_iou: Fraction = 0.3
    max_detections: Count = 100
    voting_iou: Fraction | None = 0.5
    agnostic_nms: bool = False

    def __post_init__(self) -> None:
        if self.test_scales is not None and not 0 < len(set(self.test_scales)) == len(self.test_scales):
            raise ValueError("test_scales must name at least one, and each once")
        if not self.models:
            raise ValueError("models must name at least one model")
        if self.proposals is None and not self.multibox:
            raise ValueError("without proposals of Selective Search, multibox must be above 0")
        if self.multibox_model is not None and not self.multibox:
            raise ValueError("multibox_model has no effect while multibox is 0")


@dataclass(frozen=True)
class ClassifierConfig(Strict):
    """A model that classifies whole images (`detector.models.classifier`).

    Attributes:
        backbone: a name for `detector.models.backbones.make_backbone`.
        size: side of the square input in pixels.
    """

    backbone: str = "googlenet"
    size: Side = 224


@dataclass(frozen=True)
class MultiBoxModelConfig(Strict):
    """A MultiBox network with its own backbone (`proposals.multibox`).

    Attributes:
        backbone: a name for `detector.models.backbones.make_backbone`.
        size: side of the square input in pixels.
    """

    backbone: str = "googlenet"
    size: Side = 256
    head: MultiBoxConfig = field(default_factory=MultiBoxConfig)


AnyModelConfig = ModelConfig | RCNNConfig | ClassifierConfig | MultiBoxModelConfig
"""The configuration of any kind of model."""

T = TypeVar("T")


def parse(kind: type[T], values: Any, source: str) -> T:
    """Validates plain values and makes a configuration of dataclass `kind` from them.

    Raises:
        InputError: a key is unknown or missing, or a value is out of range; names `source` and the field.
    """
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        path = [str(part) for part in first["loc"] if not str(part)[:1].isupper()]  # without members of a union
        name = ".".join(path) or "the top level"
        if first["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
            key = unknown_name("key", path[-1], _keys(kind, path[:-1]))
            raise InputError(": ".join(filter(None, (source, ".".join(path[:-1]), key)))) from None
        if first["type"] == "literal_error":
            choices = re.findall("'(.*?)'", first["ctx"]["expected"])
            raise InputError(f"{source}: {unknown_name(name, first['input'], choices)}") from None
        raise InputError(f"{source}: {name}: {first['msg'][0].lower()}{first['msg'][1:]}") from None


def _keys(kind: Any, path: list[str]) -> list[str]:
    for part in path:
        kind = {f.name: f.type for f in dataclasses.fields(kind)}[part]
        kind = next((choice for choice in get_args(kind) if dataclasses.is_dataclass(choice)), kind)  # X | None
    return [f.name for f in dataclasses.fields(kind)]


_BESIDE, _INSIDE = Path(__file__).parents[1] / "configs", Path(__file__).parent / "configs"
CONFIG_FOLDER = _INSIDE if _INSIDE.is_dir() else _BESIDE  # in a wheel, or in a checkout
"""Folder of the package's recipes, configurations of detectors, and lists of images."""


def find_config(path: str | Path) -> Path:
    """The file of a recipe or configuration: a path, or a name in the package, such as "best" or "voc07/1_rfcn"."""
    named = CONFIG_FOLDER / f"{path}.yaml"
    return named if not Path(path).is_file() and named.is_file() else Path(path)


def read_yaml(path: str | Path) -> Any:
    """Reads a recipe or configuration as plain values; executes no code.

    Raises:
        InputError: the file is missing or is not valid YAML.
    """
    try:
        return parse_yaml(Path(path).read_bytes())
    except FileNotFoundError:
        names = sorted(
            file.relative_to(CONFIG_FOLDER).with_suffix("").as_posix() for file in CONFIG_FOLDER.rglob("*.yaml")
        )
        raise InputError(f"{path}: no such file; the package has {', '.join(names)}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a readable YAML file ({' '.join(str(error).split())})") from None


def to_plain(config: Any) -> dict[str, Any]:
    """A configuration as the dictionaries, lists and numbers of JSON."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def config_hash(config: Any) -> str:
    """Twelve hex digits that depend on every value of the configuration."""
    return hashlib.sha256(json.dumps(to_plain(config), sort_keys=True).encode()).hexdigest()[:12]
