"""Region pooling against torchvision's operators and against arithmetic."""

import pytest
import torch
from torchvision.ops import ps_roi_align

from detector.structures.rois import RoIs, ps_roi_pool

STRIDE = 16


def random_regions(count: int, images: int, width: int, height: int) -> RoIs:
    corner = torch.rand(count, 2) * torch.tensor([width, height]) - 20
    size = torch.rand(count, 2) * 150 + 2
    return RoIs(torch.cat((corner, corner + size), dim=1), torch.randint(images, (count,)))


@pytest.fixture
def maps() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(2, 11, 14, 9 * 5, dtype=torch.float64, requires_grad=True)


def rois(regions: RoIs) -> torch.Tensor:
    return torch.cat((regions.image_index[:, None].double(), regions.boxes.double()), dim=1)


def double(regions: RoIs) -> RoIs:
    return RoIs(regions.boxes.double(), regions.image_index)


def torchvisions(maps: torch.Tensor, regions: RoIs) -> torch.Tensor:
    """(R, C): torchvision's operator on maps ordered (C, bins, bins), averaged over the bins."""
    maps = maps.unflatten(3, (9, 5)).permute(0, 4, 3, 1, 2).flatten(1, 2)
    return ps_roi_align(maps, rois(regions), 3, 1 / STRIDE, sampling_ratio=2).mean(dim=(2, 3))


def test_equals_torchvisions_operator(maps: torch.Tensor):
    regions = random_regions(60, 2, 14 * STRIDE, 11 * STRIDE)
    ours = ps_roi_pool(maps, double(regions), STRIDE, STRIDE / 2, 3)
    torch.testing.assert_close(ours, torchvisions(maps, regions))


def test_gradients_equal_torchvisions(maps: torch.Tensor):
    regions = random_regions(20, 2, 14 * STRIDE, 11 * STRIDE)
    weights = torch.randn(20, 5, dtype=torch.float64)
    ours = (ps_roi_pool(maps, double(regions), STRIDE, STRIDE / 2, 3) * weights).sum()
    theirs = (torchvisions(maps, regions) * weights).sum()
    torch.testing.assert_close(torch.autograd.grad(ours, maps), torch.autograd.grad(theirs, maps))


def test_bins_read_their_own_maps_at_their_own_place():
    """On maps where channel (row, column) of each cell holds the cell's pixel position, averaging gives the center."""
    offset, bins = 14.5, 7
    position = offset + STRIDE * torch.arange(20.0)
    maps = position.view(1, 1, 20, 1).expand(1, 20, 20, bins * bins).clone()
    regions = RoIs(torch.tensor([[60.0, 70.0, 130.0, 210.0]]), torch.zeros(1, dtype=torch.long))
    torch.testing.assert_close(ps_roi_pool(maps, regions, STRIDE, offset, bins), torch.tensor([[95.0]]))
    maps[..., bins - 1 :: bins] = 0.0  # the last column of bins, centerd at 60 + 10 * 6.5, falls silent
    expected = (sum(60 + 10 * (i + 0.5) for i in range(bins - 1))) / bins
    torch.testing.assert_close(ps_roi_pool(maps, regions, STRIDE, offset, bins), torch.tensor([[expected]]))


def test_regions_of_images_keep_their_image():
    regions = RoIs.of_images([torch.zeros(2, 4), torch.zeros(0, 4), torch.ones(1, 4)])
    assert regions.image_index.tolist() == [0, 0, 2]
    assert len(regions[regions.image_index == 2]) == 1


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match=r"boxes \(R, 4\)"):
        RoIs(torch.zeros(3, 5), torch.zeros(3, dtype=torch.long))
