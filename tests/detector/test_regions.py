"""Region pooling against torchvision's operators and against arithmetic."""

import pytest
import torch
from torchvision.ops import ps_roi_align, roi_align

from detector.regions import Regions, pool_regions

STRIDE = 16


def random_regions(count: int, images: int, width: int, height: int) -> Regions:
    corner = torch.rand(count, 2) * torch.tensor([width, height]) - 20
    size = torch.rand(count, 2) * 150 + 0.5
    return Regions(torch.cat((corner, corner + size), dim=1), torch.randint(images, (count,)))


@pytest.fixture
def maps() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(2, 11, 14, 9 * 5, dtype=torch.float64, requires_grad=True)


def rois(regions: Regions) -> torch.Tensor:
    return torch.cat((regions.image_index[:, None].double(), regions.boxes.double()), dim=1)


def double(regions: Regions) -> Regions:
    return Regions(regions.boxes.double(), regions.image_index)


def test_equals_torchvisions_roi_align(maps: torch.Tensor):
    regions = random_regions(60, 2, 14 * STRIDE, 11 * STRIDE)
    ours = pool_regions(maps, double(regions), STRIDE, STRIDE / 2, 3, position_sensitive=False, average=False)
    theirs = roi_align(maps.permute(0, 3, 1, 2), rois(regions), 3, 1 / STRIDE, sampling_ratio=2, aligned=True)
    torch.testing.assert_close(ours, theirs.flatten(2).transpose(1, 2))


@pytest.mark.parametrize("average", [False, True])
def test_equals_torchvisions_position_sensitive_roi_align(maps: torch.Tensor, average: bool):
    regions = random_regions(60, 2, 14 * STRIDE, 11 * STRIDE)
    regions.boxes[:, 2:] = torch.maximum(regions.boxes[:, 2:], regions.boxes[:, :2] + 2)
    ours = pool_regions(maps, double(regions), STRIDE, STRIDE / 2, 3, position_sensitive=True, average=average)
    theirs_layout = maps.unflatten(3, (9, 5)).permute(0, 4, 3, 1, 2).flatten(1, 2)  # (B, C * 9, H, W)
    theirs = ps_roi_align(theirs_layout, rois(regions), 3, 1 / STRIDE, sampling_ratio=2)  # (R, C, 3, 3)
    theirs = theirs.flatten(2).transpose(1, 2)
    torch.testing.assert_close(ours, theirs.mean(dim=1) if average else theirs)


def test_gradients_equal_torchvisions(maps: torch.Tensor):
    regions = random_regions(20, 2, 14 * STRIDE, 11 * STRIDE)
    weights = torch.randn(20, 9, 45, dtype=torch.float64)
    ours = pool_regions(maps, double(regions), STRIDE, STRIDE / 2, 3, position_sensitive=False, average=False)
    theirs = roi_align(maps.permute(0, 3, 1, 2), rois(regions), 3, 1 / STRIDE, sampling_ratio=2, aligned=True)
    (own,) = torch.autograd.grad((ours * weights).sum(), maps)
    (reference,) = torch.autograd.grad((theirs.flatten(2).transpose(1, 2) * weights).sum(), maps)
    torch.testing.assert_close(own, reference)


def test_a_ramp_is_pooled_to_the_bin_centres():
    """On a map that holds the pixel position of each cell, a bin's value is the position of its centre."""
    offset = 14.5
    columns = offset + STRIDE * torch.arange(20.0)
    maps = columns.view(1, 1, 20, 1).expand(1, 20, 20, 1)
    box = torch.tensor([[60.0, 70.0, 130.0, 210.0]])
    regions = Regions(box, torch.zeros(1, dtype=torch.long))
    pooled = pool_regions(maps, regions, STRIDE, offset, 7, position_sensitive=False, average=False)
    centres = 60 + 10 * (torch.arange(7.0) + 0.5)
    torch.testing.assert_close(pooled.view(7, 7)[3], centres)


def test_regions_of_images_keep_their_image():
    regions = Regions.of_images([torch.zeros(2, 4), torch.zeros(0, 4), torch.ones(1, 4)])
    assert regions.image_index.tolist() == [0, 0, 2]
    assert len(regions[regions.image_index == 2]) == 1


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match=r"boxes \(R, 4\)"):
        Regions(torch.zeros(3, 5), torch.zeros(3, dtype=torch.long))
