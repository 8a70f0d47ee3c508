"""The detector: image -> proposals -> regions -> scores and offsets -> detections."""

import copy
import re
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch

from detector.config import ModelConfig
from detector.detections import Detections
from detector.errors import InputError
from detector.images import Image, as_image
from detector.network import RegionClassifier
from detector.postprocess import postprocess
from detector.precision import fast_dtype
from detector.regions import Regions
from detector.transforms import box_scale, input_size, to_input
from detector.weights import Model, load_model
from proposals import Proposals, Proposer, SelectiveSearch


class Detector:
    """Finds objects in images.

    Args:
        model: the trained network with its configuration and classes.
        device: "auto" (a GPU if there is one), "cpu", "cuda", "cuda:1", ...
        proposer: source of candidate boxes; by default Selective Search as the model's configuration says.
    """

    def __init__(self, model: Model, device: str = "auto", proposer: Proposer | None = None) -> None:
        self.config: ModelConfig = model.config
        self.class_names = model.class_names
        self.facts = model.facts
        self.device = resolve_device(device)
        self.dtype = fast_dtype(str(self.device))
        threads = torch.get_num_threads()
        self.proposer: Proposer = proposer or SelectiveSearch(model.config.proposals, threads)
        network: RegionClassifier = copy.deepcopy(model.network).eval().requires_grad_(False)
        self.network = network.to(self.device, self.dtype).to(memory_format=torch.channels_last)

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
        size = (image.width, image.height)
        wanted = input_size(*size, self.config.input.short_side, self.config.input.long_side)
        inputs = to_input(image.pixels, wanted)[None].to(self.device, self.dtype)
        scale = torch.from_numpy(box_scale(size, wanted)).to(self.device)
        predictions = self.network(inputs, Regions.of_images([boxes * scale]))
        return postprocess(predictions, boxes, size, self.class_names, self.config.postprocess, score)


def load_detector(model: str | Path | None = None, device: str = "auto") -> Detector:
    """A detector from a model file, by default the one that comes with the package (VOC's 20 classes).

    Raises:
        InputError: the model file or the device cannot be used; one line that says why.
    """
    return Detector(load_model(model), device)


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
