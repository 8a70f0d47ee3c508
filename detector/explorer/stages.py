"""All intermediate results of a detection of one photo, and how well they cover its annotated objects."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar, get_args

import numpy as np
import torch
from torch import Tensor

from detector.data import VOCDataset
from detector.data.traces import ObjectTraces
from detector.errors import InputError
from detector.evaluation.prediction.tracing import trace_objects
from detector.inference.pipeline import DetectionPipeline
from detector.inference.postprocess import moved_boxes
from detector.inference.proposers import sources
from detector.inference.rfcn_scorer import ImageFeatures
from detector.structures.detections import Detections
from detector.structures.image import Image
from detector.structures.region_scores import RegionScores
from proposals import Hierarchy, Proposals, SelectiveSearch, SelectiveSearchConfig
from proposals.boxes import box_iou
from proposals.config import ColorSpace

STAGES = ("network", "proposals", "regions", "suppression")
"""The timed stages, in the order of `DetectionPipeline.detect`."""

_Result = TypeVar("_Result")


@dataclass(frozen=True, eq=False)
class Grouping:
    """One hierarchical grouping of Selective Search.

    Attributes:
        space: color space.
        similarity: letters of the summed similarities, such as "CTSF".
        k: threshold of the segmentation.
        used: whether the detector takes boxes from it; the rest are for comparison.
        hierarchy: without the histograms of its regions.
    """

    space: str
    similarity: str
    k: float
    used: bool
    hierarchy: Hierarchy


@dataclass(frozen=True, eq=False)
class Candidates:
    """Pairs of a region and a class above a score, before non-maximum suppression, best first.

    Attributes:
        regions: (K,) int64, rows of the proposals; a region appears once per class.
        labels: (K,) int64.
        scores: (K,) float32.
        proposed: (K, 4) float32 xyxy pixels, as proposed.
        moved: (K, 4) float32 xyxy pixels, after box regression for the class, clipped to the image.
    """

    regions: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    proposed: np.ndarray
    moved: np.ndarray

    def __len__(self) -> int:
        return len(self.regions)

    def first(self, count: int) -> "Candidates":
        """The best `count` candidates, or all if there are fewer."""
        return Candidates(**{name: column[:count] for name, column in vars(self).items()})


@dataclass(frozen=True, eq=False)
class Explanation:
    """A photo after all stages of a detector.

    Attributes:
        detector: the detector that ran.
        features: of the image by each model.
        groupings: of Selective Search, in every color space; empty if the detector does not use it.
        proposals: R boxes, best first.
        scored: scores and box deltas of the proposals, on the CPU.
        seconds: of each of `STAGES`, without the one-time preparation for a new image size.
        space_seconds: of all groupings in a color space, on one thread.
    """

    image: Image
    detector: DetectionPipeline
    features: tuple[ImageFeatures, ...]
    groupings: tuple[Grouping, ...]
    proposals: Proposals
    scored: RegionScores
    seconds: Mapping[str, float]
    space_seconds: Mapping[str, float]

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.detector.class_names

    @property
    def boxes(self) -> Tensor:
        """(R, 4) float32, the boxes of the proposals."""
        return torch.tensor(self.proposals.boxes)

    def grouping(self, space: str, similarity: str, k: float) -> Grouping:
        """One of the groupings.

        Raises:
            InputError: the groupings do not include it; the message lists them.
        """
        for grouping in self.groupings:
            if (grouping.space, grouping.similarity, grouping.k) == (space, similarity, k):
                return grouping
        names = ", ".join(f"{g.space}/{g.similarity}/{g.k:g}" for g in self.groupings) or "none"
        raise InputError(f"grouping {space[:20]}/{similarity[:20]}/{k:g} is unknown; give one of {names}")

    def candidates(self, score: float) -> Candidates:
        """The regions and classes with at least `score`."""
        regions, labels = (self.scored.scores >= score).nonzero(as_tuple=True)
        order = self.scored.scores[regions, labels].argsort(descending=True, stable=True)
        regions, labels = regions[order], labels[order]
        moved = moved_boxes(self.scored, self.boxes, regions, labels, self.proposals.image_size)
        scores, proposed = self.scored.scores[regions, labels], self.boxes[regions]
        return Candidates(*(column.numpy() for column in (regions, labels, scores, proposed, moved)))

    def detections(self, score: float = 0.5, nms_iou: float | None = None, voting: bool = True) -> Detections:
        """Post-processes the scores again, without running a network.

        Args:
            score: lowest score to keep.
            nms_iou: IoU above which the lower-scoring of two boxes of a class is suppressed; None: the detector's.
            voting: False switches box voting off; True: as the detector is configured.
        """
        config = self.detector.postprocess
        config = replace(
            config,
            nms_iou=config.nms_iou if nms_iou is None else nms_iou,
            voting_iou=config.voting_iou if voting else None,
        )
        return self.detector.replace(postprocess=config).suppress(self.proposals, self.scored, score)


@dataclass(frozen=True, eq=False)
class Objects:
    """The annotated objects of a photo.

    Attributes:
        boxes: (N, 4) float32 xyxy pixels of the photo.
        labels: (N,) int64, indices into the detector's classes; -1 for a class that it does not detect.
        names: (N,) class names.
        difficult: (N,) bool, objects that recall ignores.
    """

    boxes: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...]
    difficult: np.ndarray

    def __len__(self) -> int:
        return len(self.boxes)

    @classmethod
    def of_dataset(cls, dataset: VOCDataset, index: int, class_names: tuple[str, ...], scale: np.ndarray) -> "Objects":
        """The objects of an image of a data set, with their boxes multiplied by `scale` (4,).

        Raises:
            InputError: the annotation is missing or wrong.
        """
        annotations = dataset.annotations(index)
        names = tuple(dataset.class_names[label] for label in annotations.labels)
        labels = np.array([class_names.index(name) if name in class_names else -1 for name in names], np.int64)
        boxes = (annotations.boxes * scale).astype(np.float32).reshape(-1, 4)
        return cls(boxes, labels, names, annotations.difficult.astype(bool))

    def recall(self, overlaps: np.ndarray, iou: float) -> float | None:
        """Share of the objects that are not difficult with an overlap (N,) of at least `iou`; None without any."""
        counted = overlaps[~self.difficult]
        return float((counted >= iou).mean()) if len(counted) else None

    def traces(self, explanation: Explanation, count: int) -> ObjectTraces:
        """Traces through the first `count` proposals and their scores."""
        scored = explanation.scored
        first = RegionScores(scored.scores[:count], None if scored.box_deltas is None else scored.box_deltas[:count])
        return trace_objects(explanation.proposals.top(count), first, self.boxes, self.labels)

    def overlaps(self, detections: Detections) -> np.ndarray:
        """(N,) the highest IoU of each object with a detection of its class; 0 without one."""
        overlaps = box_iou(torch.from_numpy(self.boxes), torch.tensor(detections.boxes)).numpy()
        return (overlaps * (self.labels[:, None] == detections.labels)).max(axis=1, initial=0)


def explain(detector: DetectionPipeline, image: Image) -> Explanation:
    """Runs a detector over a photo and keeps the results of every stage, which lead to those of `detector.detect`."""

    def timed(stage: Callable[[], _Result]) -> tuple[_Result, float]:
        start = time.perf_counter()
        result = stage()
        if detector.device.type == "cuda":
            torch.cuda.synchronize(detector.device)
        return result, time.perf_counter() - start

    detector.encode(image)  # prepares the networks for a new size, which takes longer than the pass itself
    features, *seconds = timed(lambda: detector.encode(image))
    proposals, propose_seconds = timed(lambda: detector.propose(image, features))
    scored, score_seconds = timed(lambda: detector.score(features, proposals))
    _, suppress_seconds = timed(lambda: detector.suppress(proposals, scored, 0.5))
    seconds += [propose_seconds, score_seconds, suppress_seconds]
    groupings: list[Grouping] = []
    space_seconds = {}
    search = next((s.config for s in sources(detector.proposer) if isinstance(s, SelectiveSearch)), None)
    if search is not None:
        for space in dict.fromkeys((*search.color_spaces, *get_args(ColorSpace))):
            in_space, space_seconds[space] = timed(lambda: _groupings(image.pixels, search, space))  # noqa: B023
            groupings += in_space
    stage_seconds = dict(zip(STAGES, seconds, strict=True))
    return Explanation(image, detector, features, tuple(groupings), proposals, scored, stage_seconds, space_seconds)


def _groupings(pixels: np.ndarray, config: SelectiveSearchConfig, space: ColorSpace) -> list[Grouping]:
    """The groupings in one color space, in the order of `SelectiveSearch.source_names`."""
    hierarchies = SelectiveSearch(replace(config, color_spaces=(space,))).hierarchies(pixels)
    settings = [(similarity, k) for k in config.ks for similarity in config.similarities]
    used = space in config.color_spaces
    return [
        # Histograms take most of a hierarchy's memory and are never shown.
        Grouping(space, *setting, used, replace(hierarchy, counts=np.empty((len(hierarchy), 0), np.int32)))
        for setting, hierarchy in zip(settings, hierarchies, strict=True)
    ]
