"""Configurations: frozen dataclasses, read from YAML and validated; an unknown key is an error that lists the known.

`ModelConfig` is all that detecting needs and travels inside the weights file; `Recipe` adds what training needs.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import Field, TypeAdapter, ValidationError

from detector.errors import InputError
from proposals import SelectiveSearchConfig

_FORBID = {"extra": "forbid"}
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True)
class InputConfig:
    """How a photo becomes the network's input: resized so that its short side is `short_side` pixels, unless the
    long side then passed `long_side`, both rounded to a multiple of 32 (`detector.transforms`)."""

    __pydantic_config__ = _FORBID
    short_side: Count = 400
    long_side: Count = 1000


@dataclass(frozen=True)
class NetworkConfig:
    """The head on the shared trunk (`detector.network`): a region is divided into bins x bins (R-FCN: 7)."""

    __pydantic_config__ = _FORBID
    bins: Count = 7


@dataclass(frozen=True)
class PostprocessConfig:
    """From scores and boxes to detections: NMS for each class (R-CNN: 0.3), then the best of an image.

    Attributes:
        calibration: slope and offset that the log-odds of a score are put through (Platt scaling), fitted after the
            training so that a score says how often such a detection is right; the order of detections stays.
    """

    __pydantic_config__ = _FORBID
    nms_iou: Fraction = 0.3
    max_detections: Count = 100
    calibration: tuple[Positive, Finite] = (1.0, 0.0)


@dataclass(frozen=True)
class ModelConfig:
    __pydantic_config__ = _FORBID
    input: InputConfig = field(default_factory=InputConfig)
    proposals: SelectiveSearchConfig = field(default_factory=SelectiveSearchConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    postprocess: PostprocessConfig = field(default_factory=PostprocessConfig)


@dataclass(frozen=True)
class DataConfig:
    """Which images: `train_split` and `eval_split` are lists in `ImageSets/Main` of the data folder."""

    __pydantic_config__ = _FORBID
    train_split: str
    eval_split: str
    eval_limit: Count = 150


@dataclass(frozen=True)
class AugmentationConfig:
    """Random changes to a training image.

    Attributes:
        scale: factors (least, most) on the input's short side.
        jittered_copies: extra regions a ground-truth box, moved and resized at random.
        photometric: strength of brightness, contrast and saturation changes; 0 turns them off.
    """

    __pydantic_config__ = _FORBID
    scale: tuple[Positive, Positive] = (0.85, 1.2)
    jittered_copies: Annotated[int, Field(ge=0)] = 8
    photometric: Fraction = 0.3

    def __post_init__(self) -> None:
        if self.scale[0] > self.scale[1]:
            raise ValueError(f"scale is (least, most), not {self.scale}")


@dataclass(frozen=True)
class OptimizerConfig:
    """SGD with momentum, linear warm-up and cosine decay to zero; `ema_decay` is the paper's Polyak averaging."""

    __pydantic_config__ = _FORBID
    steps: Count = 20_000
    rate: Positive = 0.003
    momentum: Fraction = 0.9
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 5e-4
    warmup_steps: Annotated[int, Field(ge=0)] = 200
    gradient_clip: Positive = 10.0
    ema_decay: Fraction = 0.999
    hard_regions: Count = 128


@dataclass(frozen=True)
class Recipe:
    """A whole training run."""

    __pydantic_config__ = _FORBID
    data: DataConfig
    model: ModelConfig = field(default_factory=ModelConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    seed: Annotated[int, Field(ge=0)] = 0
    eval_every: Count = 2000
    checkpoint_every: Count = 500


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
            known = ", ".join(_known_keys(kind, path[:-1]))
            raise InputError(f"{source}: unknown key '{where}'; known here: {known}") from None
        raise InputError(f"{source}: {where}: {first['msg'][0].lower()}{first['msg'][1:]}") from None


def _known_keys(kind: Any, path: list[str]) -> list[str]:
    for part in path:
        kind = {f.name: f.type for f in dataclasses.fields(kind)}[part]
    return [f.name for f in dataclasses.fields(kind)]


def load_recipe(path: str | Path) -> Recipe:
    """Reads a YAML recipe.

    Raises:
        InputError: the file is missing, no YAML, or does not describe a recipe.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        values = yaml.safe_load(text)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; the recipes are in configs/") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: not a readable YAML file ({' '.join(str(error).split())})") from None
    return parse(Recipe, values, str(path))


def to_plain(config: Any) -> dict[str, Any]:
    """A configuration as plain dictionaries, lists and numbers, as JSON holds them."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def config_hash(config: Any) -> str:
    """Twelve hex digits that change with any value of the configuration."""
    return hashlib.sha256(json.dumps(to_plain(config), sort_keys=True).encode()).hexdigest()[:12]
