"""Model files: float16 safetensors with everything that detecting needs in the header.

The header's metadata holds the format, the kind of model, the class names and their ids, the classes that count as
background, the model configuration, the hash of the training recipe and the measured mAP, all as JSON text. Nothing
in the file is executed.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from detector.config import (
    AnyModelConfig,
    ClassifierConfig,
    ModelConfig,
    MultiBoxModelConfig,
    RCNNConfig,
    parse,
    to_plain,
)
from detector.errors import InputError
from detector.io.lfs import NOT_FETCHED, START_BYTES, is_pointer
from detector.models.backbones import make_backbone
from detector.models.classifier import ImageClassifier
from detector.models.files import FORMAT, find_model, no_model
from detector.models.rcnn import RCNN
from detector.models.rfcn import RFCN
from detector.ops.devices import without_denormals
from proposals.files import atomic_write
from proposals.multibox.config import MultiBoxConfig
from proposals.multibox.network import MultiBox

Kind = Literal["regions", "crops", "classification", "multibox"]
CONFIGS: dict[Kind, type[AnyModelConfig]] = {
    "regions": ModelConfig,
    "crops": RCNNConfig,
    "classification": ClassifierConfig,
    "multibox": MultiBoxModelConfig,
}
"""Kinds of models, by what their file calls them: detection by regions of a shared pass, detection by crops (R-CNN),
classification of whole images, proposals of a MultiBox network of its own."""

DETECTION: tuple[Kind, ...] = ("regions", "crops")


@dataclass(frozen=True)
class Model:
    """A trained network with what is needed to use it.

    Attributes:
        network: in evaluation mode, float32; a `RFCN`, `RCNN`, `ImageClassifier` or `MultiBox`.
        config: a `ModelConfig`, `RCNNConfig`, `ClassifierConfig` or `MultiBoxModelConfig`, as the network is.
        class_names: none for a MultiBox, which knows no classes.
        metadata: what is known of the training: `recipe` (hash), `steps`, `mAP` and how it was measured.
        extra_background_classes: classes that a `RFCN` knows and takes for background.
        class_ids: the category ids of the labels that it was trained on; none where those had none.
    """

    network: nn.Module
    config: AnyModelConfig
    class_names: tuple[str, ...]
    metadata: dict[str, Any]
    extra_background_classes: tuple[str, ...] = ()
    class_ids: tuple[int | str, ...] = ()

    @property
    def kind(self) -> Kind:
        return next(kind for kind, config in CONFIGS.items() if isinstance(self.config, config))


def make_network(config: AnyModelConfig, num_classes: int, extra_background_classes: int = 0) -> nn.Module:
    """The network that a configuration describes, with random weights; `extra_background_classes` as in `RFCN`."""
    if isinstance(config, RCNNConfig):
        return RCNN(num_classes, config.network)
    if isinstance(config, ClassifierConfig):
        return ImageClassifier(num_classes, config.backbone)
    if isinstance(config, MultiBoxModelConfig):
        return MultiBox(make_backbone(config.backbone), config.head)
    return RFCN(num_classes, config.network, extra_background_classes)


def save_model(model: Model, path: str | Path) -> None:
    """Writes a model file, beside `path` first and then renamed; auxiliary heads are left out."""
    state = {k: v for k, v in model.network.state_dict().items() if not k.startswith("auxiliary")}
    tensors = {k: (v.half() if _halved(k, v) else v).detach().contiguous().cpu() for k, v in state.items()}
    header = {
        "format": FORMAT,
        "kind": model.kind,
        "classes": json.dumps(model.class_names),
        "config": json.dumps(to_plain(model.config)),
        "metadata": json.dumps(model.metadata),
    }
    for name, values in (("extra_background_classes", model.extra_background_classes), ("class_ids", model.class_ids)):
        if values:
            header[name] = json.dumps(values)
    with atomic_write(Path(path)) as temporary:
        temporary.write_bytes(save(tensors, header))


def load_model(path: str | Path | None = None, kinds: tuple[Kind, ...] = DETECTION) -> Model:
    """Reads a model file, by default the one that comes with the package.

    Args:
        path: a file, or the name of a model that comes with the package, such as "voc07".
        kinds: what kinds of models can be used.

    Raises:
        InputError: the file is missing, truncated, of another kind, or lacks a tensor; one line that names it.
    """
    path = find_model(path)
    if path.suffix in {".yaml", ".yml"} and path.is_file():
        raise InputError(f"{path}: a configuration, no model file; give it with --config, or as config=")
    if path.is_dir():
        raise InputError(f"{path}: is a folder; give the model file (.safetensors) in it")
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            if header.get("format") != FORMAT:
                raise InputError(f"{path}: a safetensors file, but not a model of this project")
            kind = header.get("kind", "regions")
            if kind not in kinds:
                raise InputError(f"{path}: a model for {kind}; one for {' or '.join(kinds)} is needed here")
            tensors = {name: _wide(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
        classes = parse(tuple[str, ...], json.loads(header["classes"]), f"{path}: classes")
        extra_background_classes = parse(
            tuple[str, ...],
            json.loads(header.get("extra_background_classes", "[]")),
            f"{path}: extra_background_classes",
        )
        class_ids = parse(tuple[int | str, ...], json.loads(header.get("class_ids", "[]")), f"{path}: class_ids")
        if class_ids and not len(set(class_ids)) == len(class_ids) == len(classes):
            raise InputError(f"{path}: class_ids must all differ, one for each of {len(classes)} classes: {class_ids}")
        config: AnyModelConfig = parse(CONFIGS[kind], json.loads(header["config"]), str(path))
        metadata = parse(dict[str, Any], json.loads(header["metadata"]), f"{path}: metadata")
    except FileNotFoundError:
        raise no_model(path) from None
    except InputError:
        raise
    except (SafetensorError, OSError, KeyError, ValueError, TypeError, RecursionError) as error:
        if path.is_file() and is_pointer(path.read_bytes()[:START_BYTES]):
            raise InputError(f"{path}: {NOT_FETCHED}") from None
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not a readable model file ({reason}); it may be truncated") from None
    if _is_large(config, len(classes) + len(extra_background_classes)):
        with torch.device("meta"):  # no memory is taken before the file is known to hold as much
            _check(make_network(config, len(classes), len(extra_background_classes)), tensors, path)
    network = make_network(config, len(classes), len(extra_background_classes))
    _check(network, tensors, path)
    with without_denormals():  # PyTorch's threads, if they are made here, keep that
        for name, tensor in tensors.items():
            if not _is_finite(tensor):
                raise InputError(f"{path}: tensor '{name}' holds numbers that are not finite; its training failed")
    network.load_state_dict(tensors)
    return Model(network.eval(), config, classes, metadata, extra_background_classes, class_ids)


def _is_finite(tensor: torch.Tensor) -> bool:
    """Whether all numbers are; by the extremes, which hold NaN if there is one: a sixth of the time of `isfinite`."""
    return tensor.numel() == 0 or bool(torch.isfinite(torch.stack(torch.aminmax(tensor))).all())


def _is_large(config: AnyModelConfig, classes: int) -> bool:
    """Whether the head alone would have more than some 20 million weights."""
    bins = config.network.bins if isinstance(config, ModelConfig) else 1
    multibox = getattr(getattr(config, "network", config), "multibox", None) or getattr(config, "head", None)
    wide = isinstance(multibox, MultiBoxConfig) and max(multibox.priors, multibox.shapes, 2 * multibox.channels) > 1000
    return bins**2 * classes > 20_000 or wide


def _check(network: nn.Module, tensors: Mapping[str, torch.Tensor], path: str | Path) -> None:
    expected = network.state_dict()
    for name, tensor in expected.items():
        if name not in tensors:
            raise InputError(f"{path}: tensor '{name}' is missing; the file is not a whole model")
        if tensors[name].shape != tensor.shape:
            raise InputError(
                f"{path}: tensor '{name}' has shape {tuple(tensors[name].shape)}, not {tuple(tensor.shape)}"
            )
    if extra := sorted(tensors.keys() - expected.keys()):
        raise InputError(f"{path}: unknown tensor '{extra[0]}'; the file is of another network")


def weights_hash(network: nn.Module) -> str:
    """Twelve hex digits that change with any weight of the network."""
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())  # any format
    return digest.hexdigest()[:12]


def _halved(name: str, tensor: torch.Tensor) -> bool:
    """Priors stay exact: they are coordinates."""
    return tensor.is_floating_point() and not name.endswith("priors")


def _wide(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor
