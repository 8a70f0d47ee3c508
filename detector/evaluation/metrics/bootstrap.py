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
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from detector.errors import InputError
from detector.evaluation.metrics.formatting import mean_of_known
from detector.evaluation.metrics.matching import Matches
from detector.evaluation.metrics.pairs import FloatArray, IntArray
from detector.evaluation.metrics.voc import VOC07_RECALL_LEVELS

CONFIDENCE = 0.95
"""Share of the resamples within an interval."""

# Levels of recall over which precision is averaged; other metrics take the area.
_LEVELS = {"voc07": VOC07_RECALL_LEVELS, "coco": np.linspace(0, 1, 101)}
# Numbers held at a time in an array of resamples and images, or of resamples and detections: 16 MiB.
_CHUNK = 1 << 22


@dataclass(frozen=True, eq=False)
class Intervals:
    """Average precision, or a difference of two, with percentile intervals; fractions, not percent.

    Attributes:
        class_names: (C,)
        ap, low, high: (C + 1,) float64, the value of the images and the interval's ends, by class and, last, of the
            mean over the classes with objects. NaN for a class without objects. An interval is that of the resamples
            with an object of the class.
        images, resamples: their number.
    """

    class_names: tuple[str, ...]
    ap: FloatArray
    low: FloatArray
    high: FloatArray
    images: int
    resamples: int


def bootstrap_average_precision(
    matches: Sequence[Matches], metric: str, *, resamples: int = 1000, seed: int = 0
) -> Intervals:
    """Average precision by class and their mean, each with its interval.

    Args:
        matches: at one IoU threshold, or at several, over which average precision is averaged; see
            `detector.evaluation.match_by_metric`.
        metric: tells how precision is averaged over recall: at 11 levels, over the area, or at 101 levels.
        resamples: number of times the images are drawn.
        seed: of the random numbers.

    Raises:
        InputError: `matches` is empty, or of different data, or `resamples` is below 1.
    """
    (values,) = _resampled([matches], metric, resamples, seed)
    return _intervals(matches[0], values)


def compare_average_precision(
    first: Sequence[Matches], second: Sequence[Matches], metric: str, *, resamples: int = 1000, seed: int = 0
) -> tuple[Intervals, Intervals, Intervals]:
    """Two detectors on the same images, and the second one's average precision less the first one's.

    The intervals of the difference are those of the differences in the same resamples, and so narrower than those of
    the two suggest. Arguments and errors are those of `bootstrap_average_precision`.
    """
    a, b = _resampled([first, second], metric, resamples, seed)
    of_a, of_b, difference = (_intervals(first[0], values) for values in (a, b, b - a))
    return of_a, of_b, difference


def _intervals(matches: Matches, values: FloatArray) -> Intervals:
    """From (1 + R, C) values by class, of the images and of the resamples."""
    values = np.column_stack([values, [mean_of_known(row) for row in values]])
    low, high = np.full((2, values.shape[1]), np.nan)
    known = ~np.isnan(values[1:]).all(axis=0)
    if known.any():
        tail = (1 - CONFIDENCE) / 2
        low[known], high[known] = np.nanquantile(values[1:, known], [tail, 1 - tail], axis=0)
    truth = matches.truth
    return Intervals(truth.class_names, values[0], low, high, len(truth.image_ids), len(values) - 1)


def _resampled(detectors: Sequence[Sequence[Matches]], metric: str, resamples: int, seed: int) -> list[FloatArray]:
    """For each detector (1 + R, C) average precision by class, of the images and of the resamples."""
    if resamples < 1:
        raise InputError(f"resamples is {resamples}; give at least 1")
    if not all(detectors):
        raise InputError("the bootstrap has no matches; give those of at least one IoU threshold")
    if len({_objects(matches) for of_detector in detectors for matches in of_detector}) > 1:
        raise InputError("the detections are matched with different images, classes or objects; give the same data")
    images = len(detectors[0][0].truth.image_ids)
    curves = [[_curves(matches) for matches in of_detector] for of_detector in detectors]
    widest = max((len(c.images) for of_detector in curves for classes in of_detector for c in classes), default=0)
    generator = np.random.default_rng(seed)
    once = np.ones((1, images), dtype=np.int32)
    chunks = [[_average_precision(of_detector, once, metric)] for of_detector in curves]
    size = max(1, _CHUNK // max(images, widest, 1))
    for start in range(0, resamples, size):
        weights = _weights(generator, min(size, resamples - start), images)
        for chunk, of_detector in zip(chunks, curves, strict=True):
            chunk.append(_average_precision(of_detector, weights, metric))
    return list(map(np.concatenate, chunks))


def _objects(matches: Matches) -> tuple[tuple[str, ...], int, bytes, bytes]:
    """What two detectors must share."""
    truth, counted = matches.truth, matches.counted
    return truth.class_names, len(truth.image_ids), truth.images[counted].tobytes(), truth.labels[counted].tobytes()


def _weights(generator: np.random.Generator, resamples: int, images: int) -> npt.NDArray[np.int32]:
    """(R, I) how often each image is drawn."""
    drawn = generator.integers(0, max(images, 1), (resamples, images))
    drawn += images * np.arange(resamples)[:, np.newaxis]
    return np.bincount(drawn.ravel(), minlength=resamples * images).reshape(resamples, images).astype(np.int32)


class _ClassCurve(NamedTuple):
    """The part of a class that is weighted."""

    images: IntArray  # (D,) of the detections, from the highest score to the last true positive
    hits: IntArray  # (T,) indices of the true positives among them
    objects: IntArray  # (N,) image of each object


def _curves(matches: Matches) -> list[_ClassCurve]:
    ranked, truth, counted = matches.ranked, matches.truth, matches.counted
    labels = matches.detections.labels[ranked]
    object_images, object_labels = truth.images[counted], truth.labels[counted]
    curves = []
    for label in range(len(truth.class_names)):
        rows = ranked[labels == label]
        hits = np.flatnonzero(matches.true_positive[rows])
        images = matches.detections.images[rows[: hits[-1] + 1 if len(hits) else 0]]
        curves.append(_ClassCurve(images, hits, object_images[object_labels == label]))
    return curves


def _average_precision(
    thresholds: Sequence[Sequence[_ClassCurve]], weights: npt.NDArray[np.int32], metric: str
) -> FloatArray:
    """(R, C) the mean over the IoU thresholds."""
    total = np.zeros((len(weights), len(thresholds[0])))
    for classes in thresholds:
        for label, class_curve in enumerate(classes):
            total[:, label] += _weighted(class_curve, weights, metric)
    return total / len(thresholds)


def _weighted(class_curve: _ClassCurve, weights: npt.NDArray[np.int32], metric: str) -> FloatArray:
    """(R,) average precision of a class; NaN in a resample without objects of it."""
    objects = weights[:, class_curve.objects].sum(axis=1)
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
    levels = _LEVELS.get(metric)
    if levels is None:
        return (envelope * new).sum(axis=1) / at_least_one + zero_or_nan
    # Levels of recall that each true positive is the first to reach.
    reached = np.searchsorted(levels, right / at_least_one[:, np.newaxis], side="right")
    return (envelope * np.diff(reached, axis=1, prepend=0)).sum(axis=1) / len(levels) + zero_or_nan
