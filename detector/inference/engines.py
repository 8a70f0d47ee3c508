"""What runs the network's pass over an image: PyTorch, or ONNX Runtime on an exported graph.

Everything before (the photo's size) and after it (regions, scores, NMS) is the same for all.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor

from detector.errors import InputError
from detector.models.rfcn import RFCN, ImageMaps
from detector.models.weights import Model
from detector.ops.devices import without_denormals
from detector.ops.fused import freeze
from proposals.names import unknown_name

EngineName = Literal["torch", "onnx"]
ENGINES: tuple[str, ...] = get_args(EngineName)


Engine = Callable[[Tensor], ImageMaps]
"""From images (B, 3, H, W), RGB in 0..255 of any number format, on the model's device."""


class TorchEngine:
    """PyTorch, on CPU or GPU.

    Args:
        network: is taken over: its number format changes, its weights must not change afterwards.
        dtype: what to compute in.
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
    """The engine for a model.

    Args:
        engine: "torch", "onnx" (the graph is exported at first use and kept in the user's cache folder), or the path of
            an exported .onnx file of this model.
        network: the model's, on the device, which PyTorch takes over.
        dtype: what PyTorch computes in; a graph has its own formats.

    Raises:
        InputError: there is no such engine, its packages are missing, it runs on the CPU only and the network is
            elsewhere, or the file is none for this model.
    """
    if engine == "torch":
        return TorchEngine(network, dtype)
    if engine != "onnx" and not engine.endswith(".onnx"):
        raise InputError(unknown_name("engine", engine, (*ENGINES, "an exported .onnx file")))
    if network.mean.device.type != "cpu":
        raise InputError(f"engine {engine} runs on the CPU; give device cpu, or engine torch")
    from detector.export.onnx_engine import OnnxEngine

    return OnnxEngine(model, None if engine == "onnx" else Path(engine))
