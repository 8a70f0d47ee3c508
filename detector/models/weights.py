"""Model files: float16 safetensors whose header holds everything else that detection needs (`models.header.Header`).

Reading a file executes no code.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from detector.config import AnyModelConfig, ClassifierConfig, ModelConfig, MultiBoxModelConfig, RCNNConfig
from detector.errors import InputError
from detector.io.lfs import NOT_FETCHED, START_BYTES, is_pointer
from detector.models.backbones import make_backbone
from detector.models.classifier import ImageClassifier
from detector.models.files import find_model, missing_model
from detector.models.header import DETECTION, Header, Kind
from detector.models.rcnn import RCNN
from detector.models.rfcn import RFCN
from detector.ops.devices import without_denormals
from proposals.files import atomic_write
from proposals.multibox.config import MultiBoxConfig
from proposals.multibox.network import MultiBox


@dataclass(frozen=True)
class Model:
    """A trained network with everything needed to use it.

    Attributes:
        network: in evaluation mode, float32: an `RFCN`, `RCNN`, `ImageClassifier` or `MultiBox`, as `config` says.
        config, class_names, metadata, extra_background_classes, class_ids: see `detector.models.header.Header`.
    """

    network: nn.Module
    config: AnyModelConfig
    class_names: tuple[str, ...]
    metadata: dict[str, Any]
    extra_background_classes: tuple[str, ...] = ()
    class_ids: tuple[int | str, ...] = ()

    @property
    def header(self) -> Header:
        return Header(self.config, self.class_names, self.metadata, self.extra_background_classes, self.class_ids)

    @property
    def kind(self) -> Kind:
        return self.header.kind


def make_network(config: AnyModelConfig, num_classes: int, extra_background_classes: int = 0) -> nn.Module:
    """The network of a configuration with random weights; `extra_background_classes` as in `RFCN`."""
    if isinstance(config, RCNNConfig):
        return RCNN(num_classes, config.network)
    if isinstance(config, ClassifierConfig):
        return ImageClassifier(num_classes, config.backbone)
    if isinstance(config, MultiBoxModelConfig):
        return MultiBox(make_backbone(config.backbone), config.head)
    return RFCN(num_classes, config.network, extra_background_classes)


def save_model(model: Model, path: str | Path) -> None:
    """Writes a model file atomically, without auxiliary heads."""
    tensors = {}
    for name, tensor in model.network.state_dict().items():
        if not name.startswith("auxiliary"):
            half = tensor.is_floating_point() and not name.endswith("priors")  # priors are coordinates: kept exact
            tensors[name] = (tensor.half() if half else tensor).detach().contiguous().cpu()
    with atomic_write(Path(path)) as temporary:
        temporary.write_bytes(save(tensors, model.header.to_text()))


def load_model(path: str | Path | None = None, kinds: tuple[Kind, ...] = DETECTION) -> Model:
    """Reads a model file.

    Args:
        path: a file, or the name of a model that ships with the package, such as "voc07"; None for the default model.
        kinds: the accepted kinds of models.

    Raises:
        InputError: the file is missing, truncated, of another kind, or lacks a tensor; one line that names it.
    """
    path = find_model(path)
    if path.suffix in {".yaml", ".yml"} and path.is_file():
        raise InputError(f"{path}: a configuration, not a model file; give it with --config, or as config=")
    if path.is_dir():
        raise InputError(f"{path}: is a folder; give the model file (.safetensors) in it")
    try:
        with safe_open(path, framework="pt") as file:
            header = Header.from_text(file.metadata() or {}, path, kinds)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise missing_model(path) from None
    except InputError:
        raise
    except (SafetensorError, OSError, KeyError, ValueError, TypeError, RecursionError) as error:
        if path.is_file() and is_pointer(path.read_bytes()[:START_BYTES]):
            raise InputError(f"{path}: {NOT_FETCHED}") from None
        reason = " ".join(str(error).split())
        remedy = "it may be truncated" if path.suffix == ".safetensors" else "give a .safetensors file"
        if path.suffix == ".onnx":
            remedy = "a graph is given by --engine (engine=), beside the model that it was exported from"
        raise InputError(f"{path}: not a readable model file ({reason}); {remedy}") from None
    sizes = (len(header.classes), len(header.extra_background_classes))
    if _is_large(header.config, sum(sizes)):
        with torch.device("meta"):  # compare shapes before allocating what the header asks for
            _check_shapes(make_network(header.config, *sizes), tensors, path)
    network = make_network(header.config, *sizes)
    _check_shapes(network, tensors, path)
    with without_denormals():  # PyTorch may start its threads here; they keep the mode
        for name, tensor in tensors.items():
            if tensor.is_floating_point():
                tensors[name] = tensor.float()
            if not _is_finite(tensors[name]):
                raise InputError(f"{path}: tensor '{name}' holds numbers that are not finite; its training failed")
    network.load_state_dict(tensors)
    extra = header.extra_background_classes
    return Model(network.eval(), header.config, header.classes, header.metadata, extra, header.class_ids)


def _is_finite(tensor: torch.Tensor) -> bool:
    """Whether all numbers are finite, from the extremes, which propagate NaN: six times as fast as `isfinite`."""
    return tensor.numel() == 0 or bool(torch.isfinite(torch.stack(torch.aminmax(tensor))).all())


def _is_large(config: AnyModelConfig, classes: int) -> bool:
    """Whether the head alone would have more than some 20 million weights."""
    bins = config.network.bins if isinstance(config, ModelConfig) else 1
    multibox = getattr(getattr(config, "network", config), "multibox", None) or getattr(config, "head", None)
    wide = isinstance(multibox, MultiBoxConfig) and max(multibox.priors, multibox.shapes, 2 * multibox.channels) > 1000
    return bins**2 * classes > 20_000 or wide


def _check_shapes(network: nn.Module, tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    expected = network.state_dict()
    for name, tensor in expected.items():
        if name not in tensors:
            raise InputError(f"{path}: tensor '{name}' is missing; the file is not a whole model")
        if tensors[name].shape != tensor.shape:
            shapes = f"{tuple(tensors[name].shape)}, not {tuple(tensor.shape)}"
            raise InputError(f"{path}: tensor '{name}' has shape {shapes}")
    if extra := sorted(tensors.keys() - expected.keys()):
        raise InputError(f"{path}: unknown tensor '{extra[0]}'; the file is of another network")


def weights_hash(network: nn.Module) -> str:
    """Twelve hex digits that depend on every weight of the network."""
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:12]
