"""From scores and offsets of regions to detections: box regression, NMS for each class."""

from collections.abc import Sequence

import torch
from torch import Tensor

from detector.config import PostprocessConfig
from detector.detections import Detections
from detector.nms import class_nms
from detector.scorers import RegionScores
from proposals.boxes import decode_offsets


def postprocess(
    scored: RegionScores,
    boxes: Tensor,
    image_size: tuple[int, int],
    class_names: Sequence[str],
    config: PostprocessConfig,
    score: float,
) -> Detections:
    """Detections of one image, best first.

    Args:
        scored: scores and offsets of the image's R regions.
        boxes: (R, 4) the regions in pixels of the upright image.
        image_size: (width, height) of the image.
        score: lowest score to keep.
    """
    regions, labels = (scored.scores >= score).nonzero(as_tuple=True)
    candidates = moved_boxes(scored, boxes, regions, labels, image_size)
    candidate_scores = scored.scores[regions, labels]
    solid = (candidates[:, 2:] - candidates[:, :2] >= 1).all(dim=1)
    candidates, candidate_scores, labels = candidates[solid], candidate_scores[solid], labels[solid]
    keep = class_nms(candidates, candidate_scores, labels, config.nms_iou)[: config.max_detections]
    return Detections(
        boxes=candidates[keep].cpu().numpy(),
        scores=candidate_scores[keep].cpu().numpy(),
        labels=labels[keep].cpu().numpy(),
        class_names=tuple(class_names),
        image_size=image_size,
    )


def moved_boxes(
    scored: RegionScores, boxes: Tensor, regions: Tensor, labels: Tensor, image_size: tuple[int, int]
) -> Tensor:
    """Boxes (K, 4) of regions (K,) after box regression for the classes `labels` (K,), cut to the image."""
    width, height = image_size
    moved = boxes[regions]
    if scored.offsets is not None:
        moved = decode_offsets(moved, scored.offsets.expand(-1, scored.scores.shape[1], 4)[regions, labels])
    return torch.minimum(moved.clamp(min=0), moved.new_tensor((width, height, width, height)))
