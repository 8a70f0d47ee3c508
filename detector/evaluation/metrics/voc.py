"""Average precision as PASCAL VOC defines it, in its two versions.

`voc07` (VOC 2007 to 2009), 11 points: the mean of the highest precision at recall 0, 0.1, ... 1 or beyond.
`voc10` (from 2010 on), area: the area under the curve of the highest precision at each recall or beyond it.
Source: Everingham et al., IJCV 2010, section 4.2, and the development kits' VOCevaldet.m.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from detector.data.detection_table import DetectionTable
from detector.data.ground_truth import GroundTruth
from detector.errors import InputError
from detector.evaluation.metrics.ranked_matches import RankedMatches, rank_matches
from detector.evaluation.metrics.sizes import ALL, AreaRange
from detector.evaluation.metrics.voc_matching import match_each
from proposals.names import unknown_name

VOCMetric = Literal["voc07", "voc10"]
VOC_METRICS: tuple[VOCMetric, ...] = get_args(VOCMetric)

# In floating point 3 * 0.1, 6 * 0.1 and 7 * 0.1 lie one bit above 0.3, 0.6 and 0.7, so that a recall of
# exactly 3/10, 6/10 or 7/10 does not reach its level. Kept on purpose: the evaluators in use do the same
# (np.arange(0, 1.1, 0.1) and np.linspace(0, 1, 11) give these numbers), and published results rest on it.
VOC07_RECALL_LEVELS = np.arange(11) * 0.1


@dataclass(frozen=True, eq=False)
class ClassResult:
    """The result of one class.

    Attributes:
        ap: average precision, 0 to 1; NaN if the images hold no object of the class (that is not difficult).
        objects: number of objects that are not difficult.
        scores: (D,) float64, scores of the detections that count, from the highest to the lowest.
        true_positive: (D,) bool, which of them find an object.
    """

    ap: float
    objects: int
    scores: npt.NDArray[np.float64]
    true_positive: npt.NDArray[np.bool_]

    @property
    def precision(self) -> npt.NDArray[np.float64]:
        """(D,) share of true positives among the first 1, 2, ... D detections."""
        return np.cumsum(self.true_positive) / np.arange(1, len(self.true_positive) + 1)

    @property
    def recall(self) -> npt.NDArray[np.float64]:
        """(D,) share of the objects that the first 1, 2, ... D detections find; NaN without objects."""
        if self.objects == 0:
            return np.full(len(self.true_positive), np.nan)
        return np.cumsum(self.true_positive) / self.objects


class OverClasses:
    """Numbers of all classes, of a result that has `classes`."""

    classes: Mapping[str, ClassResult]

    @property
    def ap(self) -> dict[str, float]:
        """Average precision by class, 0 to 1; NaN for a class without objects."""
        return {name: result.ap for name, result in self.classes.items()}

    @property
    def mean_ap(self) -> float:
        """mAP: the mean over the classes that have objects, 0 to 1; NaN if none has."""
        values = [result.ap for result in self.classes.values() if result.objects]
        return float(np.mean(values)) if values else float("nan")

    def at_score(self, score: float) -> tuple[float, float]:
        """Precision and recall of the detections that score at least `score`, of all classes together.

        NaN where there is no such detection (precision) or no object (recall).
        """
        shown = [at_least(c.scores, score) for c in self.classes.values()]
        kept = sum(map(np.count_nonzero, shown))
        hits = sum(np.count_nonzero(c.true_positive[s]) for c, s in zip(self.classes.values(), shown, strict=True))
        objects = sum(c.objects for c in self.classes.values())
        return hits / kept if kept else float("nan"), hits / objects if objects else float("nan")

    def best_score(self) -> float:
        """The score of the best F1: of the detections that score at least that, of all classes together, the harmonic
        mean of precision and recall is highest. NaN where nothing is found."""
        scores = np.concatenate([c.scores for c in self.classes.values()])
        hits = np.concatenate([c.true_positive for c in self.classes.values()])
        if not hits.any():
            return float("nan")
        order = np.argsort(-scores, kind="stable")
        ends = np.append(np.diff(scores[order]) != 0, True)  # of detections of one score all are shown, or none
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

    How detections are matched to objects, and how difficult objects, equal scores and the borders of the
    boxes are treated, is told at `matching.match_detections`.

    Args:
        detections: down to the lowest score that is to count.
        metric: `voc07` (11 points) or `voc10` (area).
        iou_threshold: IoU from which a detection finds an object, above 0 and at most 1.
        area_range: lowest and highest area that is judged, in square pixels; all areas by default.

    Raises:
        InputError: the metric is unknown, or what `matching.match_detections` refuses.
    """
    return voc_average_precisions(truth, detections, metric, [iou_threshold], {ALL: area_range})[iou_threshold, ALL]


def voc_average_precisions(
    truth: GroundTruth,
    detections: DetectionTable,
    metric: VOCMetric,
    iou_thresholds: Sequence[float],
    area_ranges: Mapping[str, AreaRange | None],
) -> dict[tuple[float, str], VOCResult]:
    """`voc_average_precision` by IoU threshold and name of the area range, with the IoUs measured only once.

    `sizes.AREA_RANGES` has COCO's ranges.
    """
    if metric not in VOC_METRICS:
        raise InputError(unknown_name("metric", metric, VOC_METRICS))
    return {
        (threshold, size): VOCResult(
            metric, threshold, class_results(rank_matches(truth, detections, matches, area_ranges[size]), metric)
        )
        for (threshold, size), matches in match_each(truth, detections, iou_thresholds, area_ranges).items()
    }


def class_results(judged: RankedMatches, metric: VOCMetric) -> dict[str, ClassResult]:
    """The result of each class, by its name."""
    count = len(judged.class_names)
    objects = np.bincount(judged.object_labels, minlength=count)
    by_class = np.argsort(judged.labels, kind="stable")
    ends = np.cumsum(np.bincount(judged.labels, minlength=count))
    classes = {}
    for name, total, rows in zip(judged.class_names, objects.tolist(), np.split(by_class, ends[:-1]), strict=True):
        hits = judged.true_positive[rows]
        classes[name] = ClassResult(average_precision(hits, total, metric), total, judged.scores[rows], hits)
    return classes


def at_least(scores: npt.NDArray[np.float64], score: float) -> npt.NDArray[np.bool_]:
    """Which scores reach `score`, compared as 32-bit numbers, which a detector's are: as such 0.7 is at least 0.7."""
    return scores.astype(np.float32) >= np.float32(score)


def average_precision(true_positive: npt.NDArray[np.bool_], objects: int, metric: VOCMetric) -> float:
    """Average precision of one class from its detections in order of score; NaN without objects."""
    if objects == 0:
        return float("nan")
    hits = np.cumsum(true_positive)
    precision = hits / np.arange(1, len(hits) + 1)
    # The highest precision at this recall or beyond it.
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    if metric == "voc10":
        # Recall grows by 1 / objects at each true positive and stands still elsewhere.
        return float(envelope[true_positive].sum() / objects)
    reached = np.searchsorted(hits / objects, VOC07_RECALL_LEVELS, side="left")
    return float(np.append(envelope, 0.0)[reached].sum() / 11)
