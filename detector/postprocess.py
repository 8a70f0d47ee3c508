"""From region predictions to detections: softmax, box offsets, per-class NMS."""

from collections.abc import Sequence

import torch
from torch import Tensor

from detector.boxes import decode_offsets
from detector.config import PostprocessConfig
from detector.detections import Detections
from detector.network import RegionPredictions
from detector.nms import class_nms


def postprocess(
    predictions: RegionPredictions,
    boxes: Tensor,
    image_size: tuple[int, int],
    class_names: Sequence[str],
    config: PostprocessConfig,
    score: float,
) -> Detections:
    """Detections of one image, best first.

    Args:
        predictions: of the image's R regions.
        boxes: (R, 4) the regions in pixels of the upright image.
        image_size: (width, height) of the image.
        score: lowest score to keep.
    """
    width, height = image_size
    moved = decode_offsets(boxes, predictions.offsets)
    moved = torch.minimum(moved.clamp(min=0), moved.new_tensor((width, height, width, height)))
    slope, shift = config.calibration
    probabilities = predictions.class_logits.softmax(dim=1)[:, 1:]
    scores = (slope * probabilities.logit(eps=1e-6) + shift).sigmoid()
    regions, labels = (scores >= score).nonzero(as_tuple=True)
    candidates, candidate_scores = moved[regions], scores[regions, labels]
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
