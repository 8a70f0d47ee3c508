"""All analyses of one set of detections: images, confusion, calibration, sizes, and the stage that loses an object."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np

from detector.data.detection_table import DetectionTable
from detector.data.ground_truth import GroundTruth
from detector.data.predictions import LOWEST_SCORE
from detector.data.traces import COVERED, ObjectTraces
from detector.errors import InputError
from detector.evaluation.errors.tide import ErrorAnalysis, error_kinds
from detector.evaluation.evaluation import DEFAULT_SCORE
from detector.evaluation.metrics.matching import Matches, at_least
from detector.evaluation.metrics.pairs import BoolArray, FloatArray, IntArray, Pairs, best_of_pairs, pairs_of_images
from detector.evaluation.metrics.sizes import SIZES
from detector.evaluation.metrics.voc import APResult, VOCMetric, match_voc, voc_average_precision

ASPECTS = ("tall", "square", "wide")
"""Aspect ratios by width / height: tall below 3/4, wide above 4/3 (TIDE's limits)."""

ASPECT_LIMITS = (3 / 4, 4 / 3)

BINS = 10
"""Number of bins of a reliability diagram."""


class MissReason(IntEnum):
    """Why an object is missed, tested in this order; s is the lowest score of the detections.

    FOUND: a detection of at least s found it.
    SUPPRESSED: a region on it scored at least s for its class, but its detection is gone: removed by non-maximum
        suppression or by a limit on the number of detections, or it counts for an adjacent object.
    MISCLASSIFIED: a proposal covers it (IoU of at least 0.5), but no region on it reached s for its class.
    NOT_PROPOSED: no proposal covers it.
    """

    FOUND = 0
    SUPPRESSED = 1
    MISCLASSIFIED = 2
    NOT_PROPOSED = 3


@dataclass(frozen=True, eq=False, kw_only=True)
class ImageErrors:
    """Errors of the detections of at least a score.

    Attributes:
        found, missed: (N,) bool, objects that count and are found or not.
        false_positive: (D,) bool, by row of the table.
        missed_by_image, false_positives_by_image: (I,) their numbers.
    """

    found: BoolArray
    missed: BoolArray
    false_positive: BoolArray
    missed_by_image: IntArray
    false_positives_by_image: IntArray

    @property
    def errors(self) -> IntArray:
        """(I,) number of missed objects and false positives of each image."""
        return self.missed_by_image + self.false_positives_by_image

    def worst(self, count: int) -> IntArray:
        """Up to `count` images with errors, most errors first; equal ones in the order of the data set."""
        order = np.argsort(-self.errors, kind="stable")[:count]
        return order[self.errors[order] > 0]


class Reliability(NamedTuple):
    """Scores against the share of right detections, in B bins of equal width over 0..1.

    Attributes:
        counts: (B,) detections that count with a score in the bin.
        mean_scores, precision: (B,) their mean score and the share that found an object; NaN for an empty bin.
        expected_error: expected calibration error, the mean difference of the two, weighted by the counts
            (Guo et al., ICML 2017, equation 3); NaN without detections.
    """

    counts: IntArray
    mean_scores: FloatArray
    precision: FloatArray
    expected_error: float


@dataclass(frozen=True, eq=False, kw_only=True)
class Diagnosis:
    """All analyses of one set of detections.

    Attributes:
        matches: at the IoU threshold of `result`.
        score: score threshold of the detections that are shown.
        confusion: see `confusion_matrix`; like `images`, of the detections of at least `score`.
        sizes, aspects: results on the objects of COCO's sizes and of `ASPECTS`.
        reliability: None if the scores are not probabilities.
        miss_reasons, shown_miss_reasons: (N,) int64 `MissReason` at any score and at `score`, -1 for objects that do
            not count; None without traces.
    """

    result: APResult
    matches: Matches
    score: float
    errors: ErrorAnalysis
    confusion: IntArray
    sizes: Mapping[str, APResult]
    aspects: Mapping[str, APResult]
    reliability: Reliability | None
    miss_reasons: IntArray | None
    shown_miss_reasons: IntArray | None
    traces: ObjectTraces | None
    images: ImageErrors


def diagnose(
    truth: GroundTruth,
    detections: DetectionTable,
    *,
    metric: VOCMetric = "voc07",
    iou_threshold: float = 0.5,
    score: float = DEFAULT_SCORE,
    traces: ObjectTraces | None = None,
) -> Diagnosis:
    """Analyze the errors of detections.

    Args:
        metric: `voc07` (11 points) or `voc10` (area).
        iou_threshold: IoU at which a detection finds an object, above 0 and at most 1.
        score: score threshold of the detections that are shown.
        traces: of the objects of `truth`, in its order.

    Raises:
        InputError: the metric or threshold is invalid, or detections or traces are those of other data.
    """
    result = voc_average_precision(truth, detections, metric, iou_threshold)
    matches = match_voc(truth, detections, [iou_threshold])[iou_threshold]
    at_lowest = at_shown = None
    if traces is not None:
        # A run of this detector has no scores below `LOWEST_SCORE`; detections from a file may.
        lowest = float(detections.scores.min(initial=LOWEST_SCORE))
        at_lowest, at_shown = (_miss_reasons(matches, traces, least) for least in (lowest, score))
    objects, boxes = _aspects(truth.sides), _aspects(detections.sides)
    aspects = {name: matches.within(objects == i, boxes == i) for i, name in enumerate(ASPECTS)}
    return Diagnosis(
        result=result,
        matches=matches,
        score=score,
        errors=error_kinds(matches, metric, iou_threshold),
        confusion=confusion_matrix(matches, score, iou_threshold),
        sizes={size: APResult.of(matches.of_size(size), metric, iou_threshold) for size in SIZES},
        aspects={name: APResult.of(subset, metric, iou_threshold) for name, subset in aspects.items()},
        reliability=reliability(matches),
        miss_reasons=at_lowest,
        shown_miss_reasons=at_shown,
        traces=traces,
        images=image_errors(matches, score),
    )


def image_errors(matches: Matches, score: float) -> ImageErrors:
    """Count the errors of every image at a score threshold."""
    truth, detections = matches.truth, matches.detections
    images = len(truth.image_ids)
    found = matches.found(score)
    missed = matches.counted & ~found
    wrong = matches.false_positive & at_least(detections.scores, score)
    return ImageErrors(
        found=found,
        missed=missed,
        false_positive=wrong,
        missed_by_image=np.bincount(truth.images[missed], minlength=images),
        false_positives_by_image=np.bincount(detections.images[wrong], minlength=images),
    )


def confusion_matrix(matches: Matches, score: float, iou_threshold: float = 0.5) -> IntArray:
    """(C + 1, C + 1) int64: which class is mistaken for which, among the detections of at least `score`.

    Row: class of an object. Column: class of its detection. The last column counts objects without a detection, the
    last row detections without an object. A row's sum is the number of objects of a class, a column's that of its
    detections, of those that count.

    Class-aware: an object that is found in its own class is right, whatever else lies on it, so the diagonal holds the
    true positives that average precision counts. A false positive then belongs to the object of another class that it
    overlaps most, among those not found, if their IoU reaches `iou_threshold`; each object takes the false positive of
    highest score. The remaining false positives are background.

    The usual matrices (Ultralytics, hotcoco) match regardless of class at first, so a detection of a wrong class with a
    higher score takes an object from the right one, and their diagonal disagrees with the true positives of average
    precision. They do not handle difficult objects either.
    """
    truth, detections, counted = matches.truth, matches.detections, matches.counted
    background = len(truth.class_names)
    found = matches.found(score)
    predicted = np.full(len(truth), background)  # by object
    predicted[found] = truth.labels[found]

    wrong = np.flatnonzero(at_least(detections.scores, score) & matches.false_positive)
    wrong = wrong[np.lexsort((detections.images[wrong], -detections.scores[wrong]))]
    table = detections[wrong]

    def confused(pairs: Pairs) -> Pairs:
        other_class = truth.labels[pairs.objects] != table.labels[pairs.detections]
        return pairs[(counted & ~found)[pairs.objects] & other_class & (pairs.overlaps >= iou_threshold)]

    best, _ = best_of_pairs(map(confused, pairs_of_images(truth, table, any_class=True)), len(wrong))
    taken, first = np.unique(best, return_index=True)
    takers = first[taken >= 0]
    predicted[taken[taken >= 0]] = table.labels[takers]

    matrix = np.zeros((background + 1, background + 1), np.int64)
    np.add.at(matrix, (truth.labels[counted], predicted[counted]), 1)
    matrix[background, :-1] = np.bincount(np.delete(table.labels, takers), minlength=background)
    return matrix


def most_frequent(diagnosis: Diagnosis, count: int) -> list[tuple[str, str, int]]:
    """The pairs of a class and the class that it is mistaken for, with their number; most frequent first."""
    mistakes = diagnosis.confusion[:-1, :-1].copy()
    np.fill_diagonal(mistakes, 0)
    # Stable: equal numbers in the order of the classes.
    order = np.argsort(-mistakes, axis=None, kind="stable")[:count]
    names = list(diagnosis.result.classes)
    pairs = zip(*np.unravel_index(order, mistakes.shape), strict=True)
    return [(names[row], names[column], int(mistakes[row, column])) for row, column in pairs if mistakes[row, column]]


def reliability(matches: Matches) -> Reliability | None:
    """The calibration of the scores; None if a score lies outside 0..1, so that scores are not probabilities.

    Detections of low scores matter least for average precision but are by far the most, so they dominate the expected
    error; the bins show the rest.
    """
    scores, right = matches.detections.scores[matches.counts], matches.true_positive[matches.counts]
    if ((scores < 0) | (scores > 1)).any():
        return None
    # A score of exactly 1 belongs to the last bin.
    index = np.minimum((scores * BINS).astype(np.int64), BINS - 1)
    number = np.bincount(index, minlength=BINS)
    with np.errstate(invalid="ignore"):
        mean_scores = np.bincount(index, scores, minlength=BINS) / number
        precision = np.bincount(index, right, minlength=BINS) / number
    gaps = np.nan_to_num(np.abs(mean_scores - precision))
    error = float((gaps * number).sum() / number.sum()) if len(scores) else float("nan")
    return Reliability(number, mean_scores, precision, error)


def _aspects(sides: FloatArray) -> IntArray:
    """(N,) index into `ASPECTS` of boxes by their (N, 2) width and height; both limits are square."""
    with np.errstate(divide="ignore", invalid="ignore"):  # a detection may have no height, or be a point
        ratio = sides[:, 0] / sides[:, 1]
    return (ratio >= ASPECT_LIMITS[0]).astype(np.int64) + (ratio > ASPECT_LIMITS[1])


def _miss_reasons(matches: Matches, traces: ObjectTraces, score: float) -> IntArray:
    """(N,) the `MissReason` of every object at a lowest score, -1 for those that do not count."""
    count = len(matches.truth)
    if len(traces) != count:
        raise InputError(f"traces of {len(traces)} objects, but the ground truth has {count}; trace the same data")
    reasons = np.select(
        [
            matches.found(score),
            (traces.region_scores > 0) & at_least(traces.region_scores, score),
            traces.proposal_overlaps >= COVERED,
        ],
        [MissReason.FOUND, MissReason.SUPPRESSED, MissReason.MISCLASSIFIED],
        MissReason.NOT_PROPOSED,
    )
    return np.where(matches.counted, reasons, -1)


def count_reasons(reasons: IntArray, groups: IntArray | None = None, number: int = 1) -> IntArray:
    """(number, 4) objects by group and reason; `groups` (N,) int64 in 0..number - 1, all 0 by default."""
    counted = reasons >= 0
    group = np.zeros(len(reasons), np.int64) if groups is None else groups
    cells = group[counted] * len(MissReason) + reasons[counted]
    return np.bincount(cells, minlength=number * len(MissReason)).reshape(number, len(MissReason))
