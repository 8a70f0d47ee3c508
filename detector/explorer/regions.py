"""One region of an explained photo: the network's input and output for it."""

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
from detector.structures.region_scores import calibrate
from detector.structures.rois import RoIs


@dataclass(frozen=True)
class Calibrated:
    """How an R-FCN model's score of a region and a class comes about.

    Attributes:
        probability: of the class, by softmax over all classes and the background.
        slope, offset: of Platt scaling of the log-odds of `probability`.
        score: the result, in 0..1.
    """

    probability: float
    slope: float
    offset: float
    score: float


@dataclass(frozen=True, eq=False)
class RegionReport:
    """One region and its scores.

    Attributes:
        label: the class that the report is for.
        scores: (num_classes,) float32, of all classes.
        proposed: (4,) xyxy pixels.
        moved: (4,) xyxy pixels, after box regression for the class.
        bin_scores: (bins, bins) float32, the score map of the class minus that of the background, pooled over each bin
            of the region; the mean is the difference of the logits. None without an R-FCN model.
        calibrated: the score of the class by the model of `bin_scores`; None without an R-FCN model.
        crop: (size, size, 3) uint8, the network's input; None without an R-CNN model.
    """

    label: int
    scores: np.ndarray
    proposed: np.ndarray
    moved: np.ndarray
    bin_scores: np.ndarray | None
    calibrated: Calibrated | None
    crop: np.ndarray | None


def report_region(explanation: Explanation, region: int, label: int | None = None) -> RegionReport:
    """The report on one region for a class, by default the one with the highest score.

    Raises:
        InputError: the region or the class is out of range.
    """
    proposals, scores = explanation.proposals, explanation.scored.scores
    if not 0 <= region < len(proposals):
        raise InputError(f"region {region}: give a region from 0 to {len(proposals) - 1}")
    if label is None:
        label = int(scores[region].argmax())
    elif not 0 <= label < len(explanation.class_names):
        raise InputError(f"class {label}: give a class from 0 to {len(explanation.class_names) - 1}")
    row = torch.tensor([region])
    box = explanation.boxes[row]
    moved = moved_boxes(explanation.scored, explanation.boxes, row, torch.tensor([label]), proposals.image_size)
    rfcn = rfcn_features(explanation)
    rcnn = next((encoded for encoded in explanation.features if isinstance(encoded, RCNNFeatures)), None)
    return RegionReport(
        label=label,
        scores=scores[region].numpy(),
        proposed=proposals.boxes[region],
        moved=moved[0].numpy(),
        bin_scores=None if rfcn is None else _bin_scores(rfcn, box, label),
        calibrated=None if rfcn is None else _calibrated(rfcn, box, label),
        crop=None if rcnn is None else _crop(rcnn, box),
    )


def region_at(explanation: Explanation, x: float, y: float, label: int | None = None) -> int | None:
    """The highest-scoring region that contains a point.

    Args:
        x, y: in pixels of the image.
        label: class of the score; None: the best class of each region.

    Returns:
        The row of the proposals; None if no region contains the point.
    """
    x1, y1, x2, y2 = explanation.proposals.boxes.T
    inside = np.flatnonzero((x1 <= x) & (x < x2) & (y1 <= y) & (y < y2))
    if len(inside) == 0:
        return None
    scores = explanation.scored.scores.numpy()
    values = scores.max(axis=1) if label is None else scores[:, label]
    return int(inside[values[inside].argmax()])


def notable_regions(explanation: Explanation, count: int = 30, overlap: float = 0.7) -> list[int]:
    """The highest-scoring regions, at most `count`, after NMS of their best classes at the IoU `overlap`."""
    scores, labels = explanation.scored.scores.max(dim=1)
    return class_nms(explanation.boxes, scores, labels, overlap)[:count].tolist()


def score_maps(explanation: Explanation, label: int) -> np.ndarray | None:
    """(bins, bins, h, w) float32: the score maps of a class minus those of the background, one for each bin of a
    region; None without an R-FCN model."""
    features = rfcn_features(explanation)
    if features is None:
        return None
    bins = features.scorer.network.bins
    maps = _class_maps(features, label)[0]  # (h, w, bins * bins)
    return maps.permute(2, 0, 1).unflatten(0, (bins, bins)).cpu().numpy()


def rfcn_features(explanation: Explanation) -> RFCNFeatures | None:
    """The features of the first R-FCN model; None without one, or where its classes are not the detector's."""
    if explanation.detector.transfer is not None:
        return None
    return next((encoded for encoded in explanation.features if isinstance(encoded, RFCNFeatures)), None)


@torch.inference_mode()
def _class_maps(features: RFCNFeatures, label: int) -> Tensor:
    """(1, h, w, bins * bins) float32: for each bin, the logits of a class minus those of the background."""
    scores, _ = features.scorer.network.split_maps(features.maps.score_maps.float(), dim=3)
    return scores[..., label + 1] - scores[..., 0]


@torch.inference_mode()
def _bin_scores(features: RFCNFeatures, box: Tensor, label: int) -> np.ndarray:
    network = features.scorer.network
    count = network.bins**2
    maps = _class_maps(features, label)
    # One copy of the image per bin, with all other bins' maps zero: the mean over the bins is then that bin's share.
    separate = maps * torch.eye(count, device=maps.device)[:, None, None, :]
    boxes = (box.to(features.scale.device) * features.scale).expand(count, 4)
    rois = RoIs(boxes, torch.arange(count, device=maps.device))
    pooled = ps_roi_pool(separate, rois, network.backbone.stride, network.backbone.offset, network.bins)
    return (pooled[:, 0] * count).view(network.bins, network.bins).cpu().numpy()


@torch.inference_mode()
def _calibrated(features: RFCNFeatures, box: Tensor, label: int) -> Calibrated:
    rois = RoIs.of_images([box.to(features.scale.device) * features.scale])
    logits = features.scorer.network.classify(features.maps.score_maps, rois).class_logits
    probability = logits.softmax(dim=1)[0, label + 1]
    post = features.scorer.config.postprocess
    calibration = post.class_calibrations[label] if post.class_calibrations else post.calibration
    score = calibrate(probability.logit(eps=1e-6), calibration)
    return Calibrated(float(probability), *calibration, float(score))


@torch.inference_mode()
def _crop(features: RCNNFeatures, box: Tensor) -> np.ndarray:
    network = features.scorer.network
    batches, _ = features.scorer.crops(features.image, box.to(network.mean.device))
    pixels = next(batches)[0].float() * network.std + network.mean
    return pixels.round().clamp(0, 255).byte().permute(1, 2, 0).cpu().numpy()
