"""Graphs in int8: weights and activations as 8-bit whole numbers, ranges measured on photos."""

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from detector.errors import InputError
from detector.export.graph import export_onnx, write_onnx
from detector.models.weights import Model
from detector.ops.transforms import input_size, to_input
from detector.structures.image import Image
from proposals.extras import needs_extra


def export_int8(model: Model, path: Path, photos: Iterable[Image]) -> None:
    """Writes a model's graph, for images of any size, with its convolutions in int8.

    Args:
        model: for regions.
        photos: on which the ranges of activations are measured; some dozens like those that will come.

    Raises:
        InputError: there are no photos, or packages are missing.
    """
    try:
        import onnx
        from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ImportError:
        raise InputError(needs_extra("int8", "onnx")) from None
    inputs = [_input(model, photo) for photo in photos]
    if not inputs:
        raise InputError("no photos to measure the ranges of activations on; give some dozens")
    with tempfile.TemporaryDirectory() as folder:
        plain, prepared, done = (Path(folder) / f"{name}.onnx" for name in ("plain", "prepared", "int8"))
        export_onnx(model, plain)
        quant_pre_process(plain, prepared, skip_symbolic_shape=True)
        graph = onnx.load(prepared).graph
        # The first layer sees few channels and the last one gives the result: both stay as they are, as usual.
        convolutions = [node for node in graph.node if node.op_type == "Conv"][1:-1]
        # So do LRN's sums of squares, which span many orders of magnitude.
        squares = {out for node in graph.node if node.op_type == "Mul" for out in node.output}
        whole = [node.name for node in convolutions if node.input[0] not in squares]
        quantize_static(
            prepared,
            done,
            _Reader(iter(inputs)),
            quant_format=QuantFormat.QDQ,
            nodes_to_quantize=whole,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )
        quantized = onnx.load(done)
        write_onnx(quantized, model, path)


class _Reader:
    """Photos as ONNX Runtime's calibration asks for them."""

    def __init__(self, inputs: Iterator[np.ndarray]) -> None:
        self._inputs = inputs

    def get_next(self) -> dict[str, Any] | None:
        image = next(self._inputs, None)
        return None if image is None else {"image": image}


def _input(model: Model, photo: Image) -> np.ndarray:
    config = model.config.input  # type: ignore[union-attr]
    size = input_size(photo.width, photo.height, config.short_side, config.long_side)
    return np.asarray(to_input(photo.pixels, size)[None].float().numpy())
