"""All stages of a detection, kept: what a detector makes of one photo on the way to its objects."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar, get_args

import numpy as np
import torch
from torch import Tensor

from detector.errors import InputError
from detector.inference.detector import Detector
from detector.inference.postprocess import moved_boxes, postprocess
from detector.inference.rfcn_scorer import ImageFeatures
from detector.structures.detections import Detections
from detector.structures.image import Image
from detector.structures.region_scores import RegionScores
from proposals import Hierarchy, Proposals, Proposer, SelectiveSearch, SelectiveSearchConfig, UnionProposer
from proposals.config import ColorSpace

STAGES = ("network", "proposals", "regions", "suppression")
"""What is timed of a detection, in its order: the steps of `Detector.detect`."""

_Result = TypeVar("_Result")


@dataclass(frozen=True, eq=False)
class Grouping:
    """One hierarchical grouping of Selective Search.

    Attributes:
        used: whether the detector's boxes come from it; the others are there to compare.
        hierarchy: without the histograms of its regions.
    """

    space: str
    similarity: str
    k: float
    used: bool
    hierarchy: Hierarchy


@dataclass(frozen=True, eq=False)
class Candidates:
    """RoIs that are sure enough of a class, before non-maximum suppression, best first.

    Attributes:
        regions: (K,) int64, rows of the proposals; a region comes once for each class that it is sure of.
        labels: (K,) int64.
        scores: (K,) float32.
        proposed: (K, 4) float32 xyxy pixels, as proposed.
        moved: (K, 4) float32, after box regression for the class, cut to the image.
    """

    regions: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    proposed: np.ndarray
    moved: np.ndarray

    def __len__(self) -> int:
        return len(self.regions)

    def first(self, count: int) -> "Candidates":
        """The best `count` (all of them if there are fewer)."""
        return Candidates(**{name: column[:count] for name, column in vars(self).items()})


@dataclass(frozen=True, eq=False)
class Explanation:
    """A photo after all stages of a detector.

    Attributes:
        image: the photo.
        detector: whose stages these are; detectors are not to be changed afterwards.
        views: the photo as each model sees it.
        groupings: of Selective Search, in every color space; none if the detector's boxes come from elsewhere.
        proposals: R boxes, best first.
        scored: scores and box deltas of these, on the CPU.
        seconds: of each of `STAGES`, once the network is prepared for the photo's size.
        space_seconds: of the groupings of a color space, one thread.
    """

    image: Image
    detector: Detector
    views: tuple[ImageFeatures, ...]
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
        """(R, 4) float32, the proposals' boxes."""
        return torch.tensor(self.proposals.boxes)

    def grouping(self, space: str, similarity: str, k: float) -> Grouping:
        """One of the groupings; raises InputError, which names those that there are, for another."""
        for one in self.groupings:
            if (one.space, one.similarity, one.k) == (space, similarity, k):
                return one
        known = ", ".join(f"{one.space}/{one.similarity}/{one.k:g}" for one in self.groupings) or "none"
        raise InputError(f"no grouping {space[:20]}/{similarity[:20]}/{k:g}; there are {known}")

    def candidates(self, score: float) -> Candidates:
        """The regions and classes of at least `score`, as box regression moves them."""
        regions, labels = (self.scored.scores >= score).nonzero(as_tuple=True)
        order = self.scored.scores[regions, labels].argsort(descending=True, stable=True)
        regions, labels = regions[order], labels[order]
        moved = moved_boxes(self.scored, self.boxes, regions, labels, self.proposals.image_size)
        return Candidates(
            regions.numpy(),
            labels.numpy(),
            self.scored.scores[regions, labels].numpy(),
            self.boxes[regions].numpy(),
            moved.numpy(),
        )

    def detections(self, score: float = 0.5, nms_iou: float | None = None, voting: bool = True) -> Detections:
        """What post-processing leaves, from the scores that are known: no network runs.

        Args:
            score: lowest score to keep.
            nms_iou: overlap above which of two boxes of a class the better one stays; None: the detector's.
            voting: False: no box voting; True: as the detector is configured.
        """
        config = self.detector.postprocess
        config = replace(
            config,
            nms_iou=config.nms_iou if nms_iou is None else nms_iou,
            voting_iou=config.voting_iou if voting else None,
        )
        size, ids = self.proposals.image_size, self.detector.class_ids
        return postprocess(self.scored, self.boxes, size, self.class_names, config, score, ids)


def explain(detector: Detector, image: Image) -> Explanation:
    """Runs a detector over a photo and keeps what each stage makes of it.

    Its detections are those of `detector.detect`.
    """

    def timed(stage: Callable[[], _Result]) -> tuple[_Result, float]:
        start = time.perf_counter()
        result = stage()
        if detector.device.type == "cuda":
            torch.cuda.synchronize(detector.device)
        return result, time.perf_counter() - start

    detector.encode(image)  # a size that is new is prepared for, once, which takes longer than the pass itself
    views, look = timed(lambda: detector.encode(image))
    proposals, propose = timed(lambda: detector.propose(image, views))
    scored, score = timed(lambda: detector.score(views, proposals))
    _, suppress = timed(lambda: detector.suppress(proposals, scored, 0.5))
    groupings: list[Grouping] = []
    space_seconds = {}
    search = selective_search(detector.proposer)
    if search is not None:
        used = search.color_spaces
        for space in (*used, *(space for space in get_args(ColorSpace) if space not in used)):
            found, space_seconds[space] = timed(lambda: _groupings(image.pixels, search, space))  # noqa: B023
            groupings += found
    return Explanation(
        image,
        detector,
        views,
        tuple(groupings),
        proposals,
        scored,
        dict(zip(STAGES, (look, propose, score, suppress), strict=True)),
        space_seconds,
    )


def selective_search(proposer: Proposer) -> SelectiveSearchConfig | None:
    """The settings of the Selective Search in a proposer; None if there is none in it."""
    if isinstance(proposer, SelectiveSearch):
        return proposer.config
    if isinstance(proposer, UnionProposer):
        return next(filter(None, map(selective_search, proposer.proposers)), None)
    return None


def _groupings(pixels: np.ndarray, config: SelectiveSearchConfig, space: ColorSpace) -> list[Grouping]:
    """The groupings in one color space, in the order of `SelectiveSearch.source_names`."""
    hierarchies = SelectiveSearch(replace(config, color_spaces=(space,))).hierarchies(pixels)
    kinds = [(k, similarity) for k in config.ks for similarity in config.similarities]
    used = space in config.color_spaces
    return [
        # Histograms are most of a hierarchy's memory, and nothing here shows them.
        Grouping(space, similarity, k, used, replace(one, counts=np.empty((len(one), 0), np.int32)))
        for (k, similarity), one in zip(kinds, hierarchies, strict=True)
    ]
