"""One detection and the stages in it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageOps

from detector.benchmark.timing import Clock
from detector.errors import InputError
from detector.images import Image, read_image
from detector.pipeline import Detector
from proposals import Proposals, Proposer

DETECTION = "detect"
PROPOSALS = "detect: proposals"
INPUT = "detect: input preparation"
NETWORK = "detect: network"
POSTPROCESSING = "detect: post-processing"

_PHOTO = Path(__file__).parents[2] / "tests" / "photos" / "astronaut.jpg"
_PHOTO_SIZE = (500, 375)  # of most photos of PASCAL VOC


def default_photo() -> Image:
    """A photo of 500x375 pixels, cut and slightly reduced from one that comes with the source code.

    Raises:
        InputError: this is an installed package, which has no photos.
    """
    if not _PHOTO.is_file():
        raise InputError("the package is installed without photos; give one: --image PHOTO")
    original = PillowImage.fromarray(read_image(_PHOTO).pixels)
    return Image(np.array(ImageOps.fit(original, _PHOTO_SIZE, PillowImage.Resampling.LANCZOS)), _PHOTO.name)


def detection_stages(detector: Detector, image: Image, clock: Clock = time.perf_counter) -> dict[str, float]:
    """Seconds of one `Detector.detect`, and of its stages, which add up to it.

    The stages are told apart inside that call: where the proposer returns, and where the network begins and ends.
    """
    marks: list[float] = []

    def mark(*_: object) -> None:
        marks.append(clock())

    proposer = detector.proposer
    hooks = [detector.network.register_forward_pre_hook(mark), detector.network.register_forward_hook(mark)]
    detector.proposer = _MarkedProposer(proposer, mark)
    try:
        mark()
        detector.detect(image)
        mark()
    finally:
        detector.proposer = proposer
        for hook in hooks:
            hook.remove()
    stages = zip((PROPOSALS, INPUT, NETWORK, POSTPROCESSING), marks[:-1], marks[1:], strict=True)
    return {DETECTION: marks[-1] - marks[0], **{name: end - start for name, start, end in stages}}


@dataclass(frozen=True)
class _MarkedProposer:
    """A proposer that calls `mark` when it is done."""

    proposer: Proposer
    mark: Callable[[], None]

    @property
    def fingerprint(self) -> str:
        return self.proposer.fingerprint

    def __call__(self, image: np.ndarray) -> Proposals:
        proposals = self.proposer(image)
        self.mark()
        return proposals
