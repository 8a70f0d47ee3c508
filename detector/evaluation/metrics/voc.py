"""Average precision as PASCAL VOC defines it, in its two versions.

`voc07` (VOC 2007 to 2009), 11 points: the mean of the highest precision at recall 0, 0.1, ... 1 or beyond.
`voc10` (from 2010 on), area: the area under the curve of the highest precision at each recall or beyond.
Source: Everingham et al., IJCV 2010, section 4.2, and the development kits' VOCevaldet.m.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Self, get_args

import numpy as np

from detector.data.detection_table import DetectionTable
from detector.data.ground_truth import GroundTruth
from detector.errors import InputError
from detector.evaluation.metrics.formatting import mean_of_known
from detector.evaluation.metrics.matching import Matches, at_least, check_input, counted_objects, rank
from detector.evaluation.metrics.pairs import BoolArray, FloatArray, IntArray, best_of_pairs, pairs_of_images
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


@dataclass(frozen=True, eq=False)
class APResult:
    """Average precision by class.

    Attributes:
        metric: `voc07`, `voc10` or `ilsvrc`.
        iou_threshold: IoU at which a detection finds an object; ILSVRC's is that of large objects.
        classes: by name.
    """

    metric: str
    iou_threshold: float
    classes: Mapping[str, ClassResult]

    @classmethod
    def of(cls, matches: Matches, metric: str, iou_threshold: float) -> Self:
        """From the matches at the threshold."""
        rows = matches.ranked
        classes = {}
        counts, by_class = matches.objects.tolist(), _by_class(matches.detections.labels[rows], len(matches.objects))
        for name, count, chosen in zip(matches.truth.class_names, counts, by_class, strict=True):
            hits = matches.true_positive[rows[chosen]]
            ap = average_precision(hits, count, metric)
            classes[name] = ClassResult(ap, count, matches.detections.scores[rows[chosen]], hits)
        return cls(metric, iou_threshold, classes)

    @property
    def ap(self) -> dict[str, float]:
        """Average precision by class, 0 to 1; NaN for a class without objects."""
        return {name: result.ap for name, result in self.classes.items()}

    @property
    def mean_ap(self) -> float:
        """mAP: the mean over the classes that have objects, 0 to 1; NaN if no class has any."""
        return mean_of_known(np.array(list(self.ap.values())))

    @property
    def median_ap(self) -> float:
        """The median over the classes that have objects, which ILSVRC's development kit prints beside the mean."""
        values = [result.ap for result in self.classes.values() if result.objects]
        return float(np.median(values)) if values else float("nan")

    def at_score(self, score: float) -> tuple[float, float]:
        """Precision and recall over all classes of the detections that score at least `score`.

        NaN where there is no such detection (precision) or no object (recall).
        """
        shown = [c.true_positive[at_least(c.scores, score)] for c in self.classes.values()]
        kept, hits = sum(map(len, shown)), sum(map(np.count_nonzero, shown))
        objects = sum(c.objects for c in self.classes.values())
        return hits / kept if kept else float("nan"), hits / objects if objects else float("nan")

    def f1_by_score(self) -> tuple[FloatArray, FloatArray]:
        """The scores of the detections, each once, the highest first, and F1 over all classes with each as the lowest
        score to show: the harmonic mean of precision and recall."""
        scores = np.concatenate([c.scores for c in self.classes.values()])
        hits = np.concatenate([c.true_positive for c in self.classes.values()])
        order = np.argsort(-scores, kind="stable")
        ends = np.diff(scores[order], append=-np.inf) != 0  # detections of equal score are shown together
        objects = sum(c.objects for c in self.classes.values())
        f1 = 2 * np.cumsum(hits[order]) / (np.arange(1, len(hits) + 1) + objects)
        return scores[order][ends], f1[ends]

    def best_score(self) -> float:
        """The lowest score to show that gives the highest F1; NaN if no detection finds an object."""
        scores, f1 = self.f1_by_score()
        return float(scores[np.argmax(f1)]) if f1.any() else float("nan")


def voc_average_precision(
    truth: GroundTruth, detections: DetectionTable, metric: VOCMetric = "voc07", iou_threshold: float = 0.5
) -> APResult:
    """Average precision of `detections`; see `match_voc` for the matching.

    Args:
        detections: down to the lowest score that should count.
        metric: `voc07` (11 points) or `voc10` (area).
        iou_threshold: IoU at which a detection finds an object, above 0 and at most 1.

    Raises:
        InputError: the metric is unknown, or `match_voc` raises it.
    """
    if metric not in VOC_METRICS:
        raise InputError(unknown_name("metric", metric, VOC_METRICS))
    return APResult.of(match_voc(truth, detections, [iou_threshold])[iou_threshold], metric, iou_threshold)


def match_voc(
    truth: GroundTruth, detections: DetectionTable, iou_thresholds: Sequence[float] = (0.5,)
) -> dict[float, Matches]:
    """Match detections with annotated objects by VOC's rule (VOCevaldet.m), at each IoU threshold.

    A detection takes the object of its class and image with the highest IoU (the first of equal ones) if that IoU
    reaches the threshold. If the object is difficult or a crowd, the detection is ignored. Otherwise the first
    detection in order of score that takes an object is a true positive and each later one a false positive, even if
    another object is still free.

    VOC computes IoU on inclusive boxes, with a width of xmax - xmin + 1. Boxes here have an exclusive right and
    bottom, x1 = xmin - 1 and x2 = xmax, so x2 - x1 is that same width and the intersection is the same too. With whole
    pixels the IoU equals VOC's to the last bit; with fractional ones xmin - 1 may be rounded, which can change the
    outcome of an IoU exactly at the threshold. Readers bring boxes of any other source to this convention.

    Raises:
        InputError: a threshold is not above 0 and at most 1, or the detections refer to other images or classes.
    """
    check_input(truth, detections, iou_thresholds)
    order, counted = rank(detections), counted_objects(truth)
    best, overlaps = best_of_pairs(pairs_of_images(truth, detections), len(detections))
    matches = {}
    for threshold in iou_thresholds:
        taken = np.where(overlaps >= threshold, best, -1)
        takers = order[taken[order] >= 0]
        counts = np.ones(len(order), dtype=bool)
        counts[takers] = counted[taken[takers]]
        _, first = np.unique(taken[takers], return_index=True)
        true_positive = np.zeros(len(order), dtype=bool)
        true_positive[takers[first]] = True
        matches[threshold] = Matches(truth, detections, order, taken, true_positive & counts, counts, counted)
    return matches


def class_average_precision(labels: IntArray, true_positive: BoolArray, objects: IntArray, metric: str) -> FloatArray:
    """(C,) average precision of each class, NaN without objects.

    Args:
        labels, true_positive: (D,) of the detections that count, from the highest score to the lowest.
        objects: (C,) number of objects of each class.
    """
    pairs = zip(_by_class(labels, len(objects)), objects.tolist(), strict=True)
    return np.array([average_precision(true_positive[rows], count, metric) for rows, count in pairs])


def _by_class(labels: IntArray, classes: int) -> list[IntArray]:
    ends = np.cumsum(np.bincount(labels, minlength=classes))
    return np.split(np.argsort(labels, kind="stable"), ends[:-1])


def average_precision(true_positive: BoolArray, objects: int, metric: str) -> float:
    """Average precision of one class from its detections in order of score; NaN without objects.

    Args:
        metric: `voc07` has 11 points, any other the area.
    """
    if objects == 0:
        return float("nan")
    hits = np.cumsum(true_positive)
    precision = hits / np.arange(1, len(hits) + 1)
    # The highest precision at this recall or beyond.
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    if metric != "voc07":
        # Recall grows by 1 / objects at each true positive and is constant elsewhere.
        return float(envelope[true_positive].sum() / objects)
    reached = np.searchsorted(hits / objects, VOC07_RECALL_LEVELS, side="left")
    return float(np.append(envelope, 0.0)[reached].sum() / 11)
