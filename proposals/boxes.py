"""Box arithmetic on tensors. Boxes are float xyxy pixels, right and bottom exclusive."""

import math

import torch
from torch import Tensor

DELTA_STD = (0.1, 0.1, 0.2, 0.2)
"""Standard deviations by which box_deltas are whitened (Fast R-CNN's code). Used one by one: a tensor of them would be
copied to a GPU, which is waited for."""

MAX_LOG_SIZE = math.log(1000 / 16)
"""Predicted log sizes are clamped here before `exp`, so that no box overflows."""


def encode_boxes(regions: Tensor, targets: Tensor) -> Tensor:
    """Offsets (R, 4) that move `regions` (R, 4) onto `targets` (R, 4): R-CNN's (dx, dy, log w, log h), whitened."""
    x, y, w, h = _center_size(regions)
    tx, ty, tw, th = _center_size(targets)
    box_deltas = ((tx - x) / w, (ty - y) / h, (tw / w).log(), (th / h).log())
    return torch.stack([offset / std for offset, std in zip(box_deltas, DELTA_STD, strict=True)], dim=1)


def decode_boxes(regions: Tensor, box_deltas: Tensor) -> Tensor:
    """Boxes (R, 4) that result from moving `regions` (R, 4) by whitened `box_deltas` (R, 4)."""
    x, y, w, h = _center_size(regions)
    dx, dy, dw, dh = (offset * std for offset, std in zip(box_deltas.unbind(1), DELTA_STD, strict=True))
    cx, cy = x + dx * w, y + dy * h
    half_w = 0.5 * w * dw.clamp(max=MAX_LOG_SIZE).exp()
    half_h = 0.5 * h * dh.clamp(max=MAX_LOG_SIZE).exp()
    return torch.stack((cx - half_w, cy - half_h, cx + half_w, cy + half_h), dim=1)


def box_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """IoU (..., N, M) of boxes (..., N, 4) and (..., M, 4), xyxy; torchvision's `box_iou`, whose import takes half a
    second, for batches too."""
    low = torch.maximum(boxes[..., :, None, :2], others[..., None, :, :2])
    high = torch.minimum(boxes[..., :, None, 2:], others[..., None, :, 2:])
    intersection = (high - low).clamp(min=0).prod(dim=-1)
    areas, other_areas = ((b[..., 2:] - b[..., :2]).prod(dim=-1) for b in (boxes, others))
    return intersection / (areas[..., :, None] + other_areas[..., None, :] - intersection)


def _center_size(boxes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x1, y1, x2, y2 = boxes.unbind(1)
    return (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1
