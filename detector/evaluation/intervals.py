"""Average precision with its intervals, of one detector and of the difference of two."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from detector.evaluation.formatting import number, percent
from detector.evaluation.judgement import Judgement

_FloatArray = npt.NDArray[np.float64]


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
    def of(cls, judged: Judgement, estimate: _FloatArray, values: _FloatArray, confidence: float) -> Self:
        """From the (C,) values of the images and the (R, C) values of the resamples."""
        low, high = _percentiles(values, confidence)
        means = np.array([_mean(row) for row in values])[:, np.newaxis]
        (mean_low,), (mean_high,) = _percentiles(means, confidence)
        return cls(
            class_names=judged.class_names,
            ap=estimate,
            low=low,
            high=high,
            mean_ap=_mean(estimate),
            mean_low=float(mean_low),
            mean_high=float(mean_high),
            images=judged.image_count,
            resamples=len(values),
            confidence=confidence,
        )

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

    def table(self) -> str:
        """The result as text, in percent."""
        width = max(len(name) for name in [*self.class_names, "class"])
        lines = [f"{'class':{width}}   AP %  {100 * self.confidence:g} % interval"]
        rows = [*zip(self.class_names, self.ap, self.low, self.high, strict=True)]
        for name, value, low, high in [*rows, ("mAP", self.mean_ap, self.mean_low, self.mean_high)]:
            lines.append(f"{name:{width}}  {percent(value):>5}  {percent(low):>5} to {percent(high):>5}")
        lines += ["", f"{self.resamples} resamples of {self.images} images"]
        return "\n".join(lines)


@dataclass(frozen=True, eq=False)
class Difference:
    """Two detectors on the same images: `second` less `first` is `difference`, whose intervals are of the differences
    in the same resamples, and so narrower than the others suggest."""

    first: Intervals
    second: Intervals
    difference: Intervals

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {name: getattr(self, name).to_dict() for name in ("first", "second", "difference")}

    def table(self) -> str:
        """The result as text, in percent and points; a star where the interval of the difference has no zero in it."""
        d = self.difference
        width = max(len(name) for name in [*d.class_names, "class"])
        lines = [f"{'class':{width}}  first  second  difference  {100 * d.confidence:g} % interval"]
        rows = [*zip(d.class_names, self.first.ap, self.second.ap, d.ap, d.low, d.high, strict=True)]
        rows.append(("mAP", self.first.mean_ap, self.second.mean_ap, d.mean_ap, d.mean_low, d.mean_high))
        for name, first, second, value, low, high in rows:
            star = " *" if low > 0 or high < 0 else ""
            interval = f"{_points(low):>6} to {_points(high):>6}"
            numbers = f"{percent(first):>5}  {percent(second):>6}  {_points(value):>10}"
            lines.append(f"{name:{width}}  {numbers}  {interval}{star}")
        lines += ["", f"* the interval lies on one side of 0; {d.resamples} resamples of {d.images} images"]
        return "\n".join(lines)


def _percentiles(values: _FloatArray, confidence: float) -> tuple[_FloatArray, _FloatArray]:
    """(C,) lower and upper ends, of the values that are not NaN."""
    low, high = np.full((2, values.shape[1]), np.nan)
    there = ~np.isnan(values).all(axis=0)
    if there.any():
        tail = (1 - confidence) / 2
        low[there], high[there] = np.nanquantile(values[:, there], [tail, 1 - tail], axis=0)
    return low, high


def _mean(values: _FloatArray) -> float:
    there = values[~np.isnan(values)]
    return float(there.mean()) if len(there) else float("nan")


def _row(value: float, low: float, high: float) -> dict[str, float | None]:
    return {"value": number(value), "low": number(low), "high": number(high)}


def _points(value: float) -> str:
    return "-" if np.isnan(value) else f"{100 * value:+.1f}"
