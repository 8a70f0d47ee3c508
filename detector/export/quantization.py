"""Graphs in int8: 8-bit weights and activations, with ranges measured on photos."""

import tempfile
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

from detector.config import ModelConfig
from detector.errors import InputError
from detector.export.graph import export_onnx, write_onnx
from detector.models.weights import Model
from detector.ops.transforms import input_size, to_input
from detector.structures.image import Image
from proposals.extras import needs_extra


def export_int8(model: Model, path: Path, photos: Iterable[Image]) -> None:
    """Writes a model's graph for images of any size, with its convolutions in int8.

    Args:
        model: an R-FCN.
        photos: a few dozen typical photos, on which the ranges of activations are measured.

    Raises:
        InputError: there are no photos, or packages are missing.
    """
    try:
        import onnx
        from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ImportError:
        raise InputError(needs_extra("int8", "onnx")) from None
    assert isinstance(model.config, ModelConfig)
    sides = (model.config.input.short_side, model.config.input.long_side)
    sizes = ((photo, input_size(photo.width, photo.height, *sides)) for photo in photos)
    inputs = [{"image": to_input(photo.pixels, size)[None].float().numpy()} for photo, size in sizes]
    if not inputs:
        raise InputError("no photos to measure the ranges of activations on; give a few dozen")
    with tempfile.TemporaryDirectory() as folder:
        exported, prepared, quantized = (Path(folder) / f"{name}.onnx" for name in ("exported", "prepared", "int8"))
        export_onnx(model, exported)
        quant_pre_process(exported, prepared, skip_symbolic_shape=True)
        graph = onnx.load(prepared).graph
        # As usual, the first layer, which has few input channels, and the last one, which gives the result, keep float.
        convolutions = [node for node in graph.node if node.op_type == "Conv"][1:-1]
        # So do LRN's sums of squares, which span many orders of magnitude.
        squares = {output for node in graph.node if node.op_type == "Mul" for output in node.output}
        quantize_static(
            prepared,
            quantized,
            SimpleNamespace(get_next=partial(next, iter(inputs), None)),  # the interface of its calibration
            quant_format=QuantFormat.QDQ,
            nodes_to_quantize=[node.name for node in convolutions if node.input[0] not in squares],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )
        write_onnx(onnx.load(quantized), model, path)
