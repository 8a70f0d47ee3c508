"""Engines that run a network's pass over an image: PyTorch, or ONNX Runtime on an exported graph.

The steps before (resizing) and after it (regions, scores, NMS) are the same for all engines.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from detector.errors import InputError
from detector.models.rfcn import RFCN, ImageMaps
from detector.models.weights import Model
from detector.ops.devices import without_denormals
from detector.ops.fused import freeze
from proposals.names import unknown_name

ENGINES = ("torch", "onnx")
"""The engines by name; the path of an exported .onnx file is accepted as well."""

Engine = Callable[[Tensor], ImageMaps]
"""Takes images (B, 3, H, W), RGB in 0..255 in any number format, on the model's device."""


class TorchEngine:
    """PyTorch, on a CPU or GPU.

    Args:
        network: is converted in place and must not be trained afterwards.
        dtype: number format of the computation.
    """

    def __init__(self, network: RFCN, dtype: torch.dtype) -> None:
        self.network = network.to(dtype).to(memory_format=torch.channels_last)
        self.dtype = dtype
        freeze(self.network)

    @torch.inference_mode()
    @without_denormals()
    def __call__(self, images: Tensor) -> ImageMaps:
        features = self.network.features(images.to(self.dtype))
        return ImageMaps(features, self.network.score_maps(features))


def make_engine(engine: str, model: Model, network: RFCN, dtype: torch.dtype) -> Engine:
    """The engine of a model.

    Args:
        engine: "torch", "onnx" (exports the graph at first use into the user's cache folder), or the path of an .onnx
            file exported from this model.
        network: of the model, on its device; PyTorch converts it in place.
        dtype: number format for PyTorch; a graph has its own.

    Raises:
        InputError: the engine is unknown, its packages are missing, it needs the CPU and the network is elsewhere, or
            the file was not exported from this model.
    """
    if engine == "torch":
        return TorchEngine(network, dtype)
    if engine != "onnx" and not str(engine).endswith(".onnx"):
        raise InputError(unknown_name("engine", engine, (*ENGINES, "an exported .onnx file")))
    if network.mean.device.type != "cpu":
        raise InputError(f"engine {engine} runs on the CPU; give device cpu, or engine torch")
    from detector.export.onnx_engine import OnnxEngine

    return OnnxEngine(model, None if engine == "onnx" else Path(engine))
