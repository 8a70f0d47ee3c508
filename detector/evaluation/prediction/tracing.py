"""How each stage of a detector treated every annotated object of an image."""

import numpy as np
import torch
from torch import Tensor

from detector.data.traces import COVERED, ObjectTraces
from detector.inference.postprocess import moved_boxes
from detector.structures.region_scores import RegionScores
from proposals import Proposals
from proposals.boxes import box_iou


def trace_objects(proposals: Proposals, scored: RegionScores, boxes: np.ndarray, labels: np.ndarray) -> ObjectTraces:
    """Traces of objects from an image's proposals and the scores of their regions.

    Args:
        boxes: (N, 4) the objects, xyxy pixels, right and bottom exclusive.
        labels: (N,) their classes as indices into the detector's; -1 for a class that it lacks.
    """
    kinds = [name.split("/", 1)[0] for name in proposals.source_names]
    names = tuple(dict.fromkeys(kinds))
    objects = torch.from_numpy(np.array(boxes, np.float32).reshape(-1, 4)).to(scored.scores.device)
    regions = torch.tensor(proposals.boxes).to(scored.scores.device)
    sources, overlaps, region_scores = np.full(len(objects), -1), np.zeros(len(objects)), np.zeros(len(objects))
    if len(regions) and len(objects):
        best, region = box_iou(objects, regions).max(dim=1)
        overlaps = best.double().cpu().numpy()
        sources = np.array([names.index(kinds[s]) for s in proposals.sources[region.cpu().numpy()]])
        for row, label in enumerate(np.asarray(labels).tolist()):
            if label >= 0:
                region_scores[row] = _best_score(scored, regions, label, objects[row], proposals.image_size)
    return ObjectTraces(proposal_overlaps=overlaps, sources=sources, source_names=names, region_scores=region_scores)


def _best_score(scored: RegionScores, regions: Tensor, label: int, box: Tensor, image_size: tuple[int, int]) -> float:
    """The highest score for a class of the regions that cover a box after box regression; 0 if none does."""
    rows = torch.arange(len(regions), device=regions.device)
    moved = moved_boxes(scored, regions, rows, torch.full_like(rows, label), image_size)
    covering = box_iou(moved, box[None])[:, 0] >= COVERED
    return float((scored.scores[:, label] * covering).max())
