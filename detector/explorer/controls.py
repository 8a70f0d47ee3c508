"""The values that a photo's controls can take: sliders go through lists of them."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from detector.explorer.image_cache import Session
from detector.explorer.panels import box_text, source_text
from detector.explorer.regions import notable_regions
from detector.explorer.stages import STAGES, Explanation

STAGE_NAMES = dict(
    zip(STAGES, ("network, whole photo", "proposals", "scores of all regions", "post-processing"), strict=True)
)


@dataclass(frozen=True)
class Slider:
    """Values of a slider, ascending, and the first one shown."""

    values: tuple[float, ...]
    value: float

    @property
    def position(self) -> int:
        return min(range(len(self.values)), key=lambda i: abs(self.values[i] - self.value))


@dataclass(frozen=True)
class Choice:
    """(value, text) of each option."""

    options: tuple[tuple[str, str], ...]


SCORES = tuple(round(0.01 * i, 2) for i in (1, 2, 3, 5, *range(10, 100, 5), 97, 99))
IOUS = tuple(round(0.05 * i, 2) for i in range(21))


@dataclass(frozen=True)
class Controls:
    """All controls of a photo, and what stands at its head.

    Attributes:
        stages: name, seconds and part of the whole of each stage of the detection.
        spaces, similarities, ks: of the groupings; none if there are no groupings.
        regions: the surest.
        found: detections as the detector is set.
    """

    stages: tuple[tuple[str, float, float], ...]
    seconds: float
    found: int
    spaces: Choice
    similarities: Choice
    ks: Choice
    levels: Slider
    boxes: Slider
    sources: Choice
    regions: Choice
    labels: Choice
    low_score: Slider
    score: Slider
    nms_iou: Slider
    voting: bool

    @classmethod
    def of(cls, session: Session) -> "Controls":
        explanation = session.explanation
        groupings = explanation.groupings
        total = sum(explanation.seconds.values())
        config = explanation.detector.postprocess
        names = explanation.proposals.source_names
        most = max((one.hierarchy.superpixels for one in groupings), default=1)
        return cls(
            stages=tuple((STAGE_NAMES[name], one, one / total) for name, one in explanation.seconds.items()),
            seconds=total,
            found=len(explanation.detections()),
            spaces=_choice((one.space for one in groupings), (one.space for one in groupings if one.used)),
            similarities=_choice(one.similarity for one in groupings),
            ks=_choice(f"{one.k:g}" for one in groupings),
            levels=_counts(most, 30),
            boxes=_counts(len(explanation.proposals), 100),
            sources=Choice((("-1", "all"), *((str(i), source_text(name)) for i, name in enumerate(names)))),
            regions=Choice(tuple(_regions(explanation))),
            labels=Choice((("-1", "its best class"), *((str(i), n) for i, n in enumerate(explanation.class_names)))),
            low_score=Slider(SCORES, 0.1),
            score=Slider(SCORES, 0.5),
            nms_iou=Slider(IOUS, config.nms_iou),
            voting=config.voting_iou is not None and explanation.scored.box_deltas is not None,
        )


def _choice(values: Iterable[str], marked: Iterable[str] = ()) -> Choice:
    """Options for all that differ; those that are `marked` say that the detector uses them."""
    marked = set(marked)
    return Choice(tuple((value, f"{value} (used)" if value in marked else value) for value in dict.fromkeys(values)))


def _counts(most: int, first: int, steps: int = 80) -> Slider:
    """Whole numbers from 1 to `most`, ever further apart, `first` among them."""
    most = max(1, most)
    first = min(first, most)
    values = np.unique([*np.geomspace(1, most, steps).round().astype(int), first])
    return Slider(tuple(values.tolist()), first)


def _regions(explanation: Explanation) -> list[tuple[str, str]]:
    listed = []
    for region in notable_regions(explanation):
        scores = explanation.scored.scores[region]
        label = int(scores.argmax())
        box = box_text(explanation.proposals.boxes[region])
        listed.append((str(region), f"{explanation.class_names[label]} {scores[label]:.2f} at {box}"))
    return listed
