"""Average precision with its intervals, of one detector and of the difference of two."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from detector.evaluation.metrics.formatting import mean_of_known, number
from detector.evaluation.metrics.ranked_matches import RankedMatches

_FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """The ends of an interval; fractions, not percent."""

    low: float
    high: float


@dataclass(frozen=True, eq=False, kw_only=True)
class Intervals:
    """Values by class and their mean, each with a percentile interval; NaN for a class without objects.

    Attributes:
        class_names: (C,)
        ap, low, high: (C,) float64, average precision (or a difference of two) of the images, and the interval's ends.
            The interval is that of the resamples with an object of the class.
        mean_ap, mean_low, mean_high: the same of the mean over the classes that have objects.
        images: number of images.
        resamples, confidence: how the intervals were made.
    """

    class_names: tuple[str, ...]
    ap: _FloatArray
    low: _FloatArray
    high: _FloatArray
    mean_ap: float
    mean_low: float
    mean_high: float
    images: int
    resamples: int
    confidence: float

    @classmethod
    def of(cls, judged: RankedMatches, estimate: _FloatArray, values: _FloatArray, confidence: float) -> Self:
        """From the (C,) values of the images and the (R, C) values of the resamples."""
        low, high = _percentiles(values, confidence)
        means = np.array([mean_of_known(row) for row in values])[:, np.newaxis]
        (mean_low,), (mean_high,) = _percentiles(means, confidence)
        return cls(
            class_names=judged.class_names,
            ap=estimate,
            low=low,
            high=high,
            mean_ap=mean_of_known(estimate),
            mean_low=float(mean_low),
            mean_high=float(mean_high),
            images=judged.image_count,
            resamples=len(values),
            confidence=confidence,
        )

    @property
    def classes(self) -> dict[str, Interval]:
        """By class name, without those that have no objects."""
        rows = zip(self.class_names, self.low.tolist(), self.high.tolist(), strict=True)
        return {name: Interval(low, high) for name, low, high in rows if not np.isnan(low)}

    @property
    def mean(self) -> Interval:
        """Of the mAP."""
        return Interval(self.mean_low, self.mean_high)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: the value and the ends of its interval; None without objects."""
        return {
            "images": self.images,
            "resamples": self.resamples,
            "confidence": self.confidence,
            "mAP": _row(self.mean_ap, self.mean_low, self.mean_high),
            "AP": {
                name: _row(*values)
                for name, *values in zip(self.class_names, self.ap, self.low, self.high, strict=True)
            },
        }


@dataclass(frozen=True, eq=False)
class Difference:
    """Two detectors on the same images: `second` less `first` is `difference`, whose intervals are of the differences
    in the same resamples, and so narrower than the others suggest."""

    first: Intervals
    second: Intervals
    difference: Intervals


def _percentiles(values: _FloatArray, confidence: float) -> tuple[_FloatArray, _FloatArray]:
    """(C,) lower and upper ends, of the values that are not NaN."""
    low, high = np.full((2, values.shape[1]), np.nan)
    there = ~np.isnan(values).all(axis=0)
    if there.any():
        tail = (1 - confidence) / 2
        low[there], high[there] = np.nanquantile(values[:, there], [tail, 1 - tail], axis=0)
    return low, high


def _row(value: float, low: float, high: float) -> dict[str, float | None]:
    return {"value": number(value), "low": number(low), "high": number(high)}
