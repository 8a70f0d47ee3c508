"""The mean of a map over boxes."""

import torch
from torch import Tensor


def mean_pool(maps: Tensor, boxes: Tensor, stride: float, offset: float) -> Tensor:
    """The mean of a map over each box, in which a cell counts by the share of it that the box covers.

    Args:
        maps: (C, h, w) of one image.
        boxes: (R, 4) float32 xyxy in input pixels; a box beyond the outer cells takes the nearest.
        stride, offset: cell i of the map is centered at pixel `offset + stride * i` (0 is the image's left edge).

    Returns:
        (R, C) in the boxes' number format.
    """
    cells = (boxes - offset) / stride + 0.5  # cell i reaches from i to i + 1
    rows = _shares(cells[:, 1], cells[:, 3], maps.shape[1])
    columns = _shares(cells[:, 0], cells[:, 2], maps.shape[2])
    weights = rows[:, :, None] * columns[:, None, :]
    return weights.flatten(1) @ maps.flatten(1).T.to(weights.dtype)


def _shares(low: Tensor, high: Tensor, size: int) -> Tensor:
    """(R, size) the share of each span from `low` to `high` (R,) that lies in each cell of an axis; rows sum to 1."""
    low = low.clamp(0, size - 1e-3)
    high = torch.maximum(high.clamp(max=size), low + 1e-3)
    start = torch.arange(size, device=low.device, dtype=low.dtype)
    covered = torch.minimum(high[:, None], start + 1) - torch.maximum(low[:, None], start)
    covered = covered.clamp(min=0)
    return covered / covered.sum(dim=1, keepdim=True)
