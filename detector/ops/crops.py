"""Regions cropped from an image and warped to the network's input (R-CNN: Girshick et al., 2014, appendix A).

A region is enlarged so that `context` pixels of the warped crop surround it on each side, rounded to whole pixels (as
in R-CNN's code) and resized by bilinear interpolation without antialiasing. Outside the image the crop holds the mean.
The sampling is torchvision's RoIAlign with one sample a pixel, the same on CPU and GPU.
"""

import torch
from torch import Tensor

from detector.config import CropConfig
from detector.ops.nms import torchvision_operators


def crop_windows(boxes: Tensor, config: CropConfig) -> Tensor:
    """The windows of the image that the crops of regions show.

    Args:
        boxes: (R, 4) xyxy in pixels of the image, right and bottom exclusive.

    Returns:
        (R, 4) float32, whole pixels, each side at least one; windows may extend beyond the image.
    """
    low, high = boxes[:, :2].double(), boxes[:, 2:].double()
    center, half = (low + high) / 2, (high - low) / 2
    if config.mode == "square":
        half = half.amax(dim=1, keepdim=True).expand_as(half)
    half = half * (config.size / (config.size - 2 * config.context))
    # Round halves up: torch rounds them to even, which would make squares uneven.
    low = (center - half + 0.5).floor()
    high = torch.maximum((center + half + 0.5).floor(), low + 1)
    return torch.cat((low, high), dim=1).float()


def warp_windows(image: Tensor, windows: Tensor, size: int) -> Tensor:
    """Resizes windows of one image to squares.

    Args:
        image: (3, H, W) floating point, normalized, so that zero is the mean.
        windows: (R, 4) xyxy in pixels of the image, from `crop_windows`.
        size: side of the squares in pixels.

    Returns:
        (R, 3, size, size), channels last in memory; zero more than a pixel beyond the centers of the border pixels.
    """
    rois = torch.cat((windows.new_zeros(len(windows), 1), windows), dim=1).to(image)  # image 0 of the batch
    crops = torchvision_operators().roi_align(image[None], rois, 1.0, size, size, 1, True)
    return crops.contiguous(memory_format=torch.channels_last)
