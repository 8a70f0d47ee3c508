"""The metrics by their names, and what each counts as right and wrong."""

from collections.abc import Sequence
from typing import Literal, get_args

from detector.data.detection_table import DetectionTable
from detector.data.ground_truth import GroundTruth
from detector.errors import InputError
from detector.evaluation.metrics.bootstrap import Curve
from detector.evaluation.metrics.coco import IOU_THRESHOLDS
from detector.evaluation.metrics.coco_matching import judge_coco
from detector.evaluation.metrics.ilsvrc import Blacklist, judge_ilsvrc
from detector.evaluation.metrics.ranked_matches import RankedMatches, rank_matches
from detector.evaluation.metrics.sizes import ALL
from detector.evaluation.metrics.voc_matching import match_each
from proposals.names import unknown_name

Metric = Literal["voc07", "voc10", "coco", "ilsvrc"]
METRICS: tuple[Metric, ...] = get_args(Metric)
#: Where the metric names none itself.
IOU_THRESHOLD = 0.5


def check_metric(metric: str, blacklist: Blacklist | None = None) -> None:
    """InputError if the metric is unknown, or has no blacklist and one is given."""
    if metric not in METRICS:
        raise InputError(unknown_name("metric", metric, METRICS))
    if blacklist is not None and metric != "ilsvrc":
        raise InputError(f"metric {metric} has no blacklist; ilsvrc has")


def thresholds_of(metric: Metric, given: Sequence[float] | None) -> tuple[float, ...]:
    """The IoU thresholds that are given, each once, or by default the metric's.

    Raises:
        InputError: none is given.
    """
    if given is None:
        return IOU_THRESHOLDS if metric == "coco" else (IOU_THRESHOLD,)
    if not given:
        raise InputError("give at least one IoU threshold")
    return tuple(dict.fromkeys(map(float, given)))


def match_by_metric(
    truth: GroundTruth,
    detections: DetectionTable,
    metric: Metric,
    iou_thresholds: Sequence[float] | None = None,
    blacklist: Blacklist | None = None,
) -> tuple[list[RankedMatches], Curve]:
    """What a metric counts, at each IoU threshold, and how it averages precision: what a bootstrap needs.

    Raises:
        InputError: the metric is unknown, a threshold is wrong, or the detections are those of other images.
    """
    check_metric(metric, blacklist)
    thresholds = thresholds_of(metric, iou_thresholds)
    if metric == "coco":
        return list(judge_coco(truth, detections, thresholds).values()), "coco"
    if metric == "ilsvrc":
        return list(judge_ilsvrc(truth, detections, blacklist, thresholds, {ALL: None}).values()), "voc10"
    matches = match_each(truth, detections, thresholds, {ALL: None})
    return [rank_matches(truth, detections, one) for one in matches.values()], metric
