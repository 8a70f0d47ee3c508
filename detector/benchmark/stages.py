"""One detection and the stages in it."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from detector.benchmark.timing import Clock
from detector.images import Image
from detector.pipeline import Detector
from proposals import Proposals, Proposer

DETECTION = "detect"
PROPOSALS = "detect: proposals"
INPUT = "detect: input preparation"
NETWORK = "detect: network"
POSTPROCESSING = "detect: post-processing"

def detection_stages(detector: Detector, image: Image, clock: Clock = time.perf_counter) -> dict[str, float]:
    """Seconds of one `Detector.detect`, and of its stages, which add up to it.

    The stages are told apart inside that call: where the proposer returns, and where the network begins and ends.
    """
    marks: list[float] = []

    def mark(*_: object) -> None:
        marks.append(clock())

    proposer = detector.proposer
    network = detector.scorers[0].network
    hooks = [network.register_forward_pre_hook(mark), network.register_forward_hook(mark)]
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
