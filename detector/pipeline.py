"""The detector: image -> proposals -> regions -> scores and offsets -> detections."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch

from detector.config import DetectorConfig, ModelConfig, PostprocessConfig, RCNNConfig, parse, read_yaml
from detector.detections import Detections
from detector.errors import InputError
from detector.images import Image, as_image
from detector.postprocess import postprocess
from detector.precision import fast_dtype
from detector.scorers import RegionScores, average_scores, make_scorer
from detector.weights import Model, find_model, load_model
from proposals import Proposals, Proposer, SelectiveSearch


class Detector:
    """Finds objects in images.

    Args:
        models: a trained model with its configuration and classes, or several of the same classes, whose scores of
            each region are averaged.
        device: "auto" (a GPU if there is one), "cpu", "cuda", "cuda:1", ...
        proposer: source of candidate boxes; by default Selective Search as the first model's configuration says.
        postprocess: NMS; by default as the first model's configuration says.
        box_regression: False leaves the boxes as they are proposed.

    Raises:
        InputError: the models have different classes, or the device cannot be used.
    """

    def __init__(
        self,
        models: Model | Sequence[Model],
        device: str = "auto",
        proposer: Proposer | None = None,
        postprocess: PostprocessConfig | None = None,
        box_regression: bool = True,
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
        threads = torch.get_num_threads()
        self.proposer: Proposer = proposer or SelectiveSearch(first.config.proposals, threads)
        self.scorers = tuple(make_scorer(model, self.device, self.dtype) for model in models)
        self.postprocess = postprocess or first.config.postprocess
        self.box_regression = box_regression

    @overload
    def __call__(
        self, images: list[Any] | tuple[Any, ...], channels: str | None = None, score: float = 0.5
    ) -> list[Detections]: ...

    @overload
    def __call__(self, images: Any, channels: str | None = None, score: float = 0.5) -> Detections: ...

    def __call__(
        self, images: Any, channels: str | None = None, score: float = 0.5
    ) -> Detections | list[Detections]:
        """Detections of an image, or a list of them for a list of images.

        Args:
            images: a path, a PIL image, a (3, H, W) RGB tensor (uint8, or float in 0..1), an (H, W, 3) uint8 array,
                a `detector.images.Image`, or a list of these.
            channels: "RGB" or "BGR"; must be given for arrays.
            score: lowest score to keep.
        """
        if isinstance(images, (list, tuple)):
            return [self.detect(as_image(image, channels), score) for image in images]
        return self.detect(as_image(images, channels), score)

    def detect(self, image: Image, score: float = 0.5) -> Detections:
        """Detections of one image: proposals, then `detect_proposals`."""
        return self.detect_proposals(image, self.proposer(image.pixels), score)

    @torch.inference_mode()
    def detect_proposals(self, image: Image, proposals: Proposals, score: float = 0.5) -> Detections:
        """Classifies given proposals (boxes in pixels of the image) and suppresses what repeats."""
        if not 0 <= score <= 1:
            raise InputError(f"score {score} is outside 0..1")
        boxes = torch.from_numpy(np.ascontiguousarray(proposals.boxes)).to(self.device)
        scored = average_scores([scorer.score(image, boxes) for scorer in self.scorers])
        if not self.box_regression:
            scored = RegionScores(scored.scores, None)
        return postprocess(scored, boxes, (image.width, image.height), self.class_names, self.postprocess, score)


def load_detector(
    model: str | Path | None = None, device: str = "auto", config: str | Path | None = None
) -> Detector:
    """A detector from a model file, by default the one that comes with the package (VOC's 20 classes).

    Args:
        model: a model file, or the name of an installed model: "voc07".
        config: a YAML file of a `DetectorConfig`, such as `configs/paper.yaml`, in place of `model`.

    Raises:
        InputError: the model file, the configuration or the device cannot be used; one line that says why.
    """
    if config is None:
        return Detector(load_model(model), device)
    if model is not None:
        raise InputError("give a model or a configuration, which names its models, not both")
    path = Path(config)
    return assemble(parse(DetectorConfig, read_yaml(path, "configurations are in configs/"), str(path)), path, device)


def assemble(config: DetectorConfig, path: Path, device: str = "auto") -> Detector:
    """The detector that a configuration describes.

    Args:
        path: the file that the configuration comes from: models are relative to it, messages name it.

    Raises:
        InputError: a model cannot be used, or the configuration asks for what there is not.
    """
    if config.multibox:
        raise InputError(f"{path}: multibox: there is no MultiBox model yet; set it to 0 for Selective Search alone")
    models = []
    for name in config.models:
        installed = find_model(name)
        model = load_model(installed if installed != Path(name) else path.parent / name)
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
    return Detector(
        models,
        device,
        SelectiveSearch(config.proposals, torch.get_num_threads()),
        PostprocessConfig(nms_iou=config.nms_iou, max_detections=config.max_detections),
        config.box_regression,
    )


def resolve_device(device: str) -> torch.device:
    """The torch device that a name stands for; "auto" is a GPU if there is one, else the CPU."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise InputError(f"device '{device}' is not known; use auto, cpu or cuda")
    resolved = torch.device(device)
    if resolved.type == "cuda" and (resolved.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise InputError(f"device '{device}': PyTorch finds {count or 'no'} CUDA GPU{'s' * (count > 1)}; use cpu")
    return resolved
