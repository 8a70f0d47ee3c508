"""RoIs cut out of an image and warped to the network's input, as R-CNN does (Girshick et al., 2014, appendix A).

A region grows until `context` pixels of the warped crop lie around it on every side, is rounded to whole pixels (as in
R-CNN's code) and resized by bilinear interpolation without antialiasing. Where it leaves the image, the crop holds
the mean. The sampling is torchvision's RoIAlign with one sample a pixel, the same on CPU and GPU.
"""

import torch
from torch import Tensor

from detector.config import CropConfig
from detector.ops.operators import torchvision_operators


def crop_windows(boxes: Tensor, config: CropConfig) -> Tensor:
    """The windows of the image that are shown to the network for regions.

    Args:
        boxes: (R, 4) xyxy in pixels of the image, right and bottom exclusive.

    Returns:
        (R, 4) float32, whole pixels, each side at least one; they may reach outside the image.
    """
    low, high = boxes[:, :2].double(), boxes[:, 2:].double()
    center, half = (low + high) / 2, (high - low) / 2
    if config.mode == "square":
        half = half.amax(dim=1, keepdim=True).expand_as(half)
    half = half * (config.size / (config.size - 2 * config.context))
    # halves go up: torch's own rounding would take them to the even side, and squares would not stay square
    low = (center - half + 0.5).floor()
    high = torch.maximum((center + half + 0.5).floor(), low + 1)
    return torch.cat((low, high), dim=1).float()


def warp_windows(image: Tensor, windows: Tensor, size: int) -> Tensor:
    """Windows of one image, each resized to a square.

    Args:
        image: (3, H, W) floating, normalized, so that zero is the mean.
        windows: (R, 4) xyxy in pixels of the image, as `crop_windows` gives them.

    Returns:
        (R, 3, size, size), channels last in memory; zero at points more than a pixel outside the outermost pixels'
        centers.
    """
    regions = torch.cat((windows.new_zeros(len(windows), 1), windows), dim=1).to(image)  # image 0 of the batch
    crops = torchvision_operators().roi_align(image[None], regions, 1.0, size, size, 1, True)
    return crops.contiguous(memory_format=torch.channels_last)
