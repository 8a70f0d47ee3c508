"""Models of random weights, images of noise and proposers by rule for the tests of inference."""

import threading

import numpy as np
import torch
from torch import nn

from detector.config import CropConfig, CropNetworkConfig, InputConfig, ModelConfig, NetworkConfig, RCNNConfig
from detector.models.rcnn import RCNN
from detector.models.rfcn import RFCN
from detector.models.weights import Model
from detector.structures.image import Image
from proposals import Proposals
from proposals.multibox.config import MultiBoxConfig
from proposals.multibox.network import MultiBoxHead

RCNN_CONFIG = RCNNConfig(crops=CropConfig(size=32, context=4), network=CropNetworkConfig(box_bins=2))
HEAD = MultiBoxConfig(grids=(4, 2, 1), shapes=3, channels=8)


def fill(head: MultiBoxHead) -> None:
    """Random priors and weights that give boxes all over the image."""
    corners = torch.rand(HEAD.boxes, 2) * 0.5
    head.set_priors(torch.cat((corners, corners + 0.1 + 0.4 * torch.rand(HEAD.boxes, 2)), dim=1))
    for layer in head.predict:
        nn.init.normal_(layer.weight, std=0.3)  # type: ignore[arg-type]


def rfcn_model(seed: int = 0, short_side: int = 64, **config: object) -> Model:
    """An R-FCN of two classes with a MultiBox head."""
    torch.manual_seed(seed)
    settings = ModelConfig(
        input=InputConfig(short_side=short_side),
        network=NetworkConfig(multibox=HEAD),
        **config,  # type: ignore[arg-type]
    )
    network = RFCN(2, settings.network).eval()
    nn.init.normal_(network.score_conv.weight, std=0.5)
    assert network.multibox is not None
    fill(network.multibox)
    return Model(network, settings, ("cat", "dog"), {})


def rcnn_model(seed: int = 0, config: RCNNConfig = RCNN_CONFIG, classes: tuple[str, ...] = ("cat", "dog")) -> Model:
    """An R-CNN with random weights in every head."""
    torch.manual_seed(seed)
    network = RCNN(len(classes), config.network).eval().requires_grad_(False)
    nn.init.normal_(network.classifier.weight, std=0.5)
    nn.init.normal_(network.classifier.bias)
    for name in ("svm_weight", "svm_bias", "box_weight", "box_bias"):
        getattr(network, name).normal_(0, 0.5)
    return Model(network, config, classes, {})


def noise(size: tuple[int, int] = (90, 60), seed: int = 0) -> Image:
    """An image of that width and height."""
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    return Image(pixels, f"noise {seed}")


def proposals_of(boxes: np.ndarray, image: np.ndarray) -> Proposals:
    """Boxes (R, 4), best first."""
    ranks = np.arange(len(boxes), 0, -1, dtype=np.float32)
    size = (image.shape[1], image.shape[0])
    return Proposals(boxes.astype(np.float32), ranks, np.zeros(len(boxes), np.int16), ("rule",), size)


class FixedBoxes:
    """Proposes the given boxes, by default the left and the right half of the image."""

    fingerprint = "fixed boxes"

    def __init__(self, boxes: np.ndarray | None = None) -> None:
        self.boxes = boxes

    def __call__(self, image: np.ndarray) -> Proposals:
        height, width = image.shape[:2]
        halves = np.array([[0, 0, width // 2, height], [width // 2, 0, width, height]])
        return proposals_of(halves if self.boxes is None else self.boxes, image)


class RandomBoxes:
    """Up to 40 boxes by the width of the image, none if its height is `empty_height`; records the threads it ran on."""

    fingerprint = "random boxes"

    def __init__(self, empty_height: int | None = None) -> None:
        self.empty_height = empty_height
        self.threads: set[str] = set()

    def __call__(self, image: np.ndarray) -> Proposals:
        self.threads.add(threading.current_thread().name)
        height, width = image.shape[:2]
        count = 0 if height == self.empty_height else min(40, width // 2)
        low = np.random.default_rng(width).random((count, 2)) * 0.6
        return proposals_of(
            np.concatenate((low, low + 0.2 + 0.2 * low), axis=1) * (width, height, width, height), image
        )
