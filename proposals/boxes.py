"""Box arithmetic on tensors. Boxes are float xyxy pixels, right and bottom exclusive."""

import math

import torch
from torch import Tensor

DELTA_STD = (0.1, 0.1, 0.2, 0.2)
"""Standard deviations that normalize box deltas (Fast R-CNN's code); floats, because copying a tensor of them to a GPU
would synchronize it."""

MAX_LOG_SIZE = math.log(1000 / 16)
"""Upper bound of predicted log sizes, applied before `exp` so that no box overflows."""


def encode_boxes(regions: Tensor, targets: Tensor) -> Tensor:
    """Returns the normalized deltas (R, 4) that move `regions` (R, 4) onto `targets` (R, 4).

    They are R-CNN's (dx, dy, log w, log h), divided by `DELTA_STD`.
    """
    x, y, w, h = _center_size(regions)
    tx, ty, tw, th = _center_size(targets)
    deltas = ((tx - x) / w, (ty - y) / h, (tw / w).log(), (th / h).log())
    return torch.stack([delta / std for delta, std in zip(deltas, DELTA_STD, strict=True)], dim=1)


def decode_boxes(regions: Tensor, box_deltas: Tensor) -> Tensor:
    """Returns `regions` (R, 4) moved by normalized `box_deltas` (R, 4); the inverse of `encode_boxes`."""
    x, y, w, h = _center_size(regions)
    dx, dy, dw, dh = (delta * std for delta, std in zip(box_deltas.unbind(1), DELTA_STD, strict=True))
    cx, cy = x + dx * w, y + dy * h
    half_w = 0.5 * w * dw.clamp(max=MAX_LOG_SIZE).exp()
    half_h = 0.5 * h * dh.clamp(max=MAX_LOG_SIZE).exp()
    return torch.stack((cx - half_w, cy - half_h, cx + half_w, cy + half_h), dim=1)


def box_iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Returns the IoU (..., N, M) of boxes (..., N, 4) and (..., M, 4).

    Unlike torchvision's function it takes batches and imports half a second faster.
    """
    low = torch.maximum(boxes1[..., :, None, :2], boxes2[..., None, :, :2])
    high = torch.minimum(boxes1[..., :, None, 2:], boxes2[..., None, :, 2:])
    intersection = (high - low).clamp(min=0).prod(dim=-1)
    areas1, areas2 = ((boxes[..., 2:] - boxes[..., :2]).prod(dim=-1) for boxes in (boxes1, boxes2))
    return intersection / (areas1[..., :, None] + areas2[..., None, :] - intersection)


def _center_size(boxes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x1, y1, x2, y2 = boxes.unbind(1)
    return (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1
