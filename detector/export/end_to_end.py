"""Export of a whole detector as one ONNX graph of standard operators: from a photo's pixels to its detections.

PyTorch exports the three parts that this package computes with PyTorch (`_Maps`, `_Scores`, `_Voting`), so that the
graph has the package's own arithmetic. The parts that it computes with OpenCV and with NMS are written here as
operators: `resized`, and the steps of `_write_graph`.
"""

import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from detector.config import InputConfig, ModelConfig, PostprocessConfig, to_plain
from detector.errors import InputError
from detector.export.graph import DETECTOR_FORMAT, OPSET, import_onnx, quiet
from detector.models.rfcn import RFCN
from detector.models.weights import Model, weights_hash
from detector.ops.box_voting import mean_of_voters
from detector.ops.transforms import SIDE_MULTIPLE, input_size
from detector.structures.class_names import default_class_ids
from detector.structures.region_scores import calibrate
from detector.structures.rois import RoIs
from proposals.boxes import decode_boxes
from proposals.files import atomic_write

LOWEST_SCORE = 0.001
"""Of the graph's detections: the same as in evaluations."""
_NONE = -1e30  # the score of boxes that NMS leaves out
_IR_VERSION = 9  # of ONNX 1.15, the first with opset 20
_FLOAT, _INT64, _DOUBLE = 1, 7, 11  # number formats of Cast


def export_end_to_end(model: Model, path: Path, size: tuple[int, int] | None = None, regions: bool = False) -> None:
    """Writes a detector as one ONNX graph.

    Its input is `image`, (H, W, 3) uint8 RGB, and with `regions` also `regions`, (R, 4) float32 xyxy pixels of the
    photo. Its outputs are `boxes` (N, 4) float32 xyxy pixels of the photo, `scores` (N,) float32 and `labels` (N,)
    int64, best first. The metadata holds as JSON what `detector_description` returns.

    Args:
        model: an R-FCN; without `regions` one with a MultiBox head.
        path: ends in .onnx.
        size: (width, height) of all photos; None for any.
        regions: take the proposals as an input instead of MultiBox's.

    Raises:
        InputError: the model is of another kind or has no MultiBox head, or onnx or onnxscript is not installed.
    """
    if not isinstance(model.network, RFCN):
        raise InputError(f"a model for {model.kind} has no end-to-end graph; give one for regions")
    if not regions and model.network.multibox is None:
        raise InputError("the model has no MultiBox head; export it with --regions, and give the graph boxes")
    onnx = import_onnx()
    graph = _write_graph(model.network, model.config, size, regions)  # type: ignore[arg-type]
    proto = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=_IR_VERSION, producer_name="detector"
    )
    description = detector_description(model, size, regions)
    onnx.helper.set_model_props(proto, {key: json.dumps(value) for key, value in description.items()})
    onnx.checker.check_model(proto)
    with atomic_write(path) as temporary:
        temporary.write_bytes(proto.SerializeToString())


def detector_description(model: Model, size: tuple[int, int] | None, regions: bool) -> dict[str, Any]:
    """The metadata of an end-to-end graph as plain values."""
    config = model.config
    assert isinstance(config, ModelConfig)
    assert isinstance(model.network, RFCN)
    width, height = size or ("W", "H")
    inputs = {"image": f"uint8 ({height}, {width}, 3), RGB, upright"}
    if regions:
        inputs["regions"] = "float32 (R, 4), xyxy pixels of the image, right and bottom exclusive"
    settings = {
        "input": to_plain(config.input),
        "proposals": "regions" if regions else "multibox",
        "lowest_score": LOWEST_SCORE,
        "postprocess": to_plain(config.postprocess),
    }
    if model.network.multibox is not None and not regions:
        settings |= {
            "multibox_boxes": config.multibox_boxes,
            "multibox_nms_iou": model.network.multibox.config.nms_iou,
        }
    return {
        "format": DETECTOR_FORMAT,
        "weights": weights_hash(model.network),
        "classes": list(model.class_names),
        "category_ids": list(model.class_ids or default_class_ids(model.class_names)),
        "inputs": inputs,
        "outputs": {
            "boxes": "float32 (N, 4), xyxy pixels of the image, right and bottom exclusive; best first",
            "scores": "float32 (N,), 0 to 1",
            "labels": "int64 (N,), index in classes and in category_ids",
        },
        "settings": settings,
        "opset": OPSET,
    }


class Operators:
    """Makes the nodes of a graph: `op.Add(x, 1.0)` makes a node and returns the name of its output.

    Inputs are names of values, or constants: a float is float32, an int or a list of them int64.
    """

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []

    def __getattr__(self, kind: str) -> Any:
        return functools.partial(self._add, kind)

    def _add(self, kind: str, *inputs: Any, outputs: Sequence[str] | int = 1, **attributes: Any) -> Any:
        if isinstance(outputs, int):
            outputs = [f"{kind}_{len(self.nodes)}_{i}" for i in range(outputs)]
        names = [value if isinstance(value, str) else self._constant(value) for value in inputs]
        self.nodes.append(import_onnx().helper.make_node(kind, names, list(outputs), **attributes))
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def _constant(self, value: Any) -> str:
        name = f"constant_{len(self.initializers)}"
        array = np.asarray(value, np.float32 if type(value) is float else None)
        self.initializers.append(import_onnx().numpy_helper.from_array(array, name))
        return name

    def include(
        self, module: nn.Module, inputs: Mapping[str, tuple[Sequence[int], Sequence[int]]], outputs: Sequence[str]
    ) -> None:
        """Appends a module that PyTorch exports.

        Args:
            inputs: the values of the graph that are the module's arguments, each with a typical shape and the axes
                whose sizes vary.
            outputs: names of its results.
        """
        automatic = torch.export.Dim.AUTO
        tensors = tuple(torch.rand(*shape) for shape, _ in inputs.values())
        dynamic = tuple(dict.fromkeys(axes, automatic) for _, axes in inputs.values())
        with quiet(), torch.no_grad():
            program = torch.export.export(module.eval(), tensors, dynamic_shapes=dynamic)
            exported = torch.onnx.export(
                program, dynamo=True, input_names=list(inputs), output_names=list(outputs), opset_version=OPSET,
                verbose=False,
            )  # fmt: skip
        assert exported is not None
        graph = exported.model_proto.graph
        prefix = f"{type(module).__name__}/"
        public = {"", *inputs, *outputs}
        for node in graph.node:
            del node.metadata_props[:]  # they hold source paths of the exporting machine
            node.name = prefix + node.name
            for names in (node.input, node.output):
                names[:] = [name if name in public else prefix + name for name in names]
        for tensor in graph.initializer:
            tensor.name = prefix + tensor.name
        self.nodes += graph.node
        self.initializers += graph.initializer


class _Maps(nn.Module):
    """(1, 3, H, W) -> score maps; with `propose` also MultiBox's boxes (1, K, 4) in 0..1 and their logits (1, K)."""

    def __init__(self, network: RFCN, propose: bool) -> None:
        super().__init__()
        self.network, self.head = network, network.multibox if propose else None

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        features = self.network.features(image)
        maps = self.network.score_maps(features).contiguous()
        if self.head is None:
            return (maps,)
        predictions = self.head(features)
        return maps, self.head.boxes(predictions.box_deltas), predictions.logits


class _Scores(nn.Module):
    """The scores (R, classes) of regions (R, 4) of a photo, and where they move, (R, 4) within the photo's sides."""

    def __init__(self, network: RFCN, config: PostprocessConfig) -> None:
        super().__init__()
        self.network, self.config = network, config

    def forward(self, maps: Tensor, regions: Tensor, scale: Tensor, sides: Tensor) -> tuple[Tensor, Tensor]:
        image_index = torch.zeros_like(regions[:, 0], dtype=torch.int64)
        predictions = self.network.classify(maps, RoIs(regions * scale, image_index))
        log_odds = predictions.class_logits.softmax(dim=1)[:, 1:].logit(eps=1e-6)
        moved = decode_boxes(regions, predictions.box_deltas)
        scores = calibrate(log_odds, self.config.calibration, self.config.class_calibrations)
        return scores, torch.minimum(moved.clamp(min=0), sides)


class _Voting(nn.Module):
    """Box voting: winners (K, 4) with scores (K,) and the scores (K, R) of all boxes (R, 4) -> (K, 4)."""

    def __init__(self, iou: float) -> None:
        super().__init__()
        self.iou = iou

    def forward(self, winners: Tensor, winner_scores: Tensor, boxes: Tensor, scores: Tensor, sides: Tensor) -> Tensor:
        voted = mean_of_voters(winners, winner_scores, boxes, scores, self.iou)
        return torch.minimum(voted.clamp(min=0), sides)


def _write_graph(network: RFCN, config: ModelConfig, size: tuple[int, int] | None, regions: bool) -> Any:
    helper = import_onnx().helper
    op = Operators()
    inputs = config.input
    if size is None:
        photo_size = op.Slice(op.Shape("image"), [0], [2])  # height, width
        new_size = input_size_of(op, photo_size, config.input)
    else:
        new_width, new_height = input_size(*size, inputs.short_side, inputs.long_side)
        photo_size, new_size = op.Identity([size[1], size[0]]), op.Identity([new_height, new_width])
    op.Unsqueeze(resized(op, "image", photo_size, new_size), [0], outputs=["input"])
    # (x, y, x, y), as boxes are
    factors = op.Div(op.Cast(new_size, to=_DOUBLE), op.Cast(photo_size, to=_DOUBLE))
    op.Cast(op.Gather(factors, [1, 0, 1, 0]), to=_FLOAT, outputs=["scale"])
    op.Cast(op.Gather(photo_size, [1, 0, 1, 0]), to=_FLOAT, outputs=["sides"])

    op.include(
        _Maps(network, not regions),
        {"input": ((1, 3, 384, 544), (2, 3)) if size is None else ((1, 3, new_height, new_width), ())},
        ["score_maps"] if regions else ["score_maps", "proposed", "logits"],
    )
    if not regions:
        _propose(op, network, config.multibox_boxes)

    op.include(
        _Scores(network, config.postprocess),
        {
            "score_maps": ((1, 24, 34, network.score_conv.out_channels), (1, 2)),
            "regions": ((50, 4), (0,)),
            "scale": ((4,), ()),
            "sides": ((4,), ()),
        },
        ["all_scores", "moved"],
    )
    _suppress(op, config.postprocess)
    value = helper.make_tensor_value_info
    shape = ["height", "width"] if size is None else [size[1], size[0]]
    given = [value("image", import_onnx().TensorProto.UINT8, [*shape, 3])]
    if regions:
        given.append(value("regions", _FLOAT, ["regions", 4]))
    results = [
        value("boxes", _FLOAT, ["detections", 4]),
        value("scores", _FLOAT, ["detections"]),
        value("labels", _INT64, ["detections"]),
    ]
    return helper.make_graph(op.nodes, "detector", given, results, op.initializers)


def input_size_of(op: Operators, photo_size: str, config: InputConfig) -> str:
    """The graph's `detector.ops.transforms.input_size`, in float64 as there: (2,) int64."""
    sides = op.Cast(photo_size, to=_DOUBLE)
    short, long = (np.float64(side) for side in (config.short_side, config.long_side))
    factor = op.Min(op.Div(short, op.ReduceMin(sides)), op.Div(long, op.ReduceMax(sides)))
    multiple = np.float64(SIDE_MULTIPLE)
    cells = op.Max(op.Round(op.Div(op.Mul(sides, factor), multiple)), np.float64(1))
    return op.Cast(op.Mul(cells, multiple), to=_INT64)


def resized(op: Operators, image: str, photo_size: str, new_size: str) -> str:
    """The graph's `detector.ops.transforms.resize`, and the order of axes that the network takes.

    Each axis is resized by weighted sums of a few neighboring pixels. ONNX's Resize has no area average. Linear
    interpolation truncates where OpenCV's fixed-point arithmetic does: a gray level in a sixteenth of the values
    moves one box in fourteen by more than a pixel.

    Args:
        image: (H, W, 3) uint8.
        photo_size, new_size: (2,) int64, height and width.

    Returns:
        (3, h, w) float32, whole numbers in 0..255.
    """
    smaller = op.Less(op.ReduceProd(new_size, keepdims=0), op.ReduceProd(photo_size, keepdims=0))
    columns, column_weights = _neighbors(op, op.Gather(photo_size, 1), op.Gather(new_size, 1), smaller)
    rows, row_weights = _neighbors(op, op.Gather(photo_size, 0), op.Gather(new_size, 0), smaller)
    x = op.Reshape(op.Transpose(image, perm=[1, 0, 2]), [0, -1])  # (W, H * 3)
    x = op.Cast(op.Gather(x, columns), to=_FLOAT)  # (w, taps, H * 3)
    x = op.MatMul(op.Transpose(column_weights, perm=[0, 2, 1]), x)  # (w, 1, H * 3)
    x = op.Where(smaller, x, op.Div(op.Floor(op.Mul(x, 128.0)), 128.0))
    x = op.Transpose(op.Reshape(x, [0, -1, 3]), perm=[1, 2, 0])  # (H, 3, w)
    x = op.Mul(row_weights, op.Gather(op.Reshape(x, [0, -1]), rows))  # (h, taps, 3 * w)
    x = op.Where(smaller, x, op.Div(op.Floor(op.Mul(x, 4.0)), 4.0))
    x = op.Floor(op.Add(op.ReduceSum(x, [1]), 0.5))  # (h, 1, 3 * w)
    return op.Transpose(op.Reshape(x, [0, 3, -1]), perm=[1, 0, 2])


def _neighbors(op: Operators, old: str, new: str, smaller: str) -> tuple[str, str]:
    """The pixels of one axis that each new pixel is made of, (new, taps) int64, and weights (new, taps, 1).

    Args:
        old, new: () int64, sizes of the axis.
        smaller: () bool, whether to average areas.
    """
    zero, half, one, unit = (np.float64(value) for value in (0, 0.5, 1, 2048))
    step = op.Div(op.Cast(old, to=_DOUBLE), op.Cast(new, to=_DOUBLE))
    index = op.Cast(op.Unsqueeze(op.Range(0, new, 1), [1]), to=_DOUBLE)  # (new, 1)
    last = op.Cast(op.Sub(old, 1), to=_DOUBLE)
    center = op.Clip(op.Sub(op.Mul(op.Add(index, half), step), half), zero, last)
    start = op.Where(smaller, op.Mul(index, step), center)
    end = op.Add(start, step)
    taps = op.Range(zero, op.Add(op.Ceil(step), one), one)
    pixels = op.Add(op.Floor(start), taps)  # (new, taps)
    area = op.Div(op.Max(op.Sub(op.Min(op.Add(pixels, one), end), op.Max(pixels, start)), zero), step)
    linear = op.Max(op.Sub(one, op.Abs(op.Sub(pixels, start))), zero)
    linear = op.Div(op.Round(op.Mul(linear, unit)), unit)  # OpenCV's weights have 11 bits
    weights = op.Cast(op.Unsqueeze(op.Where(smaller, area, linear), [2]), to=_FLOAT)
    return op.Cast(op.Min(pixels, last), to=_INT64), weights


def _solid(op: Operators, boxes: str) -> str:
    """Whether both sides of boxes (..., 4) are at least a pixel, (...) bool."""
    low, high = op.Slice(boxes, [0], [2], [-1]), op.Slice(boxes, [2], [4], [-1])
    shortest = op.ReduceMin(op.Sub(high, low), [-1], keepdims=0)
    return op.GreaterOrEqual(shortest, 1.0)


def _propose(op: Operators, network: RFCN, limit: int) -> None:
    """The graph's `proposals.multibox.proposer.to_proposals`."""
    assert network.multibox is not None
    boxes = op.Min(op.Max(op.Mul("proposed", "sides"), 0.0), "sides")  # (1, K, 4)
    scores = op.Unsqueeze(op.Where(_solid(op, boxes), "logits", _NONE), [1])
    kept = op.NonMaxSuppression(boxes, scores, limit, network.multibox.config.nms_iou, _NONE)
    op.Gather(op.Squeeze(boxes, [0]), op.Gather(kept, 2, axis=1), outputs=["regions"])


def _suppress(op: Operators, config: PostprocessConfig) -> None:
    """The graph's `detector.inference.postprocess.postprocess`, after box regression."""
    solid = op.Unsqueeze(_solid(op, "moved"), [0])
    scores = op.Where(solid, op.Transpose("all_scores", perm=[1, 0]), -1.0)  # (classes, R)
    classes, count = op.Split(op.Shape(scores), outputs=2, num_outputs=2)
    candidates = op.Where(op.GreaterOrEqual(scores, LOWEST_SCORE), scores, -1.0)
    limit, iou = config.max_detections, config.nms_iou
    if config.agnostic_nms:  # one class, to which every box belongs once for each of the classes
        boxes = op.Unsqueeze(op.Tile("moved", op.Concat(classes, [1], axis=0)), [0])
        kept = op.NonMaxSuppression(boxes, op.Reshape(candidates, [1, 1, -1]), limit, iou, 0.0)
        index = op.Gather(kept, 2, axis=1)
        columns = op.Max(count, [1])  # ONNX Runtime divides by 0 even where there is nothing to divide
        labels, rows = op.Div(index, columns), op.Mod(index, columns)
    else:
        kept = op.NonMaxSuppression(op.Unsqueeze("moved", [0]), op.Unsqueeze(candidates, [0]), limit, iou, 0.0)
        labels, rows = op.Gather(kept, 1, axis=1), op.Gather(kept, 2, axis=1)
        index = op.Add(op.Mul(labels, count), rows)
    kept_scores = op.Gather(op.Reshape(candidates, [-1]), index)
    _, order = op.TopK(kept_scores, op.Min(op.Shape(kept_scores), [limit]), outputs=["scores", "order"])
    op.Gather(labels, order, outputs=["labels"])
    winners = op.Gather("moved", op.Gather(rows, order))
    if config.voting_iou is None:
        op.Identity(winners, outputs=["boxes"])
        return
    op.Identity(winners, outputs=["winners"])
    op.Gather(scores, "labels", outputs=["class_scores"])
    op.include(
        _Voting(config.voting_iou),
        {
            "winners": ((20, 4), (0,)),
            "scores": ((20,), (0,)),
            "moved": ((50, 4), (0,)),
            "class_scores": ((20, 50), (0, 1)),
            "sides": ((4,), ()),
        },
        ["boxes"],
    )
