from dataclasses import replace

import numpy as np
import pytest
import torch

from detector.config import CropConfig, parse
from detector.errors import InputError
from detector.ops.crops import crop_windows, warp_windows


@pytest.mark.parametrize(
    ("box", "config", "window"),
    [
        # without context the window is the box, or the square around it
        ((10, 20, 30, 60), CropConfig(context=0), (10, 20, 30, 60)),
        ((10, 20, 30, 60), CropConfig(context=0, mode="square"), (0, 20, 40, 60)),
        # 192 of the 224 pixels are the region: half of its sides, 96 and 48, times 7 / 6
        ((0, 0, 192, 96), CropConfig(), (-16, -8, 208, 104)),
        ((10, 20, 30, 60), CropConfig(size=64, context=16), (0, 0, 40, 80)),
        # whole pixels
        ((0.4, 0.6, 10.4, 10.6), CropConfig(context=0), (0, 1, 10, 11)),
        ((0, 0, 100, 50), CropConfig(), (-8, -4, 108, 54)),  # 50 +- 58.33, 25 +- 29.17
        # at least one pixel
        ((5, 7, 6, 8), CropConfig(size=64, context=24), (4, 6, 8, 10)),  # 5.5 +- 2
        ((5.1, 7.1, 5.3, 7.3), CropConfig(context=0), (5, 7, 6, 8)),
        # outside the image
        ((-30, -20, -10, 20), CropConfig(context=0), (-30, -20, -10, 20)),
    ],
)
def test_windows_by_hand(box: tuple[float, ...], config: CropConfig, window: tuple[float, ...]):
    result = crop_windows(torch.tensor([box], dtype=torch.float32), config)
    assert result.dtype == torch.float32
    assert result.tolist() == [list(window)]


def test_no_boxes():
    assert crop_windows(torch.zeros(0, 4), CropConfig()).shape == (0, 4)
    assert warp_windows(torch.rand(3, 20, 20), torch.zeros(0, 4), 224).shape == (0, 3, 224, 224)


def slow_warp(image: np.ndarray, window: tuple[float, ...], size: int) -> np.ndarray:
    """A crop pixel by pixel: bilinear, clamped at the border, zero more than a pixel beyond it."""
    channels, height, width = image.shape
    crop = np.zeros((channels, size, size))
    for row in range(size):
        for column in range(size):
            y = window[1] + (row + 0.5) * (window[3] - window[1]) / size - 0.5
            x = window[0] + (column + 0.5) * (window[2] - window[0]) / size - 0.5
            if not (-1 <= y <= height and -1 <= x <= width):
                continue
            y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
            for r in range(height):
                for c in range(width):
                    weight = max(0, 1 - abs(y - r)) * max(0, 1 - abs(x - c))
                    crop[:, row, column] += weight * image[:, r, c]
    return crop


@pytest.mark.parametrize("size", [1, 7])
@pytest.mark.parametrize(
    "window",
    [
        (0, 0, 11, 9),  # the whole image
        (3, 4, 4, 5),  # one pixel
        (-3, -2, 9, 6),  # over the left and upper border
        (5, 4, 20, 17),  # over the right and lower border
        (-10, -12, 24, 30),  # around the image
        (20, 20, 30, 30),  # wholly outside
    ],
)
def test_warp_equals_a_slow_reference(window: tuple[float, ...], size: int):
    image = np.random.default_rng(0).normal(0, 50, (3, 9, 11))
    crop = warp_windows(torch.from_numpy(image).float(), torch.tensor([window], dtype=torch.float32), size)
    assert crop.shape == (1, 3, size, size)
    np.testing.assert_allclose(crop[0].numpy(), slow_warp(image, window, size), atol=1e-4)


def test_a_window_of_the_crops_size_is_a_copy():
    image = torch.rand(3, 20, 30)
    crop = warp_windows(image, torch.tensor([[4.0, 5, 12, 13]]), 8)
    torch.testing.assert_close(crop[0], image[:, 5:13, 4:12])
    assert crop.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("size", "context"), [(32, 16), (32, 40), (1, 1)])
def test_context_that_leaves_nothing_is_refused(size: int, context: int):
    message = f"context {context}.*{size} pixels"
    with pytest.raises(ValueError, match=message):
        CropConfig(size=size, context=context)
    with pytest.raises(InputError, match=message):
        parse(CropConfig, {"size": size, "context": context}, "r.yaml")
    assert replace(CropConfig(), size=33, context=16).size == 33
