"""SVMs and box regression on the features of a trained R-CNN (R-CNN, section 2.3 and appendix C)."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import Ridge
from sklearn.svm import LinearSVC
from torchvision.ops import box_iou

from detector.data.annotations import Annotations
from detector.errors import InputError
from detector.inference.rcnn_scorer import RCNNScorer
from detector.io.progress import Progress
from detector.structures.image import Image
from detector.training.data import ProposedImages
from detector.training.recipes import HeadsConfig
from proposals.boxes import encode_boxes
from proposals.files import atomic_write
from proposals.npz import read_npz

log = logging.getLogger(__name__)

MARGIN = 1.0
"""Negatives that score above -MARGIN contribute to the SVM's loss."""

_MIN_GROWTH = 0.01
"""Mining ends when a pass adds fewer hard negatives than this part of those it trained on."""

_MAX_PASSES = 10
_FIRST_NEGATIVES = 5000


@dataclass(frozen=True, eq=False)
class RegionFeatures:
    """Features and ground truth of N regions of training images.

    Attributes:
        pooled: (N, C) float16, as in `detector.models.rcnn.CropFeatures`.
        parts: (M, P) float16, as there, of the regions near an object only.
        near_index: (M,) rows of these regions.
        overlaps: (N, num_classes) float16, highest IoU with an object of each class.
        object_class: (N,) int16, class of a region that is a ground-truth box, otherwise -1.
        box_deltas: (N, 4) float32, deltas to the nearest object that is not difficult.
        nearest_class: (N,) int16, class of that object; -1 if the image has none.
        nearest_iou: (N,) float32, IoU with that object.
    """

    pooled: np.ndarray
    parts: np.ndarray
    near_index: np.ndarray
    overlaps: np.ndarray
    object_class: np.ndarray
    box_deltas: np.ndarray
    nearest_class: np.ndarray
    nearest_iou: np.ndarray


def collect_features(
    scorer: RCNNScorer, images: ProposedImages, config: HeadsConfig, seed: int, cache: Path
) -> RegionFeatures:
    """Collects the features of objects, of regions near them and of negatives, image by image.

    Args:
        cache: folder for the features of each image, from which an interrupted run resumes.

    Raises:
        InputError: a file in the cache cannot be read.
    """
    order = np.random.default_rng((seed, 3)).permutation(len(images))
    collected = []
    for number, index in enumerate(Progress(order.tolist(), desc="features", unit="image")):
        path = cache / f"{images.dataset.ids[index]}.npz"
        if not path.exists():
            features = _image_features(scorer, images, index, config, seed, objects_only=number >= config.images)
            cache.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as temporary, open(temporary, "wb") as file:
                np.savez(file, **vars(features))
        try:
            collected.append(RegionFeatures(**read_npz(path.read_bytes())))
        except (ValueError, TypeError) as error:
            raise InputError(f"{path}: cannot be read ({error}); remove it to compute it again") from None
    firsts = np.cumsum([0, *(len(f.pooled) for f in collected)])
    columns = {name: np.concatenate([getattr(f, name) for f in collected]) for name in vars(collected[0])}
    columns["near_index"] = np.concatenate([f.near_index + i for f, i in zip(collected, firsts, strict=False)])
    return RegionFeatures(**columns)


def _image_features(
    scorer: RCNNScorer, images: ProposedImages, index: int, config: HeadsConfig, seed: int, objects_only: bool
) -> RegionFeatures:
    image, proposals, annotations = images[index]
    boxes = objects = annotations.boxes[~annotations.difficult]
    if not objects_only:
        rng = np.random.default_rng((seed, index, 4))
        overlap = box_iou(torch.tensor(proposals.boxes), torch.from_numpy(np.array(objects)).view(-1, 4)).numpy()
        best = overlap.max(axis=1, initial=0.0)
        near, negatives = np.flatnonzero(best > config.box_iou), np.flatnonzero(best < config.svm_negative_iou)
        chosen = (
            rng.choice(near, min(len(near), config.near), replace=False),
            rng.choice(negatives, min(len(negatives), config.negatives), replace=False),
        )
        boxes = np.concatenate((objects, proposals.boxes[np.concatenate(chosen)]))
    return describe_regions(scorer, image, boxes, len(objects), annotations, len(images.dataset.class_names), config)


def describe_regions(
    scorer: RCNNScorer,
    image: Image,
    boxes: np.ndarray,
    objects: int,
    annotations: Annotations,
    classes: int,
    config: HeadsConfig,
) -> RegionFeatures:
    """Features and ground truth of boxes (N, 4) of an image, the first `objects` of which are its objects that are not
    difficult."""
    regions, truth = torch.tensor(boxes), torch.from_numpy(np.array(annotations.boxes)).view(-1, 4)
    features = scorer.features(image, regions.to(scorer.network.mean.device))
    overlap = box_iou(regions, truth).numpy()
    overlaps = np.zeros((len(boxes), classes), np.float16)
    for column, label in enumerate(annotations.labels):
        overlaps[:, label] = np.maximum(overlaps[:, label], overlap[:, column])
    object_class = np.full(len(boxes), -1, np.int16)
    clear = ~annotations.difficult
    object_class[:objects] = annotations.labels[clear]
    nearest_class, nearest_iou = np.full(len(boxes), -1, np.int16), np.zeros(len(boxes), np.float32)
    box_deltas = np.zeros_like(boxes)
    if clear.any():
        nearest = overlap[:, clear].argmax(axis=1)
        nearest_iou = overlap[:, clear].max(axis=1).astype(np.float32)
        nearest_class = annotations.labels[clear][nearest].astype(np.int16)
        box_deltas = encode_boxes(regions, truth[torch.from_numpy(clear)][torch.from_numpy(nearest)]).numpy()
    near_index = np.flatnonzero(nearest_iou > config.box_iou)
    return RegionFeatures(
        pooled=features.pooled.cpu().numpy().astype(np.float16),
        parts=features.parts.cpu()[torch.from_numpy(near_index)].numpy().astype(np.float16),
        near_index=near_index,
        overlaps=overlaps,
        object_class=object_class,
        box_deltas=box_deltas,
        nearest_class=nearest_class,
        nearest_iou=nearest_iou,
    )


def fit_svms(features: RegionFeatures, config: HeadsConfig, class_names: tuple[str, ...]) -> tuple[np.ndarray, ...]:
    """Fits one linear SVM per class: weights (num_classes, C) and biases (num_classes,) for unscaled features.

    Positives are the objects of the class; negatives are the regions whose IoU with all its objects is below
    `svm_negative_iou`. A class without objects scores every region -1.
    """
    pooled = features.pooled.astype(np.float32)
    scale = config.feature_norm / max(float(np.linalg.norm(pooled, axis=1).mean()), 1e-12)
    pooled *= scale
    weights = np.zeros((len(class_names), pooled.shape[1]), np.float32)
    biases = np.full(len(class_names), -1.0, np.float32)
    for label, name in enumerate(class_names):
        positive = pooled[features.object_class == label]
        negative = pooled[(features.overlaps[:, label] < config.svm_negative_iou) & (features.object_class != label)]
        if not len(positive) or not len(negative):
            missing = "objects" if not len(positive) else "negatives"
            log.warning("class %s has no %s, so it is never detected", name, missing)
            continue
        weights[label], biases[label], passes, mined = mine_svm(positive, negative, config)
        counts = f"{len(positive)} positives, {mined} negatives of {len(negative)}, {passes} passes"
        log.info("SVM %s: %s", name, counts)
    return weights * scale, biases


def mine_svm(positive: np.ndarray, negative: np.ndarray, config: HeadsConfig) -> tuple[np.ndarray, float, int, int]:
    """Fits a linear SVM by hard negative mining.

    Trains on some of the negatives, adds those that score above the margin, and repeats until few are new. Negatives
    outside the margin have no influence on the solution.

    Returns:
        Weight (C,), bias, number of passes, and number of negatives trained on.
    """
    first = np.random.default_rng(0).permutation(len(negative))[:_FIRST_NEGATIVES]
    used = np.zeros(len(negative), bool)
    used[first] = True
    for passes in range(1, _MAX_PASSES + 1):
        weight, bias = _svm(positive, negative[used], config)
        hard = (negative @ weight + bias > -MARGIN) & ~used
        if hard.sum() <= _MIN_GROWTH * used.sum() * (passes > 1) or not hard.any():
            break
        used |= hard
    return weight, bias, passes, int(used.sum())


def _svm(positive: np.ndarray, negative: np.ndarray, config: HeadsConfig) -> tuple[np.ndarray, float]:
    fit = LinearSVC(
        C=config.svm_c,
        loss="hinge",
        class_weight={1: config.svm_positive_weight},
        intercept_scaling=config.svm_bias,
        random_state=0,
        max_iter=5000,
    )
    fit.fit(np.concatenate((positive, negative)), np.repeat([1, 0], [len(positive), len(negative)]))
    return fit.coef_[0].astype(np.float32), float(fit.intercept_[0])


def fit_boxes(features: RegionFeatures, config: HeadsConfig, class_names: tuple[str, ...]) -> tuple[np.ndarray, ...]:
    """Fits ridge regressions of the box deltas per class: weights (num_classes * 4, P) and biases (num_classes * 4,).

    Features are scaled to the same mean norm as for the SVMs. The targets of a class are centered and whitened
    (decorrelated) for the fit, as in R-CNN's code. A class without regions near its objects does not move boxes.
    """
    width = features.parts.shape[1]
    scale = config.feature_norm / max(float(np.linalg.norm(features.parts.astype(np.float32), axis=1).mean()), 1e-12)
    weights, biases = np.zeros((len(class_names) * 4, width), np.float32), np.zeros(len(class_names) * 4, np.float32)
    for label, name in enumerate(class_names):
        rows = np.flatnonzero(features.nearest_class[features.near_index] == label)
        if len(rows) < 2:
            log.warning("class %s has %d regions near objects, so its boxes are not regressed", name, len(rows))
            continue
        targets = features.box_deltas[features.near_index[rows]].astype(np.float64)
        weight, bias = ridge_whitened(scale * features.parts[rows].astype(np.float32), targets, config.box_lambda)
        weights[label * 4 : label * 4 + 4], biases[label * 4 : label * 4 + 4] = scale * weight, bias
        log.info("box regression %s: %d regions", name, len(rows))
    return weights, biases


def ridge_whitened(x: np.ndarray, targets: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray]:
    """Weights (4, P) and biases (4,) of the ridge regression from x (N, P) to targets (N, 4), fitted to centered and
    whitened targets.

    With one penalty for all four, whitening does not change the predictions, but R-CNN does it, and it keeps the fit
    well conditioned.
    """
    mean = targets.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov(targets.T, bias=True))
    deviation = np.sqrt(values + 1e-3)  # against directions without variance, as in R-CNN's code
    whiten, color = vectors / deviation @ vectors.T, vectors * deviation @ vectors.T
    fit = Ridge(alpha=penalty).fit(x, ((targets - mean) @ whiten).astype(x.dtype))
    return (color @ fit.coef_).astype(np.float32), (color @ fit.intercept_ + mean).astype(np.float32)
