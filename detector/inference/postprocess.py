"""From scores and box deltas of regions to detections: box regression, per-class NMS, box voting."""

from collections.abc import Sequence

import torch
from torch import Tensor

from detector.config import PostprocessConfig
from detector.errors import InputError
from detector.ops.box_voting import VOTING_SCORE, vote_boxes
from detector.ops.nms import class_nms
from detector.structures.detections import Detections
from detector.structures.region_scores import RegionScores
from proposals.boxes import decode_boxes


def postprocess(
    scored: RegionScores,
    boxes: Tensor,
    image_size: tuple[int, int],
    class_names: Sequence[str],
    config: PostprocessConfig,
    score: float,
    class_ids: Sequence[int | str] = (),
) -> Detections:
    """Detections of one image, best first.

    Args:
        scored: scores and box deltas of the image's R regions.
        boxes: (R, 4) float32 xyxy pixels of the upright image.
        image_size: (width, height) of the image.
        score: lowest score to keep.
        class_ids: as in `Detections`.

    Raises:
        InputError: a score or box delta is not finite; names the region.
    """
    _check_finite("score", scored.scores)
    _check_finite("box delta", scored.box_deltas)
    # Box voting averages regressed boxes, among them those below the lowest score.
    voting = config.voting_iou if scored.box_deltas is not None else None
    lowest = score if voting is None else score * VOTING_SCORE
    regions, labels = (scored.scores >= lowest).nonzero(as_tuple=True)
    boxes = moved_boxes(scored, boxes, regions, labels, image_size)
    scores = scored.scores[regions, labels]
    solid = (boxes[:, 2:] - boxes[:, :2] >= 1).all(dim=1)
    boxes, scores, labels = boxes[solid], scores[solid], labels[solid]
    candidates = (scores >= score).nonzero()[:, 0]
    groups = labels.new_zeros(len(candidates)) if config.agnostic_nms else labels[candidates]
    kept = class_nms(boxes[candidates], scores[candidates], groups, config.nms_iou)
    keep = candidates[kept[: config.max_detections]]
    detected = boxes[keep]
    if voting is not None:  # a mean may leave the image by a rounding error
        detected = _clip(vote_boxes(keep, boxes, scores, labels, voting), image_size)
    return Detections(
        boxes=detected.cpu().numpy(),
        scores=scores[keep].cpu().numpy(),
        labels=labels[keep].cpu().numpy(),
        class_names=tuple(class_names),
        image_size=image_size,
        class_ids=tuple(class_ids),
    )


def _check_finite(name: str, values: Tensor | None) -> None:
    """Raises InputError for NaN and infinity: every comparison with NaN is false, so objects would silently vanish."""
    if values is None or values.numel() == 0 or bool(torch.isfinite(torch.stack(values.aminmax())).all()):
        return
    region = int((~torch.isfinite(values.flatten(1))).any(dim=1).nonzero()[0])
    raise InputError(
        f"the network's {name} of region {region} is not finite: its numbers overflow on this image; use another model"
    )


def moved_boxes(
    scored: RegionScores, boxes: Tensor, regions: Tensor, labels: Tensor, image_size: tuple[int, int]
) -> Tensor:
    """Regions after box regression.

    Args:
        boxes: (R, 4) xyxy pixels of all regions.
        regions: (K,) int64, rows of `boxes`.
        labels: (K,) int64, the class whose box deltas move each region.
        image_size: (width, height) of the image.

    Returns:
        (K, 4) xyxy pixels, clipped to the image.
    """
    moved = boxes[regions]
    if scored.box_deltas is not None:
        moved = decode_boxes(moved, scored.box_deltas.expand(-1, scored.scores.shape[1], 4)[regions, labels])
    return _clip(moved, image_size)


def _clip(boxes: Tensor, image_size: tuple[int, int]) -> Tensor:
    return torch.minimum(boxes.clamp(min=0), boxes.new_tensor((*image_size, *image_size)))
