"""Where model files are, and what their header says: all that is known of a model before PyTorch is loaded."""

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open

from detector.config import DetectorConfig, parse, read_yaml
from detector.errors import InputError

FORMAT = "inception-rcnn-1"
MODELS = Path(__file__).parents[1] / "pretrained"
DEFAULT_MODEL = MODELS / "voc07.safetensors"
CONFIGURATIONS = "configurations are in configs/"
"""The hint where a configuration is not there."""


def find_model(path: str | Path | None, beside: Path | None = None) -> Path:
    """The file of a model: the default one, one that comes with the package by its bare name, or the path itself.

    beside: the folder to which a path is relative, by default the working directory.
    """
    if path is None:
        return DEFAULT_MODEL
    installed = MODELS / f"{path}.safetensors"
    if Path(path).name == str(path) and not Path(path).is_file() and installed.exists():
        return installed
    return Path(path) if beside is None else beside / path


def no_model(path: Path) -> InputError:
    """The error that a model file is not there."""
    installed = ", ".join(sorted(file.stem for file in MODELS.glob("*.safetensors")))
    return InputError(f"{path}: no such model file; give a path, or an installed model: {installed}")


def read_detector_config(path: Path) -> DetectorConfig:
    """The configuration of a detector.

    Raises:
        InputError: it is missing or wrong, or something else of this project.
    """
    if path.suffix == ".safetensors":
        raise InputError(f"{path}: a model file, no configuration; give it with --model, or as model=")
    values = read_yaml(path, CONFIGURATIONS)
    if isinstance(values, dict) and "optimizer" in values and "models" not in values:
        raise InputError(f"{path}: a recipe for training, no detector; give the model that it trained with --model")
    return parse(DetectorConfig, values, str(path))


def model_files(model: str | Path | None = None, config: str | Path | None = None) -> list[Path]:
    """The files of the models that `load_detector` would load.

    Raises:
        InputError: one is missing, or the configuration is wrong.
    """
    if config is None:
        files = [find_model(model)]
    else:
        path = Path(config)
        files = [find_model(name, path.parent) for name in read_detector_config(path).models]
    for file in files:
        if not file.exists():
            raise no_model(file)
    return files


def classes_of_model(model: str | Path | None = None, config: str | Path | None = None) -> tuple[str, ...] | None:
    """The classes of the detector that `load_detector` would make, in a few milliseconds.

    None if the file does not say; to load it will tell why.

    Raises:
        InputError: a file is missing, or the configuration is wrong.
    """
    first = model_files(model, config)[0]
    try:
        with safe_open(first, framework="numpy") as opened:
            names = json.loads((opened.metadata() or {})["classes"])
    except (SafetensorError, OSError, KeyError, ValueError, RecursionError):
        return None
    known = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return tuple(names) if known else None
