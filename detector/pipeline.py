"""The detector: image -> proposals -> regions -> scores and offsets -> detections."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch

from detector.config import DetectorConfig, ModelConfig, PostprocessConfig, RCNNConfig, Source, parse, read_yaml
from detector.detections import Detections
from detector.devices import default_batch, resolve_device, upload
from detector.errors import InputError
from detector.images import Image, as_image
from detector.model_files import CONFIGURATIONS, find_model
from detector.multibox import (
    Known,
    SharedMultiBox,
    load_multibox,
    propose,
    propose_ahead,
    propose_batch,
    union,
)
from detector.postprocess import postprocess
from detector.precision import fast_dtype
from detector.scorers import (
    ImageView,
    RegionScorer,
    RegionScores,
    SharedScorer,
    average_scores,
    fetch,
    make_scorer,
)
from detector.weights import Model, load_model, weights_hash
from proposals import Proposals, Proposer, SelectiveSearch, Union


@dataclass(frozen=True)
class Prepared:
    """An image before a network has seen it.

    Attributes:
        inputs: the pixels that each model is given.
        proposals: of the sources that need no network, as far as they are known.
    """

    image: Image
    inputs: tuple[np.ndarray, ...]
    proposals: Known


class Detector:
    """Finds objects in images.

    Args:
        models: a trained model with its configuration and classes, or several of the same classes, whose scores of
            each region are averaged.
        device: "auto" (a GPU if there is one), "cpu", "cuda", "cuda:1", ...
        proposer: source of candidate boxes; by default `source`.
        source: "selective_search", "multibox" or "both", with the settings of the first model's configuration; by
            default what that says.
        postprocess: NMS; by default as the first model's configuration says.
        box_regression: False leaves the boxes as they are proposed.
        engine: what runs the networks: "torch", "onnx" or an exported .onnx file (`detector.engines.make_engine`).

    Raises:
        InputError: the models have different classes, or the device or the engine cannot be used.
    """

    def __init__(
        self,
        models: Model | Sequence[Model],
        device: str = "auto",
        proposer: Proposer | None = None,
        postprocess: PostprocessConfig | None = None,
        box_regression: bool = True,
        source: Source | None = None,
        engine: str = "torch",
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
        self.class_names = first.class_names
        self.device = resolve_device(device)
        self.dtype = fast_dtype(str(self.device))
        self.scorers = tuple(make_scorer(model, self.device, self.dtype, engine) for model in models)
        self.proposer: Proposer = proposer or _make_proposer(self.scorers, first.config, source)
        self.postprocess = postprocess or first.config.postprocess
        self.box_regression = box_regression
        self.engine = engine

    @property
    def fingerprint(self) -> str:
        """32 hexadecimal digits that change with all that the detections of an image depend on."""
        engine = self.engine
        if Path(engine).is_file():
            engine = hashlib.blake2b(Path(engine).read_bytes(), digest_size=16).hexdigest()
        parts = [self.proposer.fingerprint, repr(self.postprocess), str(self.box_regression), str(self.dtype), engine]
        for scorer in self.scorers:
            mirrored = isinstance(scorer, SharedScorer) and scorer.mirrored
            parts += [weights_hash(scorer.network), repr(scorer.config), str(mirrored)]
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
                a `detector.images.Image`, or a list of these.
            channels: "RGB" or "BGR"; must be given for arrays.
            score: lowest score to keep.
            batch: how many images of a list the networks see at once; by default 1 on a CPU, 8 on a GPU.

        Raises:
            InputError: an image cannot be read, or the score or the batch is out of range.
        """
        if isinstance(images, (list, tuple)):
            size = default_batch(self.device.type) if batch is None else batch
            if size < 1:
                raise InputError(f"batch {size} is less than one image")
            found = []
            for start in range(0, len(images), size):
                part = [as_image(image, channels) for image in images[start : start + size]]
                found += self.detect_batch(part, score)
            return found
        return self.detect(as_image(images, channels), score)

    def detect(self, image: Image, score: float = 0.5) -> Detections:
        """Detections of one image: what the models see of it, proposals, then the judgement of these."""
        check_score(score)
        views = self.look(image)
        proposals = self.propose(image, views)
        return self.suppress(proposals, self.score(views, proposals), score)

    def detect_batch(self, images: Sequence[Image], score: float = 0.5) -> list[Detections]:
        """Detections of several images: those whose input to a network has the same size pass it together."""
        check_score(score)
        judged = self.judge([self.prepare(image, propose=False) for image in images])
        return [self.suppress(proposals, scored, score) for proposals, scored in judged]

    def prepare(self, image: Image, propose: bool = True) -> "Prepared":
        """All that can be done for an image before a network sees it, on the CPU and from any thread.

        propose: boxes of Selective Search too; otherwise `judge` looks for them while a GPU is at work.
        """
        inputs = tuple(scorer.prepare(image) for scorer in self.scorers)
        return Prepared(image, inputs, propose_ahead(self.proposer, image) if propose else {})

    def judge(self, images: Sequence["Prepared"]) -> list[tuple[Proposals, RegionScores]]:
        """Proposals of several images, and what the models together say of them, on the CPU.

        From the images to the scores nothing waits for a GPU, except for MultiBox's boxes and crops.
        """
        photos = [one.image for one in images]
        seen = [scorer.look(photos, [one.inputs[i] for one in images]) for i, scorer in enumerate(self.scorers)]
        views = list(zip(*seen, strict=True))
        proposals = propose_batch(self.proposer, photos, views, [one.proposals for one in images])
        return list(zip(proposals, self._score(views, proposals), strict=True))

    def detect_proposals(self, image: Image, proposals: Proposals, score: float = 0.5) -> Detections:
        """Detections of one image among given proposals (boxes in pixels of the image)."""
        check_score(score)
        return self.suppress(proposals, self.score(self.look(image), proposals), score)

    def look(self, image: Image) -> tuple[ImageView, ...]:
        """The image as each model sees it."""
        return tuple(scorer.view(image) for scorer in self.scorers)

    def propose(self, image: Image, views: Sequence[ImageView]) -> Proposals:
        """Candidate boxes of an image and its views."""
        return propose(self.proposer, image, views)

    def score(self, views: Sequence[ImageView], proposals: Proposals) -> RegionScores:
        """What the models together say of proposals, on the CPU."""
        return self._score([views], [proposals])[0]

    @torch.inference_mode()
    def _score(self, views: Sequence[Sequence[ImageView]], proposals: Sequence[Proposals]) -> list[RegionScores]:
        boxes = [upload(torch.from_numpy(np.ascontiguousarray(own.boxes)), self.device) for own in proposals]
        members = [scorer.score([own[i] for own in views], boxes) for i, scorer in enumerate(self.scorers)]
        scored = [average_scores(own) for own in zip(*members, strict=True)]
        if not self.box_regression:
            scored = [RegionScores(own.scores, None) for own in scored]
        return fetch(scored)

    def suppress(self, proposals: Proposals, scored: RegionScores, score: float) -> Detections:
        """Detections of at least `score`, from the scores of proposals: boxes are moved, repeats suppressed.

        On the CPU, for how many boxes remain is not known before.
        """
        boxes = torch.from_numpy(np.ascontiguousarray(proposals.boxes))
        return postprocess(scored, boxes, proposals.image_size, self.class_names, self.postprocess, score)


def check_score(score: float) -> None:
    """Raises `InputError` for a score that is none."""
    if not 0 <= score <= 1:
        raise InputError(f"score {score} is outside 0..1")


def _make_proposer(
    scorers: Sequence[RegionScorer], config: ModelConfig | RCNNConfig, source: Source | None
) -> Proposer:
    threads = torch.get_num_threads()
    if source is None:
        source = config.source if isinstance(config, ModelConfig) else "selective_search"
    if source == "selective_search":
        return SelectiveSearch(config.proposals, threads)
    shared = config if isinstance(config, ModelConfig) else ModelConfig()
    multibox = SharedMultiBox(first_with_multibox(scorers), shared.multibox_boxes)
    if source == "multibox":
        return multibox
    return union(multibox, config.proposals, shared.union_boxes)


def first_with_multibox(scorers: Sequence[RegionScorer]) -> SharedScorer:
    """The first scorer with a MultiBox head.

    Raises:
        InputError: there is none.
    """
    for scorer in scorers:
        if isinstance(scorer, SharedScorer) and scorer.network.multibox is not None:
            return scorer
    raise InputError("no model here has a MultiBox head; take boxes from selective_search")


def load_detector(
    model: str | Path | None = None,
    device: str = "auto",
    config: str | Path | None = None,
    source: Source | None = None,
    engine: str = "torch",
) -> Detector:
    """A detector from a model file, by default the one that comes with the package (VOC's 20 classes).

    Args:
        model: a model file, or the name of an installed model: "voc07".
        config: a YAML file of a `DetectorConfig`, such as `configs/paper.yaml`, in place of `model`.
        source: of the regions: "selective_search", "multibox" or "both"; by default the model's.
        engine: what runs the networks: "torch", "onnx", or an .onnx file that `detector export` wrote from the model.

    Raises:
        InputError: the model file, the configuration, the device or the engine cannot be used; one line that says why.
    """
    if config is None:
        return Detector(load_model(model), device, source=source, engine=engine)
    if source is not None:
        raise InputError("give proposals or a configuration, which names its own, not both")
    if model is not None:
        raise InputError("give a model or a configuration, which names its models, not both")
    path = Path(config)
    parsed = parse(DetectorConfig, read_yaml(path, CONFIGURATIONS), str(path))
    return assemble(parsed, path, device, engine)


def assemble(config: DetectorConfig, path: Path, device: str = "auto", engine: str = "torch") -> Detector:
    """The detector that a configuration describes.

    Args:
        path: the file that the configuration comes from: models are relative to it, messages name it.

    Raises:
        InputError: a model cannot be used, or the configuration asks for what there is not.
    """

    def located(name: str) -> Path:
        return find_model(name, path.parent)

    models = []
    for name in config.models:
        model = load_model(located(name))
        if isinstance(model.config, RCNNConfig):
            changed = model.config
            if config.context is not None:
                try:
                    changed = replace(changed, crops=replace(changed.crops, context=config.context))
                except ValueError as error:
                    raise InputError(f"{path}: {error}") from None
            if config.head is not None:
                changed = replace(changed, head=config.head)
            model = replace(model, config=changed)
        models.append(model)
    if (config.head, config.context) != (None, None) and not any(m.kind == "crops" for m in models):
        raise InputError(f"{path}: head and context are for models that see crops, and none of these does")
    detector = Detector(
        models,
        device,
        None,
        PostprocessConfig(config.nms_iou, config.max_detections, voting_iou=config.voting_iou),
        config.box_regression,
        "selective_search",
        engine,
    )
    asked = config.short_sides is not None or config.mirrored
    if asked and not any(isinstance(scorer, SharedScorer) for scorer in detector.scorers):
        raise InputError(f"{path}: short_sides and mirrored are for models of one pass, and none of these is one")
    looks = [_looks(scorer, config) for scorer in detector.scorers]
    detector.scorers = tuple(scorer for own in looks for scorer in own)
    proposers: list[Proposer] = []
    source = config.multibox_model
    if config.multibox and source is not None and source not in config.models:
        proposers.append(load_multibox(located(source), config.multibox, detector.device))
    elif config.multibox:  # on the trunk of a model that is here anyway
        scorers = detector.scorers if source is None else looks[config.models.index(source)]
        try:
            proposers.append(SharedMultiBox(first_with_multibox(scorers), config.multibox))
        except InputError as error:
            raise InputError(f"{path}: multibox: {error}, or name a multibox_model") from None
    if config.proposals is not None:
        proposers.append(SelectiveSearch(config.proposals, torch.get_num_threads()))
    detector.proposer = proposers[0] if len(proposers) == 1 else Union(proposers)
    return detector


def _looks(scorer: RegionScorer, config: DetectorConfig) -> list[RegionScorer]:
    """A scorer for each input that a configuration wants a model to see; the first one is not mirrored."""
    if not isinstance(scorer, SharedScorer):
        return [scorer]
    sides = config.short_sides or (scorer.config.input.short_side,)
    return [scorer.variant(side, mirrored) for mirrored in (False, True)[: 1 + config.mirrored] for side in sides]
