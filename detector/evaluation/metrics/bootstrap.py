"""How sure an average precision is: intervals by resampling the images.

The images are drawn with replacement, as many as there are, and average precision is computed anew; the percentiles of
many such values are the interval (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13). The
matches of an image do not depend on other images, so that they are made once: a resample only gives each image a
weight, the number of times that it was drawn. Two detectors are compared on the same resamples, for what makes one
image harder than another moves both.

A resample is noisier than the images themselves, and the curve of the highest precision at a recall or beyond it
rises with noise: intervals lie a little high, the more so the fewer objects a class has.

hotcoco has a comparison of its own (`hotcoco.compare`). It is not used: it gives no intervals by class nor for one
detector, and 100 resamples of 5,000 images take it ten seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from detector.errors import InputError
from detector.evaluation.metrics.intervals import Difference, Intervals
from detector.evaluation.metrics.ranked_matches import RankedMatches
from detector.evaluation.metrics.voc import VOC07_RECALL_LEVELS
from proposals.names import unknown_name

Curve = Literal["voc07", "voc10", "coco"]
"""How precision is averaged over recall: at 11 levels, over the area (ILSVRC too), or at 101 levels."""

_LEVELS = {"voc07": VOC07_RECALL_LEVELS, "coco": np.linspace(0, 1, 101)}
#: Numbers held at a time in an array of resamples and images, or of resamples and detections: 16 MiB.
_CHUNK = 1 << 22


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
        ranked: what counts, at one IoU threshold or at several, over which average precision is averaged:
            `rank_matches` (VOC), `ilsvrc.judge_ilsvrc`, or `coco_matching.judge_coco` of the ten thresholds.
        curve: the metric's way of averaging.
        resamples: how often the images are drawn.
        confidence: share of the resamples within an interval.
        seed: of the random numbers.

    Raises:
        InputError: no rank_matches, unequal data, or a number that is out of range.
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


_FloatArray = npt.NDArray[np.float64]


def _resampled(
    detectors: Sequence[Sequence[RankedMatches]], curve: Curve, resamples: int, confidence: float, seed: int
) -> list[tuple[_FloatArray, _FloatArray]]:
    """For each detector average precision by class, (C,) of the images and (R, C) of the resamples."""
    if curve not in get_args(Curve):
        raise InputError(unknown_name("curve", curve, get_args(Curve)))
    if resamples < 1:
        raise InputError(f"resamples is {resamples}; give at least 1")
    if not 0 < confidence < 1:
        raise InputError(f"confidence is {confidence}; give a share between 0 and 1")
    if not all(detectors):
        raise InputError("give what counts at one IoU threshold at least")
    _check_same_objects([one for ranked in detectors for one in ranked])
    images = detectors[0][0].image_count
    prepared = [[_curves(one) for one in ranked] for ranked in detectors]
    widest = max((len(c.images) for d in prepared for one in d for c in one), default=0)
    generator = np.random.default_rng(seed)
    parts: list[list[_FloatArray]] = [[] for _ in detectors]
    size = max(1, _CHUNK // max(images, widest, 1))
    for start in range(0, resamples, size):
        weights = _weights(generator, min(size, resamples - start), images)
        for part, ranked in zip(parts, prepared, strict=True):
            part.append(_average_precision(ranked, weights, curve))
    once = np.ones((1, images), dtype=np.int32)
    return [(_average_precision(d, once, curve)[0], np.concatenate(p)) for d, p in zip(prepared, parts, strict=True)]


def _check_same_objects(ranked: Sequence[RankedMatches]) -> None:
    first = ranked[0]
    for other in ranked[1:]:
        if (
            other.class_names != first.class_names
            or other.image_count != first.image_count
            or not np.array_equal(other.object_images, first.object_images)
            or not np.array_equal(other.object_labels, first.object_labels)
        ):
            raise InputError("the detections were judged by different images, classes or objects")


def _weights(generator: np.random.Generator, resamples: int, images: int) -> npt.NDArray[np.int32]:
    """(R, I) how often each image is drawn."""
    drawn = generator.integers(0, max(images, 1), (resamples, images))
    drawn += images * np.arange(resamples)[:, np.newaxis]
    return np.bincount(drawn.ravel(), minlength=resamples * images).reshape(resamples, images).astype(np.int32)


@dataclass(frozen=True, eq=False)
class _ClassCurve:
    """What is weighted of a class.

    Attributes:
        images: (D,) image of each detection, from the highest score to the last true positive.
        hits: (T,) places of the true positives among them.
        object_images: (N,) image of each object.
    """

    images: npt.NDArray[np.int64]
    hits: npt.NDArray[np.int64]
    object_images: npt.NDArray[np.int64]


def _curves(judged: RankedMatches) -> list[_ClassCurve]:
    curves = []
    for label in range(len(judged.class_names)):
        rows = np.flatnonzero(judged.labels == label)
        hits = np.flatnonzero(judged.true_positive[rows])
        images = judged.images[rows[: hits[-1] + 1]] if len(hits) else np.zeros(0, np.int64)
        curves.append(_ClassCurve(images, hits, judged.object_images[judged.object_labels == label]))
    return curves


def _average_precision(
    ranked: Sequence[Sequence[_ClassCurve]], weights: npt.NDArray[np.int32], curve: Curve
) -> _FloatArray:
    """(R, C) the mean over the ranked."""
    total = np.zeros((len(weights), len(ranked[0])))
    for one in ranked:
        for label, of_class in enumerate(one):
            total[:, label] += _weighted(of_class, weights, curve)
    return total / len(ranked)


def _weighted(of_class: _ClassCurve, weights: npt.NDArray[np.int32], curve: Curve) -> _FloatArray:
    """(R,) average precision of a class; NaN in a resample without an object of it."""
    objects = weights[:, of_class.object_images].sum(axis=1)
    nothing = np.where(objects > 0, 0.0, np.nan)
    if not len(of_class.hits):
        return nothing
    # The highest precision at a recall or beyond it is that at a true positive: only these are looked at, each with
    # the false positives since the one before.
    starts = np.append(0, of_class.hits[:-1] + 1)
    found = np.add.reduceat(weights[:, of_class.images], starts, axis=1).cumsum(axis=1)
    new = weights[:, of_class.images[of_class.hits]]
    right = new.cumsum(axis=1)
    precision = right / np.maximum(found, 1)
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    at_least_one = np.maximum(objects, 1)
    if curve == "voc10":
        return (envelope * new).sum(axis=1) / at_least_one + nothing
    levels = _LEVELS[curve]
    # Levels of recall that each true positive is the first to reach.
    reached = np.searchsorted(levels, right / at_least_one[:, np.newaxis], side="right")
    return (envelope * np.diff(reached, axis=1, prepend=0)).sum(axis=1) / len(levels) + nothing
