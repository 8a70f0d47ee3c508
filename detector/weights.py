"""Model files: float16 safetensors with everything that detecting needs in the header.

The header's metadata holds the format, the kind of model, the class names, the model configuration, the hash of the
training recipe and the measured mAP, all as JSON text. Nothing in the file is executed.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from detector.config import ModelConfig, RCNNConfig, parse, to_plain
from detector.errors import InputError
from detector.network import RegionClassifier
from detector.rcnn import CropClassifier
from proposals.files import atomic_write

FORMAT = "inception-rcnn-1"
DEFAULT_MODEL = Path(__file__).parent / "models" / "voc07.safetensors"


@dataclass(frozen=True)
class Model:
    """A trained network with what is needed to use it.

    Attributes:
        network: in evaluation mode, float32.
        facts: what is known of the training: `recipe` (hash), `steps`, `mAP` and how it was measured.
    """

    network: RegionClassifier | CropClassifier
    config: ModelConfig | RCNNConfig
    class_names: tuple[str, ...]
    facts: dict[str, Any]


def save_model(model: Model, path: str | Path) -> None:
    """Writes a model file, beside `path` first and then renamed."""
    tensors = {k: v.detach().half().contiguous().cpu() for k, v in model.network.state_dict().items()}
    metadata = {
        "format": FORMAT,
        "kind": "crops" if isinstance(model.config, RCNNConfig) else "regions",
        "classes": json.dumps(model.class_names),
        "config": json.dumps(to_plain(model.config)),
        "facts": json.dumps(model.facts),
    }
    with atomic_write(Path(path)) as temporary:
        temporary.write_bytes(save(tensors, metadata))


def load_model(path: str | Path | None = None) -> Model:
    """Reads a model file, by default the one that comes with the package.

    Raises:
        InputError: the file is missing, truncated, of another kind, or lacks a tensor; one line that names it.
    """
    path = DEFAULT_MODEL if path is None else Path(path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise InputError(f"{path}: a safetensors file, but not a detection model of this project")
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
        classes = parse(tuple[str, ...], json.loads(metadata["classes"]), f"{path}: classes")
        kind = metadata.get("kind", "regions")
        if kind not in ("regions", "crops"):
            raise InputError(f"{path}: a model of the kind '{kind}', which this version does not know")
        values = json.loads(metadata["config"])
        config: ModelConfig | RCNNConfig
        config = parse(RCNNConfig, values, str(path)) if kind == "crops" else parse(ModelConfig, values, str(path))
        facts = parse(dict[str, Any], json.loads(metadata["facts"]), f"{path}: facts")
    except FileNotFoundError:
        raise InputError(f"{path}: no such model file") from None
    except InputError:
        raise
    except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
        raise InputError(f"{path}: not a readable model file ({error}); it may be truncated") from None
    network: RegionClassifier | CropClassifier
    if isinstance(config, RCNNConfig):
        network = CropClassifier(len(classes), config.network)
    else:
        network = RegionClassifier(len(classes), config.network)
    expected = network.state_dict()
    for name, tensor in expected.items():
        if name not in tensors:
            raise InputError(f"{path}: tensor '{name}' is missing; the file is not a whole model")
        if tensors[name].shape != tensor.shape:
            raise InputError(
                f"{path}: tensor '{name}' has shape {tuple(tensors[name].shape)}, not {tuple(tensor.shape)}"
            )
        if not torch.isfinite(tensors[name]).all():
            raise InputError(f"{path}: tensor '{name}' holds numbers that are not finite; its training failed")
    if extra := sorted(tensors.keys() - expected.keys()):
        raise InputError(f"{path}: unknown tensor '{extra[0]}'; the file is of another network")
    network.load_state_dict(tensors)
    return Model(network.eval(), config, classes, facts)
