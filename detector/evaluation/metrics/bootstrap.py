"""Confidence intervals of average precision, by resampling the images.

Images are drawn with replacement, as many as the data set has, and average precision is computed again; percentiles of
many such values are the interval (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13). The
matches of an image do not depend on other images, so they are computed once: a resample only gives each image a weight,
the number of times that it was drawn. Two detectors are compared on the same resamples, because a hard image
affects both.

A resample is noisier than the images themselves, and the curve of the highest precision at a recall or beyond rises
with noise: intervals lie slightly high, the more so the fewer objects a class has.

hotcoco's `hotcoco.compare` is not used: it has no intervals by class or for a single detector, and 100 resamples of
5,000 images take it ten seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Self, get_args

import numpy as np
import numpy.typing as npt

from detector.errors import InputError
from detector.evaluation.metrics.formatting import mean_of_known
from detector.evaluation.metrics.matching import FloatArray, IntArray, RankedMatches
from detector.evaluation.metrics.voc import VOC07_RECALL_LEVELS
from proposals.names import unknown_name

Curve = Literal["voc07", "voc10", "coco"]
"""How precision is averaged over recall: at 11 levels, over the area (ILSVRC too), or at 101 levels."""

_LEVELS = {"voc07": VOC07_RECALL_LEVELS, "coco": np.linspace(0, 1, 101)}
# Numbers held at a time in an array of resamples and images, or of resamples and detections: 16 MiB.
_CHUNK = 1 << 22


class Interval(NamedTuple):
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
        mean_ap, mean_low, mean_high: the same for the mean over the classes that have objects.
        images: number of images.
        resamples, confidence: how the intervals were made.
    """

    class_names: tuple[str, ...]
    ap: FloatArray
    low: FloatArray
    high: FloatArray
    mean_ap: float
    mean_low: float
    mean_high: float
    images: int
    resamples: int
    confidence: float

    @classmethod
    def of(cls, matches: RankedMatches, estimate: FloatArray, values: FloatArray, confidence: float) -> Self:
        """From the (C,) values of the images and the (R, C) values of the resamples."""
        low, high = _percentiles(values, confidence)
        means = np.array([mean_of_known(row) for row in values])[:, np.newaxis]
        (mean_low,), (mean_high,) = _percentiles(means, confidence)
        return cls(
            class_names=matches.class_names,
            ap=estimate,
            low=low,
            high=high,
            mean_ap=mean_of_known(estimate),
            mean_low=float(mean_low),
            mean_high=float(mean_high),
            images=matches.image_count,
            resamples=len(values),
            confidence=confidence,
        )

    @property
    def classes(self) -> dict[str, Interval]:
        """The intervals by class name, without classes that have no objects."""
        rows = zip(self.class_names, self.low.tolist(), self.high.tolist(), strict=True)
        return {name: Interval(low, high) for name, low, high in rows if not np.isnan(low)}

    @property
    def mean(self) -> Interval:
        """The interval of the mAP."""
        return Interval(self.mean_low, self.mean_high)


class Difference(NamedTuple):
    """Two detectors on the same images: `difference` is `second` less `first`.

    Its intervals are of the differences in the same resamples, and so narrower than those of the two suggest.
    """

    first: Intervals
    second: Intervals
    difference: Intervals


def bootstrap_average_precision(
    ranked: Sequence[RankedMatches],
    curve: Curve,
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Intervals:
    """Average precision by class and their mean, each with its interval.

    Args:
        ranked: the matches at one IoU threshold, or at several, over which average precision is averaged; see
            `detector.evaluation.match_by_metric`.
        curve: the metric's way of averaging.
        resamples: number of times the images are drawn.
        confidence: share of the resamples within an interval.
        seed: of the random numbers.

    Raises:
        InputError: `ranked` is empty, the matches are of different data, or a number is out of range.
    """
    ((estimate, values),) = _resampled([ranked], curve, resamples, confidence, seed)
    return Intervals.of(ranked[0], estimate, values, confidence)


def compare_average_precision(
    first: Sequence[RankedMatches],
    second: Sequence[RankedMatches],
    curve: Curve,
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Difference:
    """The second detector's average precision less the first one's, on the same images and resamples.

    Arguments and errors are those of `bootstrap_average_precision`.
    """
    (before, old), (after, new) = _resampled([first, second], curve, resamples, confidence, seed)
    pairs = ((before, old), (after, new), (after - before, new - old))
    return Difference(*(Intervals.of(first[0], estimate, values, confidence) for estimate, values in pairs))


def _resampled(
    detectors: Sequence[Sequence[RankedMatches]], curve: Curve, resamples: int, confidence: float, seed: int
) -> list[tuple[FloatArray, FloatArray]]:
    """For each detector average precision by class, (C,) of the images and (R, C) of the resamples."""
    if curve not in get_args(Curve):
        raise InputError(unknown_name("curve", curve, get_args(Curve)))
    if resamples < 1:
        raise InputError(f"resamples is {resamples}; give at least 1")
    if not 0 < confidence < 1:
        raise InputError(f"confidence is {confidence}; give a share between 0 and 1")
    if not all(detectors):
        raise InputError("the bootstrap has no matches; give those of at least one IoU threshold")
    _check_same_objects([matches for ranked in detectors for matches in ranked])
    images = detectors[0][0].image_count
    curves = [[_curves(matches) for matches in ranked] for ranked in detectors]
    widest = max((len(c.images) for ranked in curves for classes in ranked for c in classes), default=0)
    generator = np.random.default_rng(seed)
    chunks: list[list[FloatArray]] = [[] for _ in detectors]
    size = max(1, _CHUNK // max(images, widest, 1))
    for start in range(0, resamples, size):
        weights = _weights(generator, min(size, resamples - start), images)
        for chunk, ranked in zip(chunks, curves, strict=True):
            chunk.append(_average_precision(ranked, weights, curve))
    once = np.ones((1, images), dtype=np.int32)
    return [(_average_precision(c, once, curve)[0], np.concatenate(v)) for c, v in zip(curves, chunks, strict=True)]


def _check_same_objects(ranked: Sequence[RankedMatches]) -> None:
    first = ranked[0]
    for matches in ranked[1:]:
        if (
            matches.class_names != first.class_names
            or matches.image_count != first.image_count
            or not np.array_equal(matches.object_images, first.object_images)
            or not np.array_equal(matches.object_labels, first.object_labels)
        ):
            raise InputError("the detections are matched with different images, classes or objects; give the same data")


def _weights(generator: np.random.Generator, resamples: int, images: int) -> npt.NDArray[np.int32]:
    """(R, I) how often each image is drawn."""
    drawn = generator.integers(0, max(images, 1), (resamples, images))
    drawn += images * np.arange(resamples)[:, np.newaxis]
    return np.bincount(drawn.ravel(), minlength=resamples * images).reshape(resamples, images).astype(np.int32)


@dataclass(frozen=True, eq=False)
class _ClassCurve:
    """The part of a class that is weighted.

    Attributes:
        images: (D,) image of each detection, from the highest score to the last true positive.
        hits: (T,) indices of the true positives among them.
        object_images: (N,) image of each object.
    """

    images: IntArray
    hits: IntArray
    object_images: IntArray


def _curves(matches: RankedMatches) -> list[_ClassCurve]:
    curves = []
    for label in range(len(matches.class_names)):
        rows = np.flatnonzero(matches.labels == label)
        hits = np.flatnonzero(matches.true_positive[rows])
        images = matches.images[rows[: hits[-1] + 1]] if len(hits) else np.zeros(0, np.int64)
        curves.append(_ClassCurve(images, hits, matches.object_images[matches.object_labels == label]))
    return curves


def _average_precision(
    ranked: Sequence[Sequence[_ClassCurve]], weights: npt.NDArray[np.int32], curve: Curve
) -> FloatArray:
    """(R, C) the mean over the IoU thresholds."""
    total = np.zeros((len(weights), len(ranked[0])))
    for classes in ranked:
        for label, class_curve in enumerate(classes):
            total[:, label] += _weighted(class_curve, weights, curve)
    return total / len(ranked)


def _weighted(class_curve: _ClassCurve, weights: npt.NDArray[np.int32], curve: Curve) -> FloatArray:
    """(R,) average precision of a class; NaN in a resample without objects of it."""
    objects = weights[:, class_curve.object_images].sum(axis=1)
    zero_or_nan = np.where(objects > 0, 0.0, np.nan)
    if not len(class_curve.hits):
        return zero_or_nan
    # The highest precision at a recall or beyond is always that at a true positive, so only true positives are
    # evaluated, each with the false positives since the previous one.
    starts = np.append(0, class_curve.hits[:-1] + 1)
    detections = np.add.reduceat(weights[:, class_curve.images], starts, axis=1).cumsum(axis=1)
    new = weights[:, class_curve.images[class_curve.hits]]
    right = new.cumsum(axis=1)
    precision = right / np.maximum(detections, 1)
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    at_least_one = np.maximum(objects, 1)
    if curve == "voc10":
        return (envelope * new).sum(axis=1) / at_least_one + zero_or_nan
    levels = _LEVELS[curve]
    # Levels of recall that each true positive is the first to reach.
    reached = np.searchsorted(levels, right / at_least_one[:, np.newaxis], side="right")
    return (envelope * np.diff(reached, axis=1, prepend=0)).sum(axis=1) / len(levels) + zero_or_nan


def _percentiles(values: FloatArray, confidence: float) -> tuple[FloatArray, FloatArray]:
    """(C,) lower and upper ends, of the values that are not NaN."""
    low, high = np.full((2, values.shape[1]), np.nan)
    known = ~np.isnan(values).all(axis=0)
    if known.any():
        tail = (1 - confidence) / 2
        low[known], high[known] = np.nanquantile(values[:, known], [tail, 1 - tail], axis=0)
    return low, high
