"""The contribution of each part of an R-CNN: softmax or SVMs, box regression, and an ensemble with other models."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import product
from typing import NamedTuple, get_args

import torch

from detector.config import Head, PostprocessConfig
from detector.data.annotations import Annotations
from detector.data.detection_table import DetectionTable
from detector.data.ground_truth import GroundTruth
from detector.data.predictions import LOWEST_SCORE, check_size
from detector.data.voc import VOCDataset
from detector.errors import InputError
from detector.evaluation.metrics.voc import APResult, voc_average_precision
from detector.inference.pipeline import DetectionPipeline
from detector.inference.postprocess import postprocess
from detector.inference.rcnn_scorer import RCNNScorer
from detector.inference.rfcn_scorer import RegionScorer
from detector.io.progress import Progress
from detector.structures.detections import Detections
from detector.structures.image import Image, read_image
from detector.structures.region_scores import RegionScores, average_scores
from proposals import Proposals


class Variant(NamedTuple):
    """A combination of heads."""

    head: Head
    box_regression: bool

    @property
    def name(self) -> str:
        return f"{self.head}{' + box regression' if self.box_regression else ''}"


VARIANTS = tuple(map(Variant._make, product(get_args(Head), (False, True))))
"""Every combination."""


def ablate_dataset(detector: DetectionPipeline, dataset: VOCDataset, progress: bool = False) -> dict[str, APResult]:
    """`ablate` a detector whose first model is an R-CNN, over the images of a data set.

    Raises:
        InputError: its first model is not an R-CNN, the classes differ, or an image or its annotation is invalid.
    """
    first, *ensemble = detector.scorers
    if not isinstance(first, RCNNScorer):
        raise InputError("an ablation needs an R-CNN as the first model, such as voc07_crops")
    if tuple(dataset.class_names) != tuple(detector.class_names):
        raise InputError("an ablation needs a data set with the model's classes in the model's order")

    def images() -> Iterator[tuple[Image, Proposals, Annotations]]:
        for index in Progress(range(len(dataset)), desc="evaluate", unit="image", hidden=not progress):
            image, annotations = read_image(dataset.image_path(index)), dataset.annotations(index)
            try:
                check_size((image.width, image.height), annotations.image_size)
            except InputError as error:
                raise InputError(f"{dataset.image_path(index)}: {error}") from None
            yield image, detector.propose(image, ()), annotations

    return ablate(first, images(), detector.class_names, detector.postprocess, ensemble)


def ablate(
    scorer: RCNNScorer,
    images: Iterable[tuple[Image, Proposals, Annotations]],
    class_names: tuple[str, ...],
    nms: PostprocessConfig,
    ensemble: Sequence[RegionScorer] = (),
) -> dict[str, APResult]:
    """VOC07 average precision of every variant, from one pass of the network over each crop.

    Args:
        images: with their proposals and objects.
        nms: settings that turn scores into detections.
        ensemble: further models of the same classes: each is evaluated alone, and the average of all, with the first
            model's head, with and without box regression.
    """
    truth: list[Annotations] = []
    detections: dict[str, list[Detections]] = {}
    for image, proposals, annotations in images:
        truth.append(annotations)
        boxes = torch.tensor(proposals.boxes).to(scorer.network.get_buffer("mean").device)
        features = scorer.features(image, boxes)
        scored = {v.name: scorer.score_features(features, replace(scorer.config, **v._asdict())) for v in VARIANTS}
        members = [member.encode(image).score(boxes) for member in ensemble]
        if members:
            average = average_scores([scored[Variant(scorer.config.head, True).name], *members])
            scored |= {f"model {number}": member for number, member in enumerate(members, start=2)}
            scored |= {"average": RegionScores(average.scores, None), "average + box regression": average}
        size = (image.width, image.height)
        for name, scores in scored.items():
            in_image = postprocess(scores, boxes, size, class_names, nms, LOWEST_SCORE)
            detections.setdefault(name, []).append(in_image)
    objects = GroundTruth.from_annotations(range(len(truth)), truth, class_names)
    return {
        name: voc_average_precision(objects, DetectionTable.from_detections(objects, by_image))
        for name, by_image in detections.items()
    }
