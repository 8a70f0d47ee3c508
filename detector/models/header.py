"""What the header of a model file says, without loading PyTorch."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

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

FORMAT = "inception-rcnn-1"

Kind = Literal["regions", "crops", "classification", "multibox"]
CONFIGS: dict[Kind, type[AnyModelConfig]] = {
    "regions": ModelConfig,
    "crops": RCNNConfig,
    "classification": ClassifierConfig,
    "multibox": MultiBoxModelConfig,
}
"""Configuration of each kind of model: R-FCN, R-CNN, classifier of whole images, separate MultiBox network."""

DETECTION: tuple[Kind, ...] = ("regions", "crops")


@dataclass(frozen=True)
class Header:
    """The header of a model file: safetensors metadata with `format`, `kind` and these fields as JSON text.

    Attributes:
        config: configuration of the model, whose type determines `kind`.
        classes: class names; empty for a MultiBox, which has no classes.
        metadata: about the training: `recipe` (hash), `steps`, `mAP` and how it was measured.
        extra_background_classes: classes that an R-FCN distinguishes and counts as background.
        class_ids: category ids of the labels that the model was trained on; empty if they had none.
    """

    config: AnyModelConfig
    classes: tuple[str, ...]
    metadata: dict[str, Any]
    extra_background_classes: tuple[str, ...] = ()
    class_ids: tuple[int | str, ...] = ()

    @property
    def kind(self) -> Kind:
        return next(kind for kind, config in CONFIGS.items() if isinstance(self.config, config))

    def to_text(self) -> dict[str, str]:
        """The safetensors metadata; `from_text` is the inverse."""
        fields = {
            "classes": self.classes,
            "config": to_plain(self.config),
            "metadata": self.metadata,
            **{name: ids for name in ("extra_background_classes", "class_ids") if (ids := getattr(self, name))},
        }
        return {"format": FORMAT, "kind": self.kind} | {name: json.dumps(value) for name, value in fields.items()}

    @classmethod
    def from_text(cls, text: Mapping[str, str], path: Path, kinds: tuple[Kind, ...]) -> Self:
        """Parses the metadata of the file at `path`.

        Raises:
            InputError: this is not a model of this project, is of another kind than `kinds`, or a field is wrong.
            KeyError, ValueError, TypeError, RecursionError: the header is damaged.
        """
        if text.get("format") != FORMAT:
            raise InputError(f"{path}: a safetensors file, but not a model of this project")
        kind = next((kind for kind in kinds if kind == text["kind"]), None)
        if kind is None:
            raise InputError(f"{path}: a model for {text['kind']}; one for {' or '.join(kinds)} is needed here")

        def field(name: str, field_type: Any, default: str = "") -> Any:
            return parse(field_type, json.loads(text.get(name, default)), f"{path}: {name}")

        header = cls(
            config=parse(CONFIGS[kind], json.loads(text["config"]), str(path)),
            classes=field("classes", tuple[str, ...]),
            metadata=field("metadata", dict[str, Any]),
            extra_background_classes=field("extra_background_classes", tuple[str, ...], "[]"),
            class_ids=field("class_ids", tuple[int | str, ...], "[]"),
        )
        ids, count = header.class_ids, len(header.classes)
        if ids and not len(set(ids)) == len(ids) == count:
            raise InputError(f"{path}: class_ids must all differ, one for each of {count} classes: {ids}")
        if isinstance(header.config, ModelConfig):
            calibrations = header.config.postprocess.class_calibrations
            if calibrations and len(calibrations) != count:
                raise InputError(
                    f"{path}: class_calibrations: {len(calibrations)} for {count} classes; give one for each"
                )
        return header
