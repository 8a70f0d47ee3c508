"""The detector: image -> proposals -> scores and box deltas -> detections."""

import copy
import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import torch

from detector.config import SOURCES, ModelConfig, PostprocessConfig, RCNNConfig, Source
from detector.errors import InputError
from detector.inference.class_transfer import ClassifierScorer, ClassTransfer
from detector.inference.postprocess import postprocess
from detector.inference.proposers import (
    CachedProposals,
    SharedMultiBox,
    first_with_multibox,
    multibox_union,
    propose_ahead,
    propose_batch,
    with_scorers,
)
from detector.inference.rfcn_scorer import ImageFeatures, RegionScorer, RFCNScorer, make_scorer
from detector.models.weights import Model, weights_hash
from detector.ops.devices import resolve_device, upload
from detector.ops.precision import number_format
from detector.structures.class_names import default_class_ids
from detector.structures.detections import Detections, check_score
from detector.structures.image import Image
from detector.structures.region_scores import RegionScores, average_scores, fetch
from proposals import Proposals, Proposer, SelectiveSearch
from proposals.names import unknown_name


@dataclass(frozen=True)
class Prepared:
    """An image that is ready for the networks.

    Attributes:
        inputs: (h, w, 3) uint8, the input of each model.
        proposals: made ahead, by the sources that need no network.
        seconds: time that the preparation took.
    """

    image: Image
    inputs: tuple[np.ndarray, ...]
    proposals: CachedProposals
    seconds: float


class DetectionPipeline:
    """Finds objects in images: the inner part of `detector.api.Detector`, with each stage as a method.

    Args:
        models: a trained model, or several with the same classes, whose scores of each region are averaged.
        device: "auto" (a GPU if there is one), "cpu", "cuda", "cuda:1", "mps", or a `torch.device`.
        proposer: source of the proposals; by default as `source` says.
        source: "selective_search", "multibox" or "both", with the settings of the first model's configuration, which
            also gives the default.
        postprocess: NMS and box voting; by default as in the first model's configuration.
        box_regression: False keeps the boxes as proposed.
        engine: runs the networks: "torch", "onnx" or an exported .onnx file (`detector.inference.engines.make_engine`).
        precision: number format of the networks, "bfloat16" or "float32"; by default the faster one by measurement.

    Raises:
        InputError: the models have different classes, or the device, the source, the engine or the precision cannot be
            used.
    """

    def __init__(
        self,
        models: Model | Sequence[Model],
        device: str | torch.device = "auto",
        proposer: Proposer | None = None,
        postprocess: PostprocessConfig | None = None,
        box_regression: bool = True,
        source: Source | None = None,
        engine: str = "torch",
        precision: str | None = None,
    ) -> None:
        models = [models] if isinstance(models, Model) else list(models)
        if not models:
            raise InputError("a detector needs at least one model")
        first = models[0]
        for model in models:
            if model.class_names != first.class_names:
                raise InputError(
                    f"the models of an ensemble must have the same classes in the same order, not "
                    f"{', '.join(first.class_names)} and {', '.join(model.class_names)}"
                )
        if not isinstance(first.config, ModelConfig | RCNNConfig):
            raise InputError(f"a model for {first.kind} cannot detect; give one for regions or crops")
        ids = {model.class_ids for model in models if model.class_ids}
        if len(ids) > 1:
            raise InputError(f"the models of an ensemble must have the same category ids: {' or '.join(map(str, ids))}")
        self.config = first.config
        self.class_names = first.class_names
        self.class_ids = next(iter(ids), default_class_ids(first.class_names))
        self.device = resolve_device(device)
        self.dtype = number_format(precision, str(self.device))
        self.scorers = tuple(make_scorer(model, self.device, self.dtype, engine) for model in models)
        self.proposer: Proposer = proposer or _make_proposer(self.scorers, first.config, source)
        self.postprocess = postprocess or first.config.postprocess
        self.box_regression = box_regression
        self.engine = str(engine)
        self.transfer: ClassTransfer | None = None

    def replace(
        self,
        *,
        scorers: Sequence[RegionScorer] | None = None,
        proposer: Proposer | None = None,
        postprocess: PostprocessConfig | None = None,
        box_regression: bool | None = None,
    ) -> "DetectionPipeline":
        """A detector with other stages that shares the networks of this one, which stays unchanged."""
        changed = copy.copy(self)
        changed.scorers = self.scorers if scorers is None else tuple(scorers)
        changed.proposer = proposer or self.proposer
        changed.postprocess = postprocess or self.postprocess
        changed.box_regression = self.box_regression if box_regression is None else box_regression
        return changed

    def with_classes(self, scorer: ClassifierScorer, transfer: ClassTransfer) -> "DetectionPipeline":
        """A detector of other classes, which `scorer` names in the regions of this one; it shares the networks."""
        changed = self.replace(scorers=[*self.scorers, scorer])
        changed.transfer = transfer
        changed.class_names, changed.class_ids = transfer.classes.names, transfer.classes.synsets
        return changed

    @property
    def synonyms(self) -> Mapping[str, str]:
        """The name of a class by other words for it, in lower case."""
        return {} if self.transfer is None else self.transfer.classes.synonyms

    def with_settings(
        self,
        *,
        iou: float | None = None,
        agnostic_nms: bool | None = None,
        max_detections: int | None = None,
        proposals: Source | None = None,
        size: int | None = None,
    ) -> "DetectionPipeline":
        """A detector with other settings, None for those of this one, that shares its networks.

        Args:
            iou: IoU above which the lower-scoring of two boxes is suppressed.
            agnostic_nms: whether boxes of different classes suppress each other too.
            max_detections: number of detections that must fit into a result, if that is more than so far.
            proposals: source of the proposals, with the settings of the first model.
            size: short side of the network's input in pixels.

        Raises:
            InputError: a setting is out of range, or the models cannot be used with it.
        """
        if iou is not None:
            check_score(iou, "iou")
        if max_detections is not None and (not isinstance(max_detections, Integral) or max_detections < 1):
            raise InputError(f"max_detections is {max_detections!r}; give a whole number of at least 1")
        if agnostic_nms is not None and not isinstance(agnostic_nms, bool):
            raise InputError(f"agnostic_nms is {agnostic_nms!r}; give True or False")
        old = self.postprocess
        postprocess = replace(
            old,
            nms_iou=old.nms_iou if iou is None else float(iou),
            agnostic_nms=old.agnostic_nms if agnostic_nms is None else agnostic_nms,
            max_detections=max(old.max_detections, max_detections or 1),
        )
        scorers, proposer = self.scorers, self.proposer
        if size is not None:
            resized = _resized(scorers, size)
            scorers = tuple(resized[s] if isinstance(s, RFCNScorer) else s for s in scorers)
            proposer = with_scorers(proposer, resized)
        if proposals is not None:
            proposer = _make_proposer(scorers, self.config, proposals)
        return self.replace(scorers=scorers, proposer=proposer, postprocess=postprocess)

    @property
    def precision(self) -> str:
        """Number format of the networks, "bfloat16" or "float32"."""
        return str(self.dtype).removeprefix("torch.")

    @property
    def fingerprint(self) -> str:
        """32 hexadecimal digits that change with everything that the detections of an image depend on."""
        engine = self.engine
        if Path(engine).is_file():
            engine = hashlib.blake2b(Path(engine).read_bytes(), digest_size=16).hexdigest()
        parts = [self.proposer.fingerprint, repr(self.postprocess), str(self.box_regression), str(self.dtype), engine]
        parts += [repr(self.class_names), repr(self.class_ids)]
        if self.transfer is not None:
            parts += [repr(self.transfer.classes), repr(self.transfer.detector_calibration)]
        for scorer in self.scorers:
            flipped = isinstance(scorer, RFCNScorer) and scorer.flipped
            parts += [weights_hash(scorer.network), repr(scorer.config), str(flipped)]
        return hashlib.blake2b("\n".join(parts).encode(), digest_size=16).hexdigest()

    def detect(self, image: Image, score: float = 0.5) -> Detections:
        """Detections of one image with at least `score`."""
        check_score(score)
        features = self.encode(image)
        proposals = self.propose(image, features)
        return self.suppress(proposals, self.score(features, proposals), score)

    def detect_batch(self, images: Sequence[Image], score: float = 0.5) -> list[Detections]:
        """Detections of several images; those with inputs of one size pass a network together."""
        check_score(score)
        scored = self.score_batch([self.prepare(image, propose=False) for image in images])
        return [self.suppress(proposals, scores, score) for proposals, scores in scored]

    def prepare(self, image: Image, propose: bool = True) -> Prepared:
        """Everything that can be done for an image before the networks run; runs on the CPU, on any thread.

        Args:
            propose: whether Selective Search runs now; otherwise `score_batch` runs it while a GPU is busy.
        """
        start = time.perf_counter()
        inputs = tuple(scorer.prepare(image) for scorer in self.scorers)
        proposals = propose_ahead(self.proposer, image) if propose else {}
        return Prepared(image, inputs, proposals, time.perf_counter() - start)

    def score_batch(self, batch: Sequence[Prepared]) -> list[tuple[Proposals, RegionScores]]:
        """Proposals of several images and their scores, averaged over the models, on the CPU.

        From the images to the scores nothing waits for a GPU, except for MultiBox's boxes and crops.
        """
        images = [prepared.image for prepared in batch]
        by_model: list[Sequence[ImageFeatures]] = [
            scorer.encode_batch(images, [prepared.inputs[i] for prepared in batch])
            for i, scorer in enumerate(self.scorers)
        ]
        features = list(zip(*by_model, strict=True))
        proposals = propose_batch(self.proposer, images, features, [prepared.proposals for prepared in batch])
        return list(zip(proposals, self._score(features, proposals), strict=True))

    def detect_proposals(self, image: Image, proposals: Proposals, score: float = 0.5) -> Detections:
        """Detections of one image among given proposals (boxes in pixels of the image)."""
        check_score(score)
        return self.suppress(proposals, self.score(self.encode(image), proposals), score)

    def encode(self, image: Image) -> tuple[ImageFeatures, ...]:
        """The features of an image by each model."""
        return tuple(scorer.encode(image) for scorer in self.scorers)

    def propose(self, image: Image, features: Sequence[ImageFeatures]) -> Proposals:
        """Proposals for an image; a MultiBox head reuses `features` of its own model, from `encode`."""
        return propose_batch(self.proposer, [image], [features], [{}])[0]

    def score(self, features: Sequence[ImageFeatures], proposals: Proposals) -> RegionScores:
        """Scores of proposals, averaged over the models, on the CPU.

        Args:
            features: of the image by each model, from `encode`.
        """
        return self._score([features], [proposals])[0]

    @torch.inference_mode()
    def _score(self, features: Sequence[Sequence[Any]], proposals: Sequence[Proposals]) -> list[RegionScores]:
        boxes = [upload(torch.tensor(image.boxes), self.device) for image in proposals]
        by_model = [scorer.score([image[i] for image in features], boxes) for i, scorer in enumerate(self.scorers)]
        join = self.transfer or average_scores
        scored = [join(scores) for scores in zip(*by_model, strict=True)]
        if not self.box_regression:
            scored = [RegionScores(image.scores, None) for image in scored]
        return fetch(scored)

    def suppress(self, proposals: Proposals, scored: RegionScores, score: float) -> Detections:
        """Detections with at least `score` from scored proposals: box regression, NMS, box voting.

        Runs on the CPU, because the number of remaining boxes is not known in advance.
        """
        boxes = torch.tensor(proposals.boxes)
        size = proposals.image_size
        return postprocess(scored, boxes, size, self.class_names, self.postprocess, score, self.class_ids)


def _resized(scorers: Sequence[RegionScorer], size: int) -> dict[RFCNScorer, RFCNScorer]:
    """The counterpart of each R-FCN scorer whose input has a short side of `size` pixels."""
    if not isinstance(size, Integral) or not 32 <= size <= 2048:
        raise InputError(f"size is {size!r}; give the short side of the network's input in pixels, 32 to 2048")
    resized = {}
    for scorer in scorers:
        if isinstance(scorer, ClassifierScorer):  # has a size of its own, which suits its classes
            continue
        if not isinstance(scorer, RFCNScorer):
            raise InputError("size applies to R-FCN models only; crops have a size of their own")
        resized[scorer] = scorer.with_input(int(size), scorer.flipped)
    if len({scorer.config.input.short_side for scorer in resized}) > 1:
        sides = ", ".join(str(scorer.config.input.short_side) for scorer in resized)
        raise InputError(f"size applies to one input; this detector averages inputs of {sides} pixels")
    return resized


def _make_proposer(
    scorers: Sequence[RegionScorer], config: ModelConfig | RCNNConfig, source: Source | None
) -> Proposer:
    threads = torch.get_num_threads()
    if source is None:
        source = config.source if isinstance(config, ModelConfig) else "selective_search"
    if source not in SOURCES:
        raise InputError(unknown_name("source", source, SOURCES))
    if source == "selective_search":
        return SelectiveSearch(config.proposals, threads)
    shared = config if isinstance(config, ModelConfig) else ModelConfig()
    multibox = SharedMultiBox(first_with_multibox(scorers), shared.multibox_boxes)
    return multibox if source == "multibox" else multibox_union(multibox, config.proposals, shared.union_boxes)
