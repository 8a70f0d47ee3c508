"""Configurations: frozen dataclasses, read from YAML and validated; an unknown key is an error that lists the known.

`ModelConfig` and `RCNNConfig` are all that detecting needs and travel inside the weights files; the recipes of
`detector.training.recipes` add what training needs.
"""

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import Field, TypeAdapter, ValidationError

from detector.errors import InputError
from detector.io.yaml import parse_yaml
from proposals import SelectiveSearchConfig
from proposals.multibox.config import MultiBoxConfig
from proposals.names import check_name, unknown_name

_FORBID = {"extra": "forbid"}
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Side = Annotated[int, Field(ge=1, le=10_000)]
"""Of a network's input in pixels: what a model file asks for must not fill the memory."""
Bins = Annotated[int, Field(ge=1, le=31)]
Fraction = Annotated[float, Field(ge=0, le=1)]
ScoringHead = Literal["softmax", "svm"]
CropMode = Literal["warp", "square"]
Head = Literal[ScoringHead, "both"]
"""What scores a crop; "both": the mean of the two, each calibrated."""


@dataclass(frozen=True)
class InputConfig:
    """How a photo becomes the network's input: resized so that its short side is `short_side` pixels, unless the
    long side then passed `long_side`, both rounded to a multiple of 32 (`detector.ops.transforms`)."""

    __pydantic_config__ = _FORBID
    short_side: Side = 400
    long_side: Side = 1000


@dataclass(frozen=True)
class NetworkConfig:
    """The network that is shared by all regions (`detector.models.rfcn`).

    Attributes:
        backbone: as in `detector.models.backbones.make_backbone`.
        bins: a region is divided into bins x bins (R-FCN: 7).
        multibox: a head that proposes boxes from the same features; None: there is none.
    """

    __pydantic_config__ = _FORBID
    backbone: str = "googlenet"
    bins: Bins = 7
    multibox: MultiBoxConfig | None = None


@dataclass(frozen=True)
class PostprocessConfig:
    """From scores and boxes to detections: NMS for each class (R-CNN: 0.3), then the best of an image.

    Attributes:
        voting_iou: boxes that overlap a detection by at least this vote on where it is (`voting.vote_boxes`); None: no
            voting. Without box regression there is none.
        calibration: slope and offset that the log-odds of a score are put through (Platt scaling), fitted after the
            training so that a score says how often such a detection is right; the order of detections stays.
    """

    __pydantic_config__ = _FORBID
    nms_iou: Fraction = 0.3
    max_detections: Count = 100
    calibration: tuple[Positive, Finite] = (1.0, 0.0)
    voting_iou: Fraction | None = 0.5


Source = Literal["selective_search", "multibox", "both"]
"""Where a detector's regions come from."""
SOURCES: tuple[Source, ...] = get_args(Source)


@dataclass(frozen=True)
class ModelConfig:
    """A model that shares one pass of the network between all regions.

    Attributes:
        source: of the regions, unless a user names another. "both": MultiBox and Selective Search with doubled
            superpixels, merged (`proposals.merge_proposals`), as in GoogLeNet's section 8.
        proposals: settings of Selective Search.
        multibox_boxes: number of boxes of MultiBox.
        union_boxes: most boxes in all with source "both"; None: no limit.
    """

    __pydantic_config__ = _FORBID
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
            raise ValueError(f"source {self.source} needs a head: network.multibox")


@dataclass(frozen=True)
class CropConfig:
    """How a region becomes a crop (`detector.ops.crops`).

    Attributes:
        size: pixels of a side of the square crop.
        context: pixels of the crop around the region, on every side (R-CNN: 16; 0: none).
        mode: "warp": the region's sides are stretched to the crop's (R-CNN's choice). "square": the smallest square
            around the region's center that holds it, so that nothing is stretched.
        longest_side: a larger image is first reduced to this many pixels, which bounds the memory.

    Raises ValueError if the mode is unknown or the context leaves less than one pixel for the region.
    """

    __pydantic_config__ = _FORBID
    size: Side = 224
    context: Annotated[int, Field(ge=0)] = 16
    mode: CropMode = "warp"
    longest_side: Side = 2000

    def __post_init__(self) -> None:
        check_name("mode", self.mode, get_args(CropMode))
        if 2 * self.context >= self.size:
            raise ValueError(f"context {self.context} on both sides leaves nothing of a crop of {self.size} pixels")


@dataclass(frozen=True)
class CropNetworkConfig:
    """The network for crops (`detector.models.rcnn`).

    Attributes:
        backbone: as in `detector.models.backbones.make_backbone`.
        box_bins: the box regression sees features averaged over box_bins x box_bins parts of the crop. R-CNN gives it
            all of pool5 (6x6x256), GoogLeNet's last features are 7x7x1024, too many for ridge regression.
        dropout: part of the averaged features that is dropped in training (GoogLeNet: 0.4).
    """

    __pydantic_config__ = _FORBID
    backbone: str = "googlenet"
    box_bins: Bins = 3
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.4


@dataclass(frozen=True)
class Calibration:
    """Slope and offset for the log-odds of a score (Platt scaling), for each kind of classifier of an R-CNN."""

    __pydantic_config__ = _FORBID
    softmax: tuple[Positive, Finite] = (1.0, 0.0)
    svm: tuple[Positive, Finite] = (1.0, 0.0)


@dataclass(frozen=True)
class RCNNConfig:
    """A model that classifies every region as a crop of its own (`detector.models.rcnn`).

    Attributes:
        head: what scores a crop, "softmax", "svm", or "both", their mean.
        box_regression: whether boxes are moved by the ridge regression.
    """

    __pydantic_config__ = _FORBID
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
            raise ValueError("postprocess.calibration means nothing for crops: give calibration.softmax and .svm")


@dataclass(frozen=True)
class DetectorConfig:
    """A whole detector, put together from trained models; what is None stays as the models were trained.

    Attributes:
        models: files, relative to that of the configuration, or names of installed models ("voc07"); the scores of
            several are averaged for each region.
        proposals: settings of Selective Search; null: none of its boxes.
        multibox: MultiBox boxes that are added to those of Selective Search (GoogLeNet: 200).
        multibox_model: whose MultiBox that is, a file or an installed model; by default the first of `models` that
            has one.
        context: pixels around the region in a crop (`CropConfig`), for the models that see crops.
        head: "softmax", "svm" or "both", for the models that see crops.
        test_scales: of the inputs that models of one pass see an image at, one after the other; by default their own.
            MultiBox's boxes are those of the first.
        flip_test: whether these see each input mirrored too. All scores are averaged.
        box_regression: False: no box is moved.
        nms_iou, max_detections, voting_iou: as in `PostprocessConfig`.
    """

    __pydantic_config__ = _FORBID
    models: tuple[str, ...]
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

    def __post_init__(self) -> None:
        if self.test_scales is not None and not 0 < len(set(self.test_scales)) == len(self.test_scales):
            raise ValueError("test_scales must name at least one, and each once")
        if not self.models:
            raise ValueError("models must name at least one")
        if self.proposals is None and not self.multibox:
            raise ValueError("without proposals of Selective Search, multibox must be above 0")
        if self.multibox_model is not None and not self.multibox:
            raise ValueError("multibox_model means nothing while multibox is 0")


@dataclass(frozen=True)
class ClassifierConfig:
    """A model that classifies whole images (`detector.models.classifier`).

    Attributes:
        backbone: as in `detector.models.backbones.make_backbone`.
        size: pixels of a side of the square input.
    """

    __pydantic_config__ = _FORBID
    backbone: str = "googlenet"
    size: Side = 224


@dataclass(frozen=True)
class MultiBoxModelConfig:
    """A MultiBox network of its own (`proposals.multibox`).

    Attributes:
        backbone: as in `detector.models.backbones.make_backbone`.
        size: pixels of a side of the square input.
    """

    __pydantic_config__ = _FORBID
    backbone: str = "googlenet"
    size: Side = 256
    head: MultiBoxConfig = field(default_factory=MultiBoxConfig)


AnyModelConfig = ModelConfig | RCNNConfig | ClassifierConfig | MultiBoxModelConfig
"""Configuration of a model of any kind."""

T = TypeVar("T")


def parse(kind: type[T], values: Any, source: str) -> T:
    """A configuration of dataclass `kind` from plain values.

    Raises:
        InputError: an unknown key, a missing one or a value out of range; names `source` and the field.
    """
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        path = [str(part) for part in first["loc"]]
        where = ".".join(path) or "the top level"
        if first["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
            key = unknown_name("key", path[-1], _known_keys(kind, path[:-1]))
            raise InputError(": ".join(filter(None, (source, ".".join(path[:-1]), key)))) from None
        if first["type"] == "literal_error":
            known = re.findall("'(.*?)'", first["ctx"]["expected"])
            raise InputError(f"{source}: {unknown_name(where, first['input'], known)}") from None
        raise InputError(f"{source}: {where}: {first['msg'][0].lower()}{first['msg'][1:]}") from None


def _known_keys(kind: Any, path: list[str]) -> list[str]:
    for part in path:
        kind = {f.name: f.type for f in dataclasses.fields(kind)}[part]
        kind = next((choice for choice in get_args(kind) if dataclasses.is_dataclass(choice)), kind)  # X | None
    return [f.name for f in dataclasses.fields(kind)]


def read_yaml(path: str | Path, hint: str) -> Any:
    """The plain values of a YAML file; no code in it is executed.

    Raises:
        InputError: the file is missing, which is followed by `hint`, or is no YAML.
    """
    try:
        return parse_yaml(Path(path).read_bytes())
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; {hint}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a readable YAML file ({' '.join(str(error).split())})") from None


def to_plain(config: Any) -> dict[str, Any]:
    """A configuration as plain dictionaries, lists and numbers, as JSON holds them."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def config_hash(config: Any) -> str:
    """Twelve hex digits that change with any value of the configuration."""
    return hashlib.sha256(json.dumps(to_plain(config), sort_keys=True).encode()).hexdigest()[:12]
