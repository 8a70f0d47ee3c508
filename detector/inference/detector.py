"""The detector: image -> proposals -> regions -> scores and box deltas -> detections."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch

from detector.config import SOURCES, ModelConfig, PostprocessConfig, RCNNConfig, Source
from detector.errors import InputError
from detector.inference.postprocess import postprocess
from detector.inference.proposers import (
    CachedProposals,
    SharedMultiBox,
    propose,
    propose_ahead,
    propose_batch,
    union,
)
from detector.inference.rfcn_scorer import ImageFeatures, RegionScorer, RFCNScorer, make_scorer
from detector.models.weights import Model, weights_hash
from detector.ops.devices import default_batch, resolve_device, upload
from detector.ops.precision import number_format
from detector.structures.class_names import default_class_ids
from detector.structures.detections import Detections, check_score
from detector.structures.image import Image, as_image
from detector.structures.region_scores import RegionScores, average_scores, fetch
from proposals import Proposals, Proposer, SelectiveSearch
from proposals.names import unknown_name


@dataclass(frozen=True)
class Prepared:
    """An image before a network has seen it.

    Attributes:
        inputs: the pixels that each model is given.
        proposals: of the sources that need no network, as far as they are known.
    """

    image: Image
    inputs: tuple[np.ndarray, ...]
    proposals: CachedProposals


class Detector:
    """Finds objects in images.

    Args:
        models: a trained model with its configuration and classes, or several of the same classes, whose scores of
            each region are averaged.
        device: "auto" (a GPU if there is one), "cpu", "cuda", "cuda:1", ..., or a `torch.device`.
        proposer: source of candidate boxes; by default `source`.
        source: "selective_search", "multibox" or "both", with the settings of the first model's configuration; by
            default what that says.
        postprocess: NMS; by default as the first model's configuration says.
        box_regression: False leaves the boxes as they are proposed.
        engine: what runs the networks: "torch", "onnx" or an exported .onnx file
            (`detector.inference.engines.make_engine`).
        precision: number format of the networks, "bfloat16" or "float32"; by default the faster one, found by a
            measurement.

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
        self.class_names = first.class_names
        self.class_ids = next(iter(ids), default_class_ids(first.class_names))
        self.device = resolve_device(device)
        self.dtype = number_format(precision, str(self.device))
        self.scorers = tuple(make_scorer(model, self.device, self.dtype, engine) for model in models)
        self.proposer: Proposer = proposer or _make_proposer(self.scorers, first.config, source)
        self.postprocess = postprocess or first.config.postprocess
        self.box_regression = box_regression
        self.engine = engine

    @property
    def precision(self) -> str:
        """Number format of the networks, "bfloat16" or "float32"."""
        return str(self.dtype).removeprefix("torch.")

    @property
    def fingerprint(self) -> str:
        """32 hexadecimal digits that change with all that the detections of an image depend on."""
        engine = self.engine
        if Path(engine).is_file():
            engine = hashlib.blake2b(Path(engine).read_bytes(), digest_size=16).hexdigest()
        parts = [self.proposer.fingerprint, repr(self.postprocess), str(self.box_regression), str(self.dtype), engine]
        parts += [repr(self.class_names), repr(self.class_ids)]
        for scorer in self.scorers:
            flipped = isinstance(scorer, RFCNScorer) and scorer.flipped
            parts += [weights_hash(scorer.network), repr(scorer.config), str(flipped)]
        return hashlib.blake2b("\n".join(parts).encode(), digest_size=16).hexdigest()

    @overload
    def __call__(
        self,
        images: list[Any] | tuple[Any, ...],
        channels: str | None = None,
        score: float = 0.5,
        batch: int | None = None,
    ) -> list[Detections]: ...

    @overload
    def __call__(
        self, images: Any, channels: str | None = None, score: float = 0.5, batch: int | None = None
    ) -> Detections: ...

    def __call__(
        self, images: Any, channels: str | None = None, score: float = 0.5, batch: int | None = None
    ) -> Detections | list[Detections]:
        """Detections of an image, or a list of them for a list of images.

        Args:
            images: a path, a PIL image, a (3, H, W) RGB tensor (uint8, or float in 0..1), an (H, W, 3) uint8 array,
                a `detector.structures.image.Image`, or a list of these.
            channels: "RGB" or "BGR"; must be given for arrays.
            score: lowest score to keep.
            batch: how many images of a list the networks see at once; by default 1 on a CPU, 8 on a GPU.

        Raises:
            InputError: an image cannot be read, or the score or the batch is out of range or no number.
        """
        if isinstance(images, (list, tuple)):
            size = default_batch(self.device.type) if batch is None else batch
            if not isinstance(size, Integral) or size < 1:
                raise InputError(f"batch {size!r} is not a whole number of images, at least 1")
            found = []
            for start in range(0, len(images), size):
                part = [as_image(image, channels) for image in images[start : start + size]]
                found += self.detect_batch(part, score)
            return found
        return self.detect(as_image(images, channels), score)

    def detect(self, image: Image, score: float = 0.5) -> Detections:
        """Detections of one image: what the models see of it, proposals, then the judgment of these."""
        check_score(score)
        views = self.encode(image)
        proposals = self.propose(image, views)
        return self.suppress(proposals, self.score(views, proposals), score)

    def detect_batch(self, images: Sequence[Image], score: float = 0.5) -> list[Detections]:
        """Detections of several images: those whose input to a network has the same size pass it together."""
        check_score(score)
        judged = self.score_batch([self.prepare(image, propose=False) for image in images])
        return [self.suppress(proposals, scored, score) for proposals, scored in judged]

    def prepare(self, image: Image, propose: bool = True) -> "Prepared":
        """All that can be done for an image before a network sees it, on the CPU and from any thread.

        propose: boxes of Selective Search too; otherwise `score_batch` looks for them while a GPU is at work.
        """
        inputs = tuple(scorer.prepare(image) for scorer in self.scorers)
        return Prepared(image, inputs, propose_ahead(self.proposer, image) if propose else {})

    def score_batch(self, images: Sequence["Prepared"]) -> list[tuple[Proposals, RegionScores]]:
        """Proposals of several images, and what the models together say of them, on the CPU.

        From the images to the scores nothing waits for a GPU, except for MultiBox's boxes and crops.
        """
        photos = [one.image for one in images]
        seen = [scorer.encode_batch(photos, [one.inputs[i] for one in images]) for i, scorer in enumerate(self.scorers)]
        views = list(zip(*seen, strict=True))
        proposals = propose_batch(self.proposer, photos, views, [one.proposals for one in images])
        return list(zip(proposals, self._score(views, proposals), strict=True))

    def detect_proposals(self, image: Image, proposals: Proposals, score: float = 0.5) -> Detections:
        """Detections of one image among given proposals (boxes in pixels of the image)."""
        check_score(score)
        return self.suppress(proposals, self.score(self.encode(image), proposals), score)

    def encode(self, image: Image) -> tuple[ImageFeatures, ...]:
        """The image as each model sees it."""
        return tuple(scorer.encode(image) for scorer in self.scorers)

    def propose(self, image: Image, views: Sequence[ImageFeatures]) -> Proposals:
        """Candidate boxes of an image and its views."""
        return propose(self.proposer, image, views)

    def score(self, views: Sequence[ImageFeatures], proposals: Proposals) -> RegionScores:
        """What the models together say of proposals, on the CPU."""
        return self._score([views], [proposals])[0]

    @torch.inference_mode()
    def _score(self, views: Sequence[Sequence[ImageFeatures]], proposals: Sequence[Proposals]) -> list[RegionScores]:
        boxes = [upload(torch.tensor(own.boxes), self.device) for own in proposals]
        members = [scorer.score([own[i] for own in views], boxes) for i, scorer in enumerate(self.scorers)]
        scored = [average_scores(own) for own in zip(*members, strict=True)]
        if not self.box_regression:
            scored = [RegionScores(own.scores, None) for own in scored]
        return fetch(scored)

    def suppress(self, proposals: Proposals, scored: RegionScores, score: float) -> Detections:
        """Detections of at least `score`, from the scores of proposals: boxes are moved, repeats suppressed.

        On the CPU, for how many boxes remain is not known before.
        """
        boxes = torch.tensor(proposals.boxes)
        size = proposals.image_size
        return postprocess(scored, boxes, size, self.class_names, self.postprocess, score, self.class_ids)


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
    if source == "multibox":
        return multibox
    return union(multibox, config.proposals, shared.union_boxes)


def first_with_multibox(scorers: Sequence[RegionScorer]) -> RFCNScorer:
    """The first scorer with a MultiBox head.

    Raises:
        InputError: there is none.
    """
    for scorer in scorers:
        if isinstance(scorer, RFCNScorer) and scorer.network.multibox is not None:
            return scorer
    raise InputError("no model here has a MultiBox head; take boxes from selective_search")
