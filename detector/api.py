"""The Python interface: one object with everything that programs do with a detector. No other room imports this module.

Each method only calls the room that does the work.
"""

from pathlib import Path
from typing import Any, Self, overload

import torch

from detector.config import Source
from detector.inference.assembly import load_pipeline
from detector.models.files import find_model
from detector.structures.detections import Detections

__all__ = ["Detector", "load_detector"]


def load_detector(
    model: str | Path | None = None,
    device: str | torch.device = "auto",
    *,
    proposals: Source | None = None,
    engine: str = "torch",
    dtype: str | torch.dtype | None = None,
) -> "Detector":
    """Loads a detector, by default the installed model of VOC's 20 classes.

    Args:
        model: the name of an installed model ("voc07") or configuration ("best", "paper"), a model file
            (.safetensors), or a configuration (.yaml, a `detector.config.DetectorConfig`).
        device: "auto" (a GPU if there is one), "cpu", "cuda", "cuda:1", "mps", or a `torch.device`.
        proposals: "selective_search", "multibox" or "both"; by default the model's setting.
        engine: runs the networks: "torch", "onnx", or an .onnx file that `Detector.export` wrote from the model.
        dtype: number format of the networks, "bfloat16" or "float32", or torch's; by default the one that a short
            measurement finds faster on the device.

    Raises:
        InputError: the model, the configuration, the device, the proposals, the engine or the format cannot be used.
    """
    return Detector(find_model(model), device, proposals=proposals, engine=engine, dtype=dtype)


class Detector:
    """A detector, as `load_detector` returns it.

    Attributes:
        path: the model file or configuration.
        pipeline: the stages, for programs that use them one by one.
    """

    def __init__(
        self,
        path: Path,
        device: str | torch.device = "auto",
        *,
        proposals: Source | None = None,
        engine: str = "torch",
        dtype: str | torch.dtype | None = None,
    ) -> None:
        self.path = path
        self._proposals, self._engine = proposals, engine
        self._load(device, dtype)

    def _load(self, device: str | torch.device, dtype: str | torch.dtype | None) -> None:
        is_config = self.path.suffix in (".yaml", ".yml")
        model, config = (None, self.path) if is_config else (self.path, None)
        precision = None if dtype is None else str(dtype).removeprefix("torch.")
        self.pipeline = load_pipeline(model, device, config, self._proposals, self._engine, precision)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes that it detects."""
        return self.pipeline.class_names

    @property
    def class_ids(self) -> tuple[int | str, ...]:
        """The category id of each class."""
        return self.pipeline.class_ids

    def to(self, device: str | torch.device | None = None, dtype: str | torch.dtype | None = None) -> Self:
        """Moves it to a device or to another number format; arguments and errors as in `load_detector`.

        Returns:
            The detector itself.
        """
        self._load(self.pipeline.device if device is None else device, dtype or self.pipeline.dtype)
        return self

    @overload
    def __call__(
        self, images: list[Any] | tuple[Any, ...], *, channels: str | None = None, score: float = 0.5,
        batch: int | None = None
    ) -> list[Detections]: ...  # fmt: skip

    @overload
    def __call__(
        self, images: Any, *, channels: str | None = None, score: float = 0.5, batch: int | None = None
    ) -> Detections: ...

    def __call__(
        self, images: Any, *, channels: str | None = None, score: float = 0.5, batch: int | None = None
    ) -> Detections | list[Detections]:
        """Detections of an image, or a list of them for a list of images."""
        return self.pipeline(images, channels, score, batch)

    def save(self, path: str | Path) -> Path:
        """Copies the model file to `path`.

        Raises:
            InputError: it is assembled from a configuration, or the file cannot be written.
        """
        raise NotImplementedError
