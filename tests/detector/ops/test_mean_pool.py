"""The mean of a map over boxes, against the mean over pixels."""

import torch

from detector.ops.mean_pool import mean_pool


def test_the_mean_of_the_pixels():
    torch.manual_seed(0)
    maps = torch.rand(3, 4, 6)
    pixels = maps.repeat_interleave(16, dim=1).repeat_interleave(16, dim=2)  # cell 0 is centered at pixel 8
    boxes = torch.tensor([(0, 0, 96, 64), (5, 7, 90, 33), (40, 20, 41, 21), (16, 16, 32, 32)], dtype=torch.float32)
    expected = [pixels[:, y1:y2, x1:x2].mean(dim=(1, 2)) for x1, y1, x2, y2 in boxes.int().tolist()]
    torch.testing.assert_close(mean_pool(maps, boxes, 16, 8), torch.stack(expected))


def test_boxes_beyond_the_outer_cells_take_the_nearest():
    maps = torch.arange(6.0).view(1, 2, 3)
    boxes = torch.tensor([(0, 0, 4, 4), (60, 60, 64, 64)], dtype=torch.float32)
    torch.testing.assert_close(mean_pool(maps, boxes, 16, 14.5).flatten(), torch.tensor([0.0, 5.0]))
