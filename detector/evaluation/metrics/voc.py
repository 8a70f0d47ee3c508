"""Average precision as PASCAL VOC defines it, in its two versions.

`voc07` (VOC 2007 to 2009), 11 points: the mean of the highest precision at recall 0, 0.1, ... 1 or beyond.
`voc10` (from 2010 on), area: the area under the curve of the highest precision at each recall or beyond.
Source: Everingham et al., IJCV 2010, section 4.2, and the development kits' VOCevaldet.m.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from detector.data.detection_table import DetectionTable, check_same_data
from detector.data.ground_truth import GroundTruth
from detector.errors import InputError
from detector.evaluation.metrics.matching import (
    BoolArray,
    FloatArray,
    IntArray,
    Matches,
    RankedMatches,
    at_least,
    best_of_pairs,
    by_area,
    check_threshold,
    counted_objects,
    pairs_of_a_class,
    rank,
    rank_matches,
)
from detector.evaluation.metrics.sizes import ALL, AreaRange
from proposals.names import unknown_name

VOCMetric = Literal["voc07", "voc10"]
VOC_METRICS: tuple[VOCMetric, ...] = get_args(VOCMetric)

VOC07_RECALL_LEVELS = np.arange(11) * 0.1
"""0, 0.1, ... 1. In floating point 3 * 0.1, 6 * 0.1 and 7 * 0.1 lie one bit above 0.3, 0.6 and 0.7, so a recall of
exactly 3/10, 6/10 or 7/10 does not reach its level. Kept on purpose: the evaluators in use do the same
(np.arange(0, 1.1, 0.1) and np.linspace(0, 1, 11) give these numbers), and published results depend on it."""


@dataclass(frozen=True, eq=False)
class ClassResult:
    """The result of one class.

    Attributes:
        ap: average precision, 0 to 1; NaN if the images hold no object of the class that counts.
        objects: number of objects that count.
        scores: (D,) float64, scores of the detections that count, from the highest to the lowest.
        true_positive: (D,) bool, which of them find an object.
    """

    ap: float
    objects: int
    scores: FloatArray
    true_positive: BoolArray

    @property
    def precision(self) -> FloatArray:
        """(D,) share of true positives among the first 1, 2, ... D detections."""
        return np.cumsum(self.true_positive) / np.arange(1, len(self.true_positive) + 1)

    @property
    def recall(self) -> FloatArray:
        """(D,) share of the objects that the first 1, 2, ... D detections find; NaN without objects."""
        if self.objects == 0:
            return np.full(len(self.true_positive), np.nan)
        return np.cumsum(self.true_positive) / self.objects


class OverClasses:
    """Figures over all classes of a result that has `classes`."""

    classes: Mapping[str, ClassResult]

    @property
    def ap(self) -> dict[str, float]:
        """Average precision by class, 0 to 1; NaN for a class without objects."""
        return {name: result.ap for name, result in self.classes.items()}

    @property
    def mean_ap(self) -> float:
        """mAP: the mean over the classes that have objects, 0 to 1; NaN if no class has any."""
        values = [result.ap for result in self.classes.values() if result.objects]
        return float(np.mean(values)) if values else float("nan")

    def at_score(self, score: float) -> tuple[float, float]:
        """Precision and recall over all classes of the detections that score at least `score`.

        NaN where there is no such detection (precision) or no object (recall).
        """
        shown = [at_least(c.scores, score) for c in self.classes.values()]
        kept = sum(map(np.count_nonzero, shown))
        hits = sum(np.count_nonzero(c.true_positive[s]) for c, s in zip(self.classes.values(), shown, strict=True))
        objects = sum(c.objects for c in self.classes.values())
        return hits / kept if kept else float("nan"), hits / objects if objects else float("nan")

    def best_score(self) -> float:
        """The score threshold with the highest F1, the harmonic mean of precision and recall, over all classes.

        NaN if no detection finds an object.
        """
        scores = np.concatenate([c.scores for c in self.classes.values()])
        hits = np.concatenate([c.true_positive for c in self.classes.values()])
        if not hits.any():
            return float("nan")
        order = np.argsort(-scores, kind="stable")
        ends = np.append(np.diff(scores[order]) != 0, True)  # detections of equal score are shown together
        objects = sum(c.objects for c in self.classes.values())
        f1 = 2 * np.cumsum(hits[order]) / (np.arange(1, len(hits) + 1) + objects)
        return float(scores[order][ends][np.argmax(f1[ends])])


@dataclass(frozen=True, eq=False)
class VOCResult(OverClasses):
    """Average precision by class; see `voc_average_precision`."""

    metric: VOCMetric
    iou_threshold: float
    classes: Mapping[str, ClassResult]


def voc_average_precision(
    truth: GroundTruth,
    detections: DetectionTable,
    metric: VOCMetric = "voc07",
    iou_threshold: float = 0.5,
    area_range: AreaRange | None = None,
) -> VOCResult:
    """Average precision of `detections`.

    `match_detections` describes the matching, difficult objects, equal scores and the convention for boxes.

    Args:
        detections: down to the lowest score that should count.
        metric: `voc07` (11 points) or `voc10` (area).
        iou_threshold: IoU at which a detection finds an object, above 0 and at most 1.
        area_range: lowest and highest area to evaluate, in square pixels; all areas by default.

    Raises:
        InputError: the metric is unknown, or `match_detections` raises it.
    """
    return voc_average_precisions(truth, detections, metric, [iou_threshold], {ALL: area_range})[iou_threshold, ALL]


def voc_average_precisions(
    truth: GroundTruth,
    detections: DetectionTable,
    metric: VOCMetric,
    iou_thresholds: Sequence[float],
    area_ranges: Mapping[str, AreaRange | None],
) -> dict[tuple[float, str], VOCResult]:
    """`voc_average_precision` by IoU threshold and name of the area range; IoUs are computed once.

    `sizes.AREA_RANGES` has COCO's ranges.
    """
    if metric not in VOC_METRICS:
        raise InputError(unknown_name("metric", metric, VOC_METRICS))
    return {
        (threshold, size): VOCResult(
            metric, threshold, class_results(rank_matches(truth, detections, matches, area_ranges[size]), metric)
        )
        for (threshold, size), matches in match_voc(truth, detections, iou_thresholds, area_ranges).items()
    }


def match_detections(
    truth: GroundTruth, detections: DetectionTable, iou_threshold: float = 0.5, area_range: AreaRange | None = None
) -> Matches:
    """Match detections with annotated objects by VOC's rule (VOCevaldet.m).

    A detection takes the object of its class and image with the highest IoU (the first of equal ones) if that IoU
    reaches `iou_threshold`. If the object is difficult or a crowd, the detection is ignored. Otherwise the first
    detection in order of score that takes an object is a true positive and each later one a false positive, even if
    another object is still free.

    VOC computes IoU on inclusive boxes, with a width of xmax - xmin + 1. Boxes here have an exclusive right and
    bottom, x1 = xmin - 1 and x2 = xmax, so x2 - x1 is that same width and the intersection is the same too. With whole
    pixels the IoU equals VOC's to the last bit; with fractional ones xmin - 1 may be rounded, which can change the
    outcome of an IoU exactly at the threshold. Readers bring boxes of any other source to this convention.

    Args:
        iou_threshold: IoU at which a detection finds an object, above 0 and at most 1.
        area_range: lowest and highest area to evaluate, in square pixels; VOC evaluates all. As in COCO's metric,
            objects of another area are ignored like difficult ones, and so are false positives of another area.

    Raises:
        InputError: the threshold or the range is invalid, or the detections refer to other images or classes.
    """
    return match_voc(truth, detections, [iou_threshold], {ALL: area_range})[iou_threshold, ALL]


def match_voc(
    truth: GroundTruth,
    detections: DetectionTable,
    iou_thresholds: Sequence[float],
    area_ranges: Mapping[str, AreaRange | None],
) -> dict[tuple[float, str], Matches]:
    """`match_detections` by IoU threshold and name of the area range; IoUs are computed once."""
    for threshold in iou_thresholds:
        check_threshold(threshold)
    check_same_data(truth, detections)
    order = rank(detections)
    # Computed in the order of the table, mostly that of the images: in order of score each access would miss the cache.
    best, overlaps = best_of_pairs(pairs_of_a_class(truth, detections), len(order))
    best, overlaps = best[order], overlaps[order]
    counted = counted_objects(truth)
    matches = {}
    for threshold in iou_thresholds:
        objects = np.where(overlaps >= threshold, best, -1)
        takers = np.flatnonzero(objects >= 0)
        counts = np.ones(len(order), dtype=bool)
        counts[takers] = counted[objects[takers]]
        _, first = np.unique(objects[takers], return_index=True)
        true_positive = np.zeros(len(order), dtype=bool)
        true_positive[takers[first]] = True
        matches[threshold] = Matches(order, objects, true_positive & counts, counts)
    return by_area(truth, detections, matches, area_ranges)


def class_results(matches: RankedMatches, metric: VOCMetric) -> dict[str, ClassResult]:
    """The result of each class, by its name."""
    objects = np.bincount(matches.object_labels, minlength=len(matches.class_names))
    classes = {}
    rows_by_class = _rows_by_class(matches.labels, len(objects))
    for name, count, rows in zip(matches.class_names, objects.tolist(), rows_by_class, strict=True):
        hits = matches.true_positive[rows]
        classes[name] = ClassResult(average_precision(hits, count, metric), count, matches.scores[rows], hits)
    return classes


def class_average_precision(
    labels: IntArray, true_positive: BoolArray, objects: IntArray, metric: VOCMetric
) -> FloatArray:
    """(C,) average precision of each class, NaN without objects.

    Args:
        labels, true_positive: (D,) of the detections that count, from the highest score to the lowest.
        objects: (C,) number of objects of each class.
    """
    rows_by_class = _rows_by_class(labels, len(objects))
    return np.array(
        [
            average_precision(true_positive[rows], int(count), metric)
            for rows, count in zip(rows_by_class, objects, strict=True)
        ]
    )


def _rows_by_class(labels: IntArray, classes: int) -> list[IntArray]:
    ends = np.cumsum(np.bincount(labels, minlength=classes))
    return np.split(np.argsort(labels, kind="stable"), ends[:-1])


def average_precision(true_positive: BoolArray, objects: int, metric: VOCMetric) -> float:
    """Average precision of one class from its detections in order of score; NaN without objects."""
    if objects == 0:
        return float("nan")
    hits = np.cumsum(true_positive)
    precision = hits / np.arange(1, len(hits) + 1)
    # The highest precision at this recall or beyond.
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    if metric == "voc10":
        # Recall grows by 1 / objects at each true positive and is constant elsewhere.
        return float(envelope[true_positive].sum() / objects)
    reached = np.searchsorted(hits / objects, VOC07_RECALL_LEVELS, side="left")
    return float(np.append(envelope, 0.0)[reached].sum() / 11)
