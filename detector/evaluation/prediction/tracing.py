"""Detection that also records how each stage treated every annotated object."""

import numpy as np
import torch
from torch import Tensor

from detector.data.traces import COVERED, ObjectTraces
from detector.inference.pipeline import DetectionPipeline
from detector.inference.postprocess import moved_boxes
from detector.structures.detections import Detections, check_score
from detector.structures.image import Image
from detector.structures.region_scores import RegionScores
from proposals import Proposals
from proposals.boxes import box_iou


def detect_traced(
    detector: DetectionPipeline, image: Image, boxes: np.ndarray, labels: np.ndarray, score: float
) -> tuple[Detections, ObjectTraces]:
    """The same detections as `detector.detect`, and the traces of the image's objects.

    Args:
        boxes: (N, 4) the objects, xyxy pixels, right and bottom exclusive.
        labels: (N,) their classes as indices into the detector's; -1 for a class that it lacks.
        score: lowest score to keep.
    """
    check_score(score)
    features = detector.encode(image)
    proposals = detector.propose(image, features)
    scored = detector.score(features, proposals)
    return detector.suppress(proposals, scored, score), trace_objects(proposals, scored, boxes, labels)


def trace_objects(proposals: Proposals, scored: RegionScores, boxes: np.ndarray, labels: np.ndarray) -> ObjectTraces:
    """Traces of objects, (N, 4) boxes and (N,) labels, from an image's proposals and the scores of their regions."""
    kinds = [name.split("/", 1)[0] for name in proposals.source_names]
    names = tuple(dict.fromkeys(kinds))
    device = scored.scores.device
    objects = torch.from_numpy(np.array(boxes, np.float32).reshape(-1, 4)).to(device)
    regions = torch.tensor(proposals.boxes).to(device)
    sources, overlaps = np.full(len(objects), -1), np.zeros(len(objects))
    region_scores = np.zeros(len(objects))
    if len(regions) and len(objects):
        best, region = box_iou(objects, regions).max(dim=1)
        overlaps = best.double().cpu().numpy()
        sources = np.array([names.index(kinds[s]) for s in proposals.sources[region.cpu().numpy()]])
        for row, label in enumerate(np.asarray(labels).tolist()):
            if label >= 0:
                region_scores[row] = _best_score(scored, regions, label, objects[row], proposals.image_size)
    return ObjectTraces(
        proposal_overlaps=overlaps, sources=sources.astype(np.int64), source_names=names, region_scores=region_scores
    )


def _best_score(scored: RegionScores, regions: Tensor, label: int, box: Tensor, image_size: tuple[int, int]) -> float:
    """The highest score for a class of the regions that cover a box after box regression; 0 if none does."""
    rows = torch.arange(len(regions), device=regions.device)
    moved = moved_boxes(scored, regions, rows, torch.full_like(rows, label), image_size)
    covering = box_iou(moved, box[None])[:, 0] >= COVERED
    return float((scored.scores[:, label] * covering).max())
