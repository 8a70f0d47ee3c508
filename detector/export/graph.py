"""Export of an R-FCN's pass over an image to ONNX or to a program of torch.export.

The graph maps images to score maps. The file describes in JSON (`description`) how a photo becomes the graph's input
and how its score maps become detections.
"""

import io
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from detector.config import ModelConfig, to_plain
from detector.errors import InputError
from detector.models.rfcn import RFCN
from detector.models.weights import Model, weights_hash
from detector.ops.ps_roi_pool import SAMPLES
from detector.ops.transforms import SIDE_MULTIPLE
from proposals.boxes import DELTA_STD
from proposals.extras import needs_extra
from proposals.files import atomic_write

FORMAT = "inception-rcnn-graph-1"
DETECTOR_FORMAT = "inception-rcnn-detector-1"
"""Of end-to-end graphs (`detector.export.end_to_end`), which no engine runs."""
OPSET = 20
_EXAMPLE = (2, 3, 384, 544)


class ImageGraph(nn.Module):
    """(B, 3, H, W) RGB in 0..255 -> score maps (B, h, w, channels), features (B, C, h, w)."""

    def __init__(self, network: RFCN) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        features = self.network.features(image)
        return self.network.score_maps(features).contiguous(), features


def description(model: Model) -> dict[str, Any]:
    """Everything that a program needs besides the graph, as plain values."""
    network, config = model.network, model.config
    assert isinstance(network, RFCN)
    assert isinstance(config, ModelConfig)
    return {
        "format": FORMAT,
        "weights": weights_hash(network),
        "classes": list(model.class_names),
        "input": {
            "image": "float32 (B, 3, H, W), RGB in 0..255; the graph subtracts the mean",
            "size": "the short side becomes short_side, or less where the long side would exceed long_side; both are "
            "rounded to a multiple of multiple",
            "short_side": config.input.short_side,
            "long_side": config.input.long_side,
            "multiple": SIDE_MULTIPLE,
        },
        "maps": {
            "score_maps": "(B, h, w, channels): by bin row and bin column; background, classes, extra background "
            "classes, box deltas; with delta_bins, all scores and then the box deltas of delta_bins * delta_bins",
            "extra_background_classes": network.extra_background_classes,
            "stride": network.backbone.stride,
            "offset": network.backbone.offset,
            "cells": "cell i is centered at pixel offset + stride * i of the input",
        },
        "regions": {
            "bins": network.bins,
            "delta_bins": network.delta_bins,
            "samples": SAMPLES,
            "pooling": "bin (i, j) of a region is the mean of samples x samples bilinear samples, evenly spaced in the "
            "bin, of its part (i, j) of the score maps; a region's logits and box deltas are the mean over its bins",
            "scores": "sigmoid(a * logit(softmax(logits)) + b) with (a, b) = calibration, or that of the class in "
            "postprocess.class_calibrations, without the background; the "
            "background's logit is the log-sum-exp of its own and those of the extra background classes",
            "calibration": list(config.postprocess.calibration),
            "box_deltas": "whitened (dx, dy, log w, log h) from the region to the object",
            "delta_std": [float(value) for value in DELTA_STD],
        },
        "postprocess": to_plain(config.postprocess),
    }


def export_program(model: Model, size: tuple[int, int] | None = None) -> torch.export.ExportedProgram:
    """The graph as a program of torch.export.

    Args:
        model: an R-FCN.
        size: (width, height) of the one image that the graph takes; None for any size and batch.

    Raises:
        InputError: the model is of another kind, or the size is not a multiple of 32.
    """
    if not isinstance(model.network, RFCN):
        raise InputError(f"a model for {model.kind} has no graph to export; give one for regions")
    width, height = size or (0, 0)
    if width % SIDE_MULTIPLE or height % SIDE_MULTIPLE:
        raise InputError(f"size {width}x{height}: give multiples of {SIDE_MULTIPLE}, which photos are resized to")
    shape = _EXAMPLE if size is None else (1, 3, height, width)
    automatic = torch.export.Dim.AUTO
    dynamic = {0: automatic, 2: automatic, 3: automatic} if size is None else None
    with quiet(), torch.no_grad():
        graph = ImageGraph(model.network).eval()
        return torch.export.export(graph, (torch.rand(shape) * 255,), dynamic_shapes={"image": dynamic})


def export_onnx(model: Model, path: Path, size: tuple[int, int] | None = None) -> None:
    """Writes a model's graph as ONNX; arguments and errors as in `export_program`.

    Raises:
        InputError: also if onnx or onnxscript is not installed.
    """
    import_onnx()
    program = export_program(model, size)
    with quiet():
        exported = torch.onnx.export(
            program, dynamo=True, input_names=["image"], output_names=["score_maps", "features"], opset_version=OPSET,
            verbose=False,
        )  # fmt: skip
    assert exported is not None
    proto = exported.model_proto
    for node in proto.graph.node:  # remove source paths of the exporting machine
        del node.metadata_props[:]
    write_onnx(proto, model, path)


def write_onnx(proto: Any, model: Model, path: Path) -> None:
    """Writes an ONNX model with the description of the model that it was exported from."""
    import_onnx().helper.set_model_props(proto, {key: json.dumps(value) for key, value in description(model).items()})
    with atomic_write(path) as temporary:
        temporary.write_bytes(proto.SerializeToString())


def export_torch(model: Model, path: Path, size: tuple[int, int] | None = None) -> None:
    """Writes a model's graph as a program of torch.export (.pt2); arguments and errors as in `export_program`.

    The extra file "description.json" holds the description.
    """
    extra_files = {"description.json": json.dumps(description(model))}
    content = io.BytesIO()  # on a full disk, torch's own writer would abort the process
    torch.export.save(export_program(model, size), content, extra_files=extra_files)
    with atomic_write(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def read_description(metadata: Mapping[str, str], name: str) -> dict[str, Any]:
    """Parses the description in an ONNX file's metadata.

    Raises:
        InputError: there is no description.
    """
    try:
        fields = {key: json.loads(value) for key, value in metadata.items()}
    except (ValueError, RecursionError):
        fields = {}
    if fields.get("format") == DETECTOR_FORMAT:
        raise InputError(f"{name}: a whole detector; an engine is a graph that was exported without --end-to-end")
    if fields.get("format") != FORMAT or not {"weights", "classes"} <= fields.keys():
        raise InputError(f"{name}: not a graph of this project; make one with detector export")
    return fields


@contextmanager
def quiet() -> Iterator[None]:
    """Silences the exporters, which log their steps and warn of deprecations within PyTorch."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logger.setLevel(level)


def import_onnx() -> Any:
    """The package onnx, for which also onnxscript must be there; raises `InputError` if one is not installed."""
    try:
        import onnx
        import onnxscript  # noqa: F401 (the exporter needs it)
    except ImportError:
        raise InputError(needs_extra("exporting to ONNX", "onnx")) from None
    return onnx
