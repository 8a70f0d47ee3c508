"""One region of an explained photo: what the network saw in it, and what it said of it."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from detector.errors import InputError
from detector.explorer.stages import Explanation
from detector.inference.postprocess import moved_boxes
from detector.inference.rcnn_scorer import RCNNFeatures
from detector.inference.rfcn_scorer import RFCNFeatures
from detector.ops.nms import class_nms
from detector.ops.ps_roi_pool import ps_roi_pool
from detector.structures.rois import RoIs


@dataclass(frozen=True, eq=False)
class RegionReport:
    """What is known of one region.

    Attributes:
        region: row of the proposals; 0 is the best rank.
        source: what proposed it.
        label: the class that is looked at.
        scores: (num_classes,) float32, of all classes.
        proposed: (4,) xyxy pixels.
        moved: (4,) after box regression for the class.
        votes: (bins, bins) float32, how much each part of the region speaks for the class and against the background
            (difference of logits; their mean decides); None if no model shares its pass between regions.
        crop: (size, size, 3) uint8, what is shown to the network; None if no model sees crops.
    """

    region: int
    source: str
    label: int
    scores: np.ndarray
    proposed: np.ndarray
    moved: np.ndarray
    votes: np.ndarray | None
    crop: np.ndarray | None


def report_region(explanation: Explanation, region: int, label: int | None = None) -> RegionReport:
    """Looks at one region for a class, by default the one that it is surest of.

    Raises InputError if there is no such region or class.
    """
    proposals, scores = explanation.proposals, explanation.scored.scores
    if not 0 <= region < len(proposals):
        raise InputError(f"region {region}: there are the regions 0 to {len(proposals) - 1}")
    if label is None:
        label = int(scores[region].argmax())
    elif not 0 <= label < len(explanation.class_names):
        raise InputError(f"class {label}: there are the classes 0 to {len(explanation.class_names) - 1}")
    chosen = torch.tensor([region])
    moved = moved_boxes(explanation.scored, explanation.boxes, chosen, torch.tensor([label]), proposals.image_size)
    box = explanation.boxes[chosen]
    shared = shared_view(explanation)
    crops = next((view for view in explanation.views if isinstance(view, RCNNFeatures)), None)
    return RegionReport(
        region=region,
        source=proposals.source_names[proposals.sources[region]],
        label=label,
        scores=scores[region].numpy(),
        proposed=proposals.boxes[region],
        moved=moved[0].numpy(),
        votes=None if shared is None else _votes(shared, box, label),
        crop=None if crops is None else _crop(crops, box),
    )


def region_at(explanation: Explanation, x: float, y: float, label: int | None = None) -> int | None:
    """The region around a point (pixels of the image) that is surest of a class, by default of any; None if no region
    holds the point."""
    x1, y1, x2, y2 = explanation.proposals.boxes.T
    inside = np.flatnonzero((x1 <= x) & (x < x2) & (y1 <= y) & (y < y2))
    if len(inside) == 0:
        return None
    scores = explanation.scored.scores.numpy()
    values = scores.max(axis=1) if label is None else scores[:, label]
    return int(inside[values[inside].argmax()])


def notable_regions(explanation: Explanation, count: int = 30, overlap: float = 0.7) -> list[int]:
    """The surest regions, at most `count`, of which no two overlap by more than `overlap` with the same class."""
    scores, labels = explanation.scored.scores.max(dim=1)
    return class_nms(explanation.boxes, scores, labels, overlap)[:count].tolist()


def score_maps(explanation: Explanation, label: int) -> np.ndarray | None:
    """(bins, bins, h, w) float32: where in the photo each part of an object of the class would be seen, against the
    background; None if no model shares its pass between regions."""
    shared = shared_view(explanation)
    if shared is None:
        return None
    bins = shared.scorer.network.bins
    maps = _class_maps(shared, label)[0]  # (h, w, bins * bins)
    return maps.permute(2, 0, 1).unflatten(0, (bins, bins)).cpu().numpy()


def shared_view(explanation: Explanation) -> RFCNFeatures | None:
    """The photo after the first shared pass of a network; None if all models see crops."""
    return next((view for view in explanation.views if isinstance(view, RFCNFeatures)), None)


@torch.inference_mode()
def _class_maps(view: RFCNFeatures, label: int) -> Tensor:
    """(1, h, w, bins * bins) float32: the logits of a class minus those of the background, for each bin."""
    network = view.scorer.network
    maps = view.maps.score_maps.float().unflatten(3, (network.bins**2, -1))
    return maps[..., label + 1] - maps[..., 0]


@torch.inference_mode()
def _votes(view: RFCNFeatures, box: Tensor, label: int) -> np.ndarray:
    network = view.scorer.network
    count = network.bins**2
    maps = _class_maps(view, label)
    # One image for each bin, in which only its own map is not zero: the average over the bins is then its vote alone.
    alone = maps * torch.eye(count, device=maps.device)[:, None, None, :]
    boxes = (box.to(view.scale.device) * view.scale).expand(count, 4)
    regions = RoIs(boxes, torch.arange(count, device=maps.device))
    pooled = ps_roi_pool(alone, regions, network.backbone.stride, network.backbone.offset, network.bins)
    return (pooled[:, 0] * count).view(network.bins, network.bins).cpu().numpy()


@torch.inference_mode()
def _crop(view: RCNNFeatures, box: Tensor) -> np.ndarray:
    network = view.scorer.network
    batches, _ = view.scorer.crops(view.image, box.to(network.mean.device))
    pixels = next(batches)[0].float() * network.std + network.mean
    return pixels.round().clamp(0, 255).byte().permute(1, 2, 0).cpu().numpy()
