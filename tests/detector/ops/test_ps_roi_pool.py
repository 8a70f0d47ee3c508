"""Position-sensitive RoI pooling against torchvision's operator and against arithmetic."""

import torch
from torchvision.ops import ps_roi_align

from detector.ops.ps_roi_pool import ps_roi_pool
from detector.structures.rois import RoIs

STRIDE, BINS = 16, 3


def random_rois(count: int) -> RoIs:
    """Boxes around two images of 224x176 pixels, some beyond the border."""
    corner = torch.rand(count, 2, dtype=torch.float64) * torch.tensor([224, 176]) - 20
    size = torch.rand(count, 2, dtype=torch.float64) * 150 + 2
    return RoIs(torch.cat((corner, corner + size), dim=1), torch.randint(2, (count,)))


def torchvisions(maps: torch.Tensor, rois: RoIs) -> torch.Tensor:
    """(R, C): torchvision's operator on maps ordered (C, bins, bins), averaged over the bins."""
    maps = maps.unflatten(3, (BINS**2, 5)).permute(0, 4, 3, 1, 2).flatten(1, 2)
    indexed = torch.cat((rois.image_index[:, None].double(), rois.boxes), dim=1)
    return ps_roi_align(maps, indexed, BINS, 1 / STRIDE, sampling_ratio=2).mean(dim=(2, 3))


def test_values_and_gradients_equal_torchvisions():
    torch.manual_seed(0)
    maps = torch.randn(2, 11, 14, BINS**2 * 5, dtype=torch.float64, requires_grad=True)
    rois, weights = random_rois(60), torch.randn(60, 5, dtype=torch.float64)
    ours, theirs = ps_roi_pool(maps, rois, STRIDE, STRIDE / 2, BINS), torchvisions(maps, rois)
    torch.testing.assert_close(ours, theirs)
    gradients = [torch.autograd.grad((pooled * weights).sum(), maps) for pooled in (ours, theirs)]
    torch.testing.assert_close(*gradients)


def test_bins_read_their_own_maps_at_their_own_place():
    """On maps where channel (row, column) of each cell holds the cell's pixel position, averaging gives the center."""
    offset, bins = 14.5, 7
    position = offset + STRIDE * torch.arange(20.0)
    maps = position.view(1, 1, 20, 1).expand(1, 20, 20, bins * bins).clone()
    rois = RoIs(torch.tensor([[60.0, 70.0, 130.0, 210.0]]), torch.zeros(1, dtype=torch.long))
    torch.testing.assert_close(ps_roi_pool(maps, rois, STRIDE, offset, bins), torch.tensor([[95.0]]))
    maps[..., bins - 1 :: bins] = 0.0  # the last column of bins, centered at 60 + 10 * 6.5, contributes nothing
    expected = (sum(60 + 10 * (i + 0.5) for i in range(bins - 1))) / bins
    torch.testing.assert_close(ps_roi_pool(maps, rois, STRIDE, offset, bins), torch.tensor([[expected]]))
