"""Position-sensitive RoI pooling (R-FCN: Dai et al., 2016, section 2.2), as one `embedding_bag`.

Each output is a weighted sum of rows of the score maps: four bilinear neighbors of each of 2x2 samples a bin. It
equals torchvision's `ps_roi_align(sampling_ratio=2)`, averaged over the bins, up to rounding, but uses all threads and
takes about a seventh of the time on a CPU.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from detector.structures.rois import RoIs

SAMPLES = 2
"""Sampling points of a bin along each axis."""


def ps_roi_pool(maps: Tensor, rois: RoIs, stride: float, offset: float, bins: int) -> Tensor:
    """Position-sensitive RoIAlign followed by R-FCN's voting: each bin reads its own maps, and the bins are averaged.

    Args:
        maps: (B, H, W, bins * bins * C) score maps, the channels ordered (bin row, bin column, C).
        rois: R boxes in input pixels; samples more than one cell outside the maps count as zero.
        stride, offset: cell i of the maps is centered at pixel `offset + stride * i` (0 is the image's left edge).
        bins: bins along each side of a region.

    Returns:
        (R, C) in the boxes' number format (float32), the mean over the bins.
    """
    batch, height, width, channels = maps.shape
    groups = bins * bins
    cells = (rois.boxes - offset) / stride
    rows, row_weights = _axis_samples(cells[:, 1], cells[:, 3], height, bins)  # (R, bins, 2 * SAMPLES) each
    columns, column_weights = _axis_samples(cells[:, 0], cells[:, 2], width, bins)
    bin_index = torch.arange(bins, device=maps.device)[:, None]
    rows = (rows + rois.image_index[:, None, None] * height) * (width * groups) + bin_index * bins
    columns = columns * groups + bin_index
    # Rows of the table (R, bins, 2 * SAMPLES, bins, 2 * SAMPLES): all pairs of a row and a column.
    index = rows[:, :, :, None, None] + columns[:, None, None, :, :]
    weights = row_weights[:, :, :, None, None] * (column_weights / groups)[:, None, None, :, :]
    # In float32: sums in bfloat16 lose small terms, above all in the gradient.
    table = maps.reshape(batch * height * width * groups, channels // groups).to(weights.dtype)
    if torch.compiler.is_exporting():  # ONNX has no such operator
        return torch.bmm(weights.flatten(1)[:, None], table[index.flatten(1)])[:, 0]
    return F.embedding_bag(index.flatten(1), table, mode="sum", per_sample_weights=weights.flatten(1))


def _axis_samples(low: Tensor, high: Tensor, size: int, bins: int) -> tuple[Tensor, Tensor]:
    """Cells and weights of bilinear interpolation along one axis, (R, bins, 2 * SAMPLES) each.

    Args:
        low, high: (R,) ends of the regions in cells, 0 being the center of the first cell.
        size: cells of the axis.
    """
    count = bins * SAMPLES
    fractions = (torch.arange(count, device=low.device, dtype=low.dtype) + 0.5) / count
    points = low[:, None] + (high - low)[:, None] * fractions
    inside = ((points >= -1) & (points <= size)).to(points.dtype) / SAMPLES
    points = points.clamp(0, size - 1)
    first = points.floor()
    fraction = points - first
    second = (first + 1).clamp(max=size - 1)
    cells = torch.stack((first, second), dim=-1).long()
    weights = torch.stack(((1 - fraction) * inside, fraction * inside), dim=-1)
    return cells.view(-1, bins, 2 * SAMPLES), weights.view(-1, bins, 2 * SAMPLES)
