"""A second look at regions: judged again where box regression has moved them, their scores averaged.

After the iterative localisation of Gidaris and Komodakis ('Object detection via a multi-region and semantic
segmentation-aware CNN model', ICCV 2015, section 4), which goes on from the boxes that are left; here all regions are
looked at twice, which costs a model of one pass little.
"""

import torch
from torch import Tensor

from detector.scorers import RegionScores
from proposals.boxes import decode_offsets, encode_offsets


def move_regions(boxes: Tensor, scored: RegionScores, image_size: tuple[int, int]) -> Tensor:
    """Boxes (R, 4) where their offsets move them, cut to the image; those that would keep no pixel stay.

    The offsets are for all classes, (R, 1, 4).
    """
    assert scored.offsets is not None
    moved = decode_offsets(boxes, scored.offsets[:, 0])
    x, y = moved[:, 0::2].clamp(0, image_size[0]), moved[:, 1::2].clamp(0, image_size[1])
    moved = torch.stack((x[:, 0], y[:, 0], x[:, 1], y[:, 1]), dim=1)
    solid = ((moved[:, 2:] - moved[:, :2]) >= 1).all(dim=1, keepdim=True)
    return torch.where(solid, moved, boxes)


def join_looks(boxes: Tensor, first: RegionScores, moved: Tensor, second: RegionScores) -> RegionScores:
    """What two looks say of boxes (R, 4): the mean of the scores, and offsets that lead to where the second one moves
    the boxes (R, 4) that the first one had moved."""
    assert second.offsets is not None
    offsets = encode_offsets(boxes, decode_offsets(moved, second.offsets[:, 0]))
    return RegionScores((first.scores + second.scores) / 2, offsets[:, None])
