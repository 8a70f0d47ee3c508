"""What each part of an R-CNN is worth: softmax or SVMs, with and without box regression."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
import torch
from tqdm import tqdm

from detector.config import PostprocessConfig, RCNNConfig
from detector.data.annotations import Annotations
from detector.data.voc import VOCDataset
from detector.detections import Detections
from detector.errors import InputError
from detector.evaluation.predictions import LOWEST_SCORE, check_size
from detector.evaluation.voc import VOCResult, voc_average_precision
from detector.images import Image, read_image
from detector.pipeline import Detector
from detector.postprocess import postprocess
from detector.scorers import CropScorer
from proposals import Proposals

ABLATION: dict[str, RCNNConfig] = {
    f"{head}{' + box regression' if moved else ''}": RCNNConfig(head=head, box_regression=moved)
    for head in ("softmax", "svm")
    for moved in (False, True)
}
"""Name of each combination and a configuration that has its `head` and `box_regression`."""


def ablate_dataset(detector: Detector, dataset: VOCDataset, progress: bool = False) -> dict[str, VOCResult]:
    """`ablate` for a detector whose first model classifies crops, over the images of a data set.

    Raises:
        InputError: its first model does not classify crops, or an image or its annotation cannot be used.
    """
    scorer = detector.scorers[0]
    if not isinstance(scorer, CropScorer):
        raise InputError("an ablation needs a model that classifies crops, such as voc07_crops")

    def images() -> Iterator[tuple[Image, Proposals, Annotations]]:
        for index in tqdm(range(len(dataset)), desc="evaluate", unit="image", disable=None if progress else True):
            image, annotations = read_image(dataset.image_path(index)), dataset.annotations(index)
            check_size((image.width, image.height), annotations.image_size)
            yield image, detector.proposer(image.pixels), annotations

    return ablate(scorer, images(), detector.class_names, detector.postprocess)


def ablate(
    scorer: CropScorer,
    images: Iterable[tuple[Image, Proposals, Annotations]],
    class_names: tuple[str, ...],
    nms: PostprocessConfig,
) -> dict[str, VOCResult]:
    """VOC07 average precision of every combination of heads, from one pass of the network over each crop.

    Args:
        images: with their proposals and objects.
        nms: how detections are made of scores.
    """
    truth: list[Annotations] = []
    found: dict[str, list[Detections]] = {name: [] for name in ABLATION}
    for image, proposals, annotations in images:
        truth.append(annotations)
        boxes = torch.from_numpy(np.ascontiguousarray(proposals.boxes)).to(scorer.network.mean.device)
        features = scorer.features(image, boxes)
        size = (image.width, image.height)
        for name, parts in ABLATION.items():
            config = replace(scorer.config, head=parts.head, box_regression=parts.box_regression)
            scored = scorer.judge(features, config)
            found[name].append(postprocess(scored, boxes, size, class_names, nms, LOWEST_SCORE))
    return {name: voc_average_precision(truth, f, class_names, metric="voc07") for name, f in found.items()}
