"""Where model files are and which classes they detect, without loading PyTorch."""

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open

from detector.config import DetectorConfig, RegionClassifierConfig, find_config, parse, read_yaml
from detector.errors import InputError
from detector.models.hub import MODEL_FILE, download, is_hub_id
from detector.models.synsets import synset_classes

MODELS = Path(__file__).parents[1] / "pretrained"
DEFAULT_MODEL = MODELS / "voc07.safetensors"
DEFAULT_CLASSIFIER = MODELS / "bvlc_googlenet.safetensors"
"""Comes with a checkout, not with the wheel."""


def find_model(path: str | Path | None, beside: Path | None = None) -> Path:
    """The file of a model, or of a configuration that puts several together.

    Args:
        path: None for the default model, the bare name of a model or configuration in the package, the path of a file
            or of a folder with `model.safetensors`, or the id of a model on the Hub, owner/name.
        beside: the folder that a relative path starts from; by default the working directory.

    Raises:
        InputError: the model cannot be loaded from the Hub.
    """
    if path is None:
        return DEFAULT_MODEL
    installed = MODELS / f"{path}.safetensors"
    if Path(path).name == str(path) and not Path(path).is_file() and installed.exists():
        return installed
    if (config := find_config(path)) != Path(path):
        return config
    file = Path(path) if beside is None else beside / path
    if (file / MODEL_FILE).is_file():
        return file / MODEL_FILE
    return download(Path(path).as_posix()) if is_hub_id(Path(path)) and not file.exists() else file


def missing_model(path: Path) -> InputError:
    """The error for a model file that does not exist."""
    installed = ", ".join(sorted(file.stem for file in MODELS.glob("*.safetensors")))
    return InputError(
        f"{path}: no such model file; give a path, the id of a model on the Hub (owner/name), or an installed model: "
        f"{installed}; this project's others come with a checkout of its repository"
    )


def read_detector_config(path: Path) -> DetectorConfig:
    """Reads the configuration of a detector.

    Raises:
        InputError: the file is missing, wrong, or another kind of file of this project.
    """
    if path.suffix == ".safetensors":
        raise InputError(f"{path}: a model file, not a configuration; give it with --model, or as model=")
    values = read_yaml(path)
    if isinstance(values, dict) and "optimizer" in values and "models" not in values:
        raise InputError(f"{path}: a recipe for training, not a detector; give the model that it trained with --model")
    return parse(DetectorConfig, values, str(path))


def find_detector(
    model: str | Path | None = None, config: str | Path | None = None
) -> tuple[Path, DetectorConfig | None]:
    """The file of a model or configuration, and the content of a configuration.

    Args:
        model: as `find_model` takes it, which may be a configuration too ("ilsvrc200").
        config: a configuration, in place of `model`.

    Raises:
        InputError: both are given, or the configuration is wrong.
    """
    if model is not None and config is not None:
        raise InputError("give a model or a configuration (it names the models), not both")
    path = find_model(model) if config is None else find_config(config)
    is_config = config is not None or path.suffix in (".yaml", ".yml")
    return path, read_detector_config(path) if is_config else None


def classes_file(config: RegionClassifierConfig, path: Path) -> Path | None:
    """The file of a classifier's classes; `path` is that of the configuration."""
    return None if config.classes is None else path.parent / config.classes


def model_files(model: str | Path | None = None, config: str | Path | None = None) -> list[Path]:
    """The model files that `load_pipeline` would load.

    Raises:
        InputError: a file is missing, or as `find_detector`.
    """
    return _files(*find_detector(model, config))


def _files(path: Path, config: DetectorConfig | None) -> list[Path]:
    files = [path]
    if config is not None:
        classifiers = () if config.classifier is None else (config.classifier.model,)
        files = [find_model(name, path.parent) for name in (*config.models, *classifiers)]
    for file in files:
        if not file.exists():
            raise missing_model(file)
    return files


def classes_of_model(
    model: str | Path | None = None, config: str | Path | None = None
) -> tuple[tuple[str, ...] | None, Mapping[str, str]]:
    """The classes of the detector that `load_pipeline` would load, in a few milliseconds.

    Returns:
        Their names, or None if the file cannot be read (loading it reports why); and the name of a class by other words
        for it, in lower case.

    Raises:
        InputError: as `model_files`.
    """
    path, read = find_detector(model, config)
    classifier = None if read is None else read.classifier
    names_from = _files(path, read)[0 if classifier is None else -1]
    try:
        with safe_open(names_from, framework="numpy") as file:
            # Only this field: validating the configuration takes ten times as long.
            names = parse(tuple[str, ...], json.loads((file.metadata() or {})["classes"]), str(names_from))
    except (SafetensorError, OSError, KeyError, ValueError, RecursionError):
        return None, {}
    if classifier is None:
        return names, {}
    classes = synset_classes(names, classes_file(classifier, path))
    return classes.names, classes.synonyms
