"""Curves and histograms as the coordinates of inline SVG, which the template draws."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from detector.evaluation.errors import Diagnosis
from detector.evaluation.metrics.voc import ClassResult

_LEVELS = np.linspace(0, 1, 51)


@dataclass(frozen=True, kw_only=True)
class Plot:
    """The frame of a chart whose axes both run from 0 to 1: outer size and margins, in the units of its viewBox."""

    width: float
    height: float
    left: float = 0.0
    right: float = 0.0
    top: float = 0.0
    bottom: float = 0.0

    def x(self, value: float) -> float:
        """Place of a value, rounded: a tenth of a unit cannot be seen."""
        return round(self.left + value * (self.width - self.left - self.right), 1)

    def y(self, value: float) -> float:
        """The same upwards."""
        return round(self.height - self.bottom - value * (self.height - self.top - self.bottom), 1)

    def path(self, xs: npt.ArrayLike, ys: npt.ArrayLike) -> str:
        """The `d` of a line through the points; points on a straight line between their neighbors are left out."""
        places = [(self.x(x), self.y(y)) for x, y in zip(np.asarray(xs), np.asarray(ys), strict=True)]
        kept = [
            place
            for i, place in enumerate(places)
            if i in (0, len(places) - 1) or not _straight(places[i - 1], place, places[i + 1])
        ]
        return "M" + "L".join(f"{x:g} {y:g}" for x, y in kept)


def _straight(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> bool:
    return abs((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])) < 1e-6


#: The large curve and the calibration chart, about as wide as a phone, so that their letters stay as large as set.
LARGE = Plot(width=340, height=230, left=34, right=8, top=8, bottom=34)
SQUARE = Plot(width=340, height=320, left=34, right=8, top=8, bottom=34)
SMALL = Plot(width=120, height=80, left=1, right=1, top=3, bottom=1)


def envelope(result: ClassResult, levels: npt.NDArray[np.float64] = _LEVELS) -> npt.NDArray[np.float64]:
    """The highest precision at each recall level or beyond it; 0 where it is not reached, NaN without objects."""
    if not result.objects:
        return np.full(len(levels), np.nan)
    highest = np.maximum.accumulate(result.precision[::-1])[::-1]
    # A recall one rounding below its level reaches it: the curve is to be seen, not measured.
    return np.append(highest, 0.0)[np.searchsorted(result.recall, levels - 1e-9, side="left")]


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A precision-recall curve in the frame of a `Plot`.

    Attributes:
        line: its path.
        dot: place of the detections of at least the shown score; None if there is none.
    """

    line: str
    dot: tuple[float, float] | None


def class_curve(result: ClassResult, score: float, plot: Plot = SMALL) -> Curve:
    """The curve of a class with objects."""
    shown = int(np.count_nonzero(result.scores.astype(np.float32) >= np.float32(score)))
    dot = None
    if shown:
        dot = plot.x(float(result.recall[shown - 1])), plot.y(float(result.precision[shown - 1]))
    return Curve(line=plot.path(_LEVELS, envelope(result)), dot=dot)


def mean_curve(diagnosis: Diagnosis, plot: Plot = LARGE) -> Curve:
    """Mean over the classes with objects of the highest precision at each recall."""
    curves = [envelope(result) for result in diagnosis.result.classes.values() if result.objects]
    return Curve(line=plot.path(_LEVELS, np.mean(curves, axis=0)), dot=None)


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A rectangle of a histogram."""

    x: float
    y: float
    width: float
    height: float
    label: str


def calibration_bars(diagnosis: Diagnosis, plot: Plot = SQUARE) -> list[Bar]:
    """A bar for each bin with detections, as high as the share that is right."""
    curve = diagnosis.reliability
    if curve is None:
        return []
    bins = len(curve.counts)
    bars = []
    for index in np.flatnonzero(curve.counts):
        right = float(curve.precision[index])
        left, top = plot.x(index / bins), plot.y(right)
        bars.append(
            Bar(
                x=left + 1,
                y=top,
                width=round(plot.x((index + 1) / bins) - left - 2, 1),
                height=round(plot.y(0) - top, 1),
                label=f"{index / bins:g} to {(index + 1) / bins:g}: {100 * right:.0f} % right",
            )
        )
    return bars


def overlap_bars(overlaps: npt.NDArray[np.float64], most: int, plot: Plot) -> list[Bar]:
    """A histogram of IoU in ten bins; `most` is the count as high as the chart."""
    counts = np.bincount(np.minimum((overlaps * 10).astype(np.int64), 9), minlength=10)
    bars = []
    for index in np.flatnonzero(counts):
        left, top = plot.x(index / 10), plot.y(counts[index] / most)
        bars.append(
            Bar(
                x=left + 1,
                y=top,
                width=round(plot.x((index + 1) / 10) - left - 2, 1),
                height=round(plot.y(0) - top, 1),
                label=f"IoU {index / 10:g} to {(index + 1) / 10:g}: {counts[index]}",
            )
        )
    return bars
