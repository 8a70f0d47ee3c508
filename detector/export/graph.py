"""Export of a region classifier's pass over an image: to ONNX, or as a program of torch.export.

The graph takes images and gives the maps that regions are read from; how to come from a photo to its input and from its
maps to detections stands in the file as JSON (`description`).
"""

import io
import json
import logging
import warnings
from collections.abc import Mapping
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
from proposals.extras import needs_extra
from proposals.files import atomic_write

FORMAT = "inception-rcnn-graph-1"
OPSET = 20
_EXAMPLE = (2, 3, 384, 544)


class ImageGraph(nn.Module):
    """(B, 3, H, W) RGB in 0..255 -> votes (B, h, w, bins * bins * (classes + 1 + 4)), features (B, C, h, w)."""

    def __init__(self, network: RFCN) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        features = self.network.features(image)
        return self.network.score_maps(features).contiguous(), features


def description(model: Model) -> dict[str, Any]:
    """All that a program needs beside the graph, in plain values."""
    network, config = model.network, model.config
    assert isinstance(network, RFCN)
    assert isinstance(config, ModelConfig)
    return {
        "format": FORMAT,
        "weights": weights_hash(network),
        "classes": list(model.class_names),
        "input": {
            "image": "float32 (B, 3, H, W), RGB, 0 to 255; the mean is taken off in the graph",
            "size": "short side to short_side unless the long side passes long_side; both to a multiple of multiple",
            "short_side": config.input.short_side,
            "long_side": config.input.long_side,
            "multiple": SIDE_MULTIPLE,
        },
        "maps": {
            "score_maps": "(B, h, w, bins * bins * (1 + classes + others + 4)): by bin row, bin column; background, "
            "classes, others, box_deltas",
            "extra_background_classes": network.extra_background_classes,
            "stride": network.backbone.stride,
            "offset": network.backbone.offset,
            "cells": "cell i is centerd at pixel offset + stride * i of the input",
        },
        "regions": {
            "bins": network.bins,
            "samples": SAMPLES,
            "pooling": "bin (i, j) of a region is the mean of samples x samples bilinear samples, evenly in the bin, "
            "of its own part (i, j) of the votes; a region's logits and box_deltas are the mean over its bins",
            "scores": "sigmoid(a * logit(softmax(logits)) + b) with (a, b) = calibration, without the background; the "
            "others, if there are any, belong to the background: its logit is the log of the sum of their exponentials",
            "calibration": list(config.postprocess.calibration),
            "box_deltas": "whitened (dx, dy, log w, log h) from the region to the object",
            "offset_std": _offset_std(),
        },
        "postprocess": to_plain(config.postprocess),
    }


def _offset_std() -> list[float]:
    from proposals.boxes import DELTA_STD

    return [float(value) for value in DELTA_STD]


def export_onnx(model: Model, path: Path, size: tuple[int, int] | None = None) -> None:
    """Writes a model's graph as ONNX.

    Args:
        model: for regions.
        size: (width, height) that the graph is for, one image at a time; None: any size and batch.

    Raises:
        InputError: the model is of another kind, or onnx and onnxscript are not installed.
    """
    _onnx()
    program = export_program(model, size)
    with _quiet():
        exported = torch.onnx.export(
            program, dynamo=True, input_names=["image"], output_names=["score_maps", "features"], opset_version=OPSET,
            verbose=False,
        )  # fmt: skip
    assert exported is not None
    proto = exported.model_proto
    for node in proto.graph.node:  # which file and line of the exporting machine a node comes from
        del node.metadata_props[:]
    write_onnx(proto, model, path)


def write_onnx(proto: Any, model: Model, path: Path) -> None:
    """Writes an ONNX model with the description of the model whose graph it is."""
    _onnx().helper.set_model_props(proto, {key: json.dumps(value) for key, value in description(model).items()})
    with atomic_write(path) as temporary:
        temporary.write_bytes(proto.SerializeToString())


def export_torch(model: Model, path: Path, size: tuple[int, int] | None = None) -> None:
    """Writes a model's graph as a program of torch.export (.pt2), the description in its extra file
    "description.json"; else as `export_onnx`."""
    whole = json.dumps(description(model))
    packed = io.BytesIO()  # on a full disk torch's own file would end the process
    torch.export.save(export_program(model, size), packed, extra_files={"description.json": whole})
    with atomic_write(path) as temporary:
        temporary.write_bytes(packed.getbuffer())


def export_program(model: Model, size: tuple[int, int] | None = None) -> torch.export.ExportedProgram:
    """The graph as a program of torch.export; as `export_onnx`."""
    if not isinstance(model.network, RFCN):
        raise InputError(f"a model for {model.kind} has no graph to export; give one for regions")
    width, height = size or (0, 0)
    if width % SIDE_MULTIPLE or height % SIDE_MULTIPLE:
        raise InputError(f"size {width}x{height}: give multiples of {SIDE_MULTIPLE}, as photos are resized to")
    shape = _EXAMPLE if size is None else (1, 3, height, width)
    automatic = torch.export.Dim.AUTO
    dynamic = {0: automatic, 2: automatic, 3: automatic} if size is None else None
    with _quiet(), torch.no_grad():
        graph = ImageGraph(model.network).eval()
        return torch.export.export(graph, (torch.rand(shape) * 255,), dynamic_shapes={"image": dynamic})


def read_description(metadata: Mapping[str, str], name: str) -> dict[str, Any]:
    """The description in an ONNX file's metadata. Raises `InputError` if there is none."""
    try:
        found = {key: json.loads(value) for key, value in metadata.items()}
    except (ValueError, RecursionError):
        found = {}
    if found.get("format") != FORMAT or not {"weights", "classes"} <= found.keys():
        raise InputError(f"{name}: not a graph of this project; make one with detector export")
    return found


class _quiet:  # noqa: N801 (a context manager, used like a function)
    """The exporters tell of their steps, and of deprecations within PyTorch."""

    def __enter__(self) -> None:
        self._warnings = warnings.catch_warnings()
        self._warnings.__enter__()
        warnings.simplefilter("ignore")
        self._level = logging.getLogger("torch.onnx").level
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)

    def __exit__(self, *exception: object) -> None:
        logging.getLogger("torch.onnx").setLevel(self._level)
        self._warnings.__exit__(None, None, None)


def _onnx() -> Any:
    try:
        import onnx
        import onnxscript  # noqa: F401 (the exporter needs it)
    except ImportError:
        raise InputError(needs_extra("exporting to ONNX", "onnx")) from None
    return onnx
