"""Curves and histograms as coordinates of inline SVG, which the template draws."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from detector.evaluation.errors import Diagnosis
from detector.evaluation.metrics.matching import at_least
from detector.evaluation.metrics.pairs import FloatArray
from detector.evaluation.metrics.voc import ClassResult

_LEVELS = np.linspace(0, 1, 51)


@dataclass(frozen=True, kw_only=True)
class Plot:
    """The frame of a chart whose axes both run from 0 to 1: outer size and margins, in units of its viewBox."""

    width: float
    height: float
    left: float = 0.0
    right: float = 0.0
    top: float = 0.0
    bottom: float = 0.0

    def x(self, value: float) -> float:
        """Horizontal coordinate of a value, rounded to a tenth of a unit, which is too small to see."""
        return round(self.left + value * (self.width - self.left - self.right), 1)

    def y(self, value: float) -> float:
        """Vertical coordinate of a value; the axis points upwards."""
        return round(self.height - self.bottom - value * (self.height - self.top - self.bottom), 1)

    def path(self, xs: npt.ArrayLike, ys: npt.ArrayLike) -> str:
        """The `d` of a line through the points, without those on a straight line between their neighbors."""
        points = [(self.x(x), self.y(y)) for x, y in zip(np.asarray(xs), np.asarray(ys), strict=True)]
        inner = [b for a, b, c in zip(points, points[1:], points[2:], strict=False) if not _straight(a, b, c)]
        return "M" + "L".join(f"{x:g} {y:g}" for x, y in [points[0], *inner, points[-1]])


def _straight(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> bool:
    return abs((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])) < 1e-6


LARGE = Plot(width=340, height=230, left=34, right=8, top=8, bottom=34)
"""The mean curve. It is about as wide as a phone, so its text is not scaled down."""
SQUARE = Plot(width=340, height=320, left=34, right=8, top=8, bottom=34)
"""The calibration chart."""
SMALL = Plot(width=120, height=80, left=1, right=1, top=3, bottom=1)
"""The curve of a class."""
HISTOGRAM = Plot(width=340, height=110, left=34, right=8, top=8, bottom=26)
"""The overlaps of the best proposals."""


def envelope(result: ClassResult) -> FloatArray:
    """The highest precision at each recall level or beyond of a class with objects; 0 where it is not reached."""
    highest = np.maximum.accumulate(result.precision[::-1])[::-1]
    # A recall one rounding below its level reaches it: the curve is for viewing only.
    return np.append(highest, 0.0)[np.searchsorted(result.recall, _LEVELS - 1e-9, side="left")]


def class_curve(result: ClassResult, score: float) -> tuple[str, tuple[float, float] | None]:
    """The precision-recall curve of a class with objects: the path of its line, and the point at the shown score (None
    without detections)."""
    shown = np.count_nonzero(at_least(result.scores, score))
    dot = None
    if shown:
        dot = SMALL.x(float(result.recall[shown - 1])), SMALL.y(float(result.precision[shown - 1]))
    return SMALL.path(_LEVELS, envelope(result)), dot


def mean_curve(diagnosis: Diagnosis) -> str:
    """The path of the mean over the classes with objects of the highest precision at each recall."""
    curves = [envelope(result) for result in diagnosis.result.classes.values() if result.objects]
    return LARGE.path(_LEVELS, np.mean(curves, axis=0))


Bar = tuple[float, float, float, float, str]
"""A rectangle of a histogram (x, y, width, height) and its tooltip."""


def calibration_bars(diagnosis: Diagnosis) -> list[Bar]:
    """A bar for each bin with detections, as high as the share that is right."""
    curve = diagnosis.reliability
    if curve is None:
        return []
    return _bars(
        SQUARE, curve.counts, curve.precision, lambda i, scores: f"{scores}: {100 * curve.precision[i]:.0f} % right"
    )


def overlap_bars(counts: npt.NDArray[np.int64], most: int) -> list[Bar]:
    """A histogram of IoU; `most` is the count at the top of the chart."""
    return _bars(HISTOGRAM, counts, counts / most, lambda i, overlaps: f"IoU {overlaps}: {counts[i]}")


def _bars(plot: Plot, counts: np.ndarray, heights: np.ndarray, label: Callable[[int, str], str]) -> list[Bar]:
    """The bars of the bins that are not empty, a unit narrower than the bin on both sides."""
    bars, bins = [], len(counts)
    for i in np.flatnonzero(counts).tolist():
        left, right, top = plot.x(i / bins), plot.x((i + 1) / bins), plot.y(float(heights[i]))
        tooltip = label(i, f"{i / bins:g} to {(i + 1) / bins:g}")
        bars.append((left + 1, top, round(right - left - 2, 1), round(plot.y(0) - top, 1), tooltip))
    return bars
