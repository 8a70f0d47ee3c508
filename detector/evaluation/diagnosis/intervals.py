"""Intervals of average precision, as a bootstrap over images gives them and as report and comparison take them."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """Ends of a confidence interval; fractions, not percent."""

    low: float
    high: float


@dataclass(frozen=True, eq=False, kw_only=True)
class APIntervals:
    """Of one detector's average precision, or of the difference of two (the second less the first).

    Attributes:
        classes: by class name; a class without objects may be left out.
        mean: of the mAP.
        level: share of the distribution that an interval holds, such as 0.95.
        samples: number of bootstrap samples.
    """

    classes: Mapping[str, Interval]
    mean: Interval
    level: float
    samples: int
