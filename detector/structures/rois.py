"""RoIs of a batch of images, and what the network's maps say of each: position-sensitive RoIAlign (R-FCN).

Pooling is one `embedding_bag`: each output is a weighted sum of rows of the table of votes, four bilinear
neighbors for each of 2x2 samples a bin. It equals torchvision's `ps_roi_align(sampling_ratio=2)`, averaged over
the bins, to rounding, but runs on all threads and takes about a seventh of its time on a CPU.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

SAMPLES = 2
"""Sampling points a bin and axis."""


@dataclass(frozen=True)
class RoIs:
    """RoIs to classify.

    Attributes:
        boxes: (R, 4) float32 xyxy in pixels of the network's input image.
        image_index: (R,) int64, position of each region's image in the batch.
    """

    boxes: Tensor
    image_index: Tensor

    def __post_init__(self) -> None:
        if self.boxes.ndim != 2 or self.boxes.shape[1] != 4 or self.image_index.shape != self.boxes.shape[:1]:
            raise ValueError(
                f"regions need boxes (R, 4) and image_index (R,), not {tuple(self.boxes.shape)} "
                f"and {tuple(self.image_index.shape)}"
            )

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, selection: Tensor | slice) -> "RoIs":
        return RoIs(self.boxes[selection], self.image_index[selection])

    @classmethod
    def of_images(cls, boxes: Sequence[Tensor], places: Iterable[int] | None = None) -> "RoIs":
        """From one (R_i, 4) tensor of boxes an image.

        places: of the images in the batch; None: 0, 1, 2, ...
        """
        places = range(len(boxes)) if places is None else places
        # filled on the device: a list that is copied to a GPU would wait for it
        index = [
            torch.full((len(own),), place, dtype=torch.int64, device=own.device)
            for own, place in zip(boxes, places, strict=True)
        ]
        return cls(torch.cat(list(boxes)), torch.cat(index))


def ps_roi_pool(maps: Tensor, regions: RoIs, stride: float, offset: float, bins: int) -> Tensor:
    """Position-sensitive RoIAlign with R-FCN's vote: each bin of a region reads its own maps, and they are averaged.

    Args:
        maps: (B, H, W, bins * bins * C), the channels ordered (bin row, bin column, C).
        regions: R boxes in input pixels; samples further than one cell outside the maps count as zero.
        stride, offset: cell i of the maps is centerd at pixel `offset + stride * i` (0 = left edge of the image).
        bins: a region is divided into bins x bins.

    Returns:
        (R, C) in the boxes' number format (float32), the average over the bins.
    """
    batch, height, width, channels = maps.shape
    groups = bins * bins
    cells = (regions.boxes - offset) / stride
    rows, row_weights = _axis_samples(cells[:, 1], cells[:, 3], height, bins)  # (R, bins, 2 * SAMPLES) each
    columns, column_weights = _axis_samples(cells[:, 0], cells[:, 2], width, bins)
    bin_index = torch.arange(bins, device=maps.device)[:, None]
    rows = (rows + regions.image_index[:, None, None] * height) * (width * groups) + bin_index * bins
    columns = columns * groups + bin_index
    # rows of the table (R, bins, 2 * SAMPLES, bins, 2 * SAMPLES): all pairs of a row and a column
    index = rows[:, :, :, None, None] + columns[:, None, None, :, :]
    weights = row_weights[:, :, :, None, None] * (column_weights / groups)[:, None, None, :, :]
    # in float32: sums in bfloat16 lose what is small, in the gradient above all
    table = maps.reshape(batch * height * width * groups, channels // groups).to(weights.dtype)
    return F.embedding_bag(index.flatten(1), table, mode="sum", per_sample_weights=weights.flatten(1))


def _axis_samples(low: Tensor, high: Tensor, size: int, bins: int) -> tuple[Tensor, Tensor]:
    """Cells and weights (R, bins, 2 * SAMPLES) of linear interpolation at the sampling points of one axis.

    `low`, `high` (R,): ends of the regions in cells, 0 = center of the first one.
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
