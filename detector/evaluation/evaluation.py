"""A metric chosen by name, evaluated by class, size and IoU, with the time and the failures of the run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from detector.data.blacklist import Blacklist
from detector.data.detection_table import DetectionTable
from detector.data.ground_truth import GroundTruth
from detector.errors import InputError
from detector.evaluation.metrics.coco import IOU_THRESHOLDS, COCOResult, coco_average_precision, match_coco
from detector.evaluation.metrics.formatting import number, percent
from detector.evaluation.metrics.ilsvrc import match_ilsvrc
from detector.evaluation.metrics.localization import LocalizationResult, best_of_classes, localization_error
from detector.evaluation.metrics.matching import Matches
from detector.evaluation.metrics.sizes import SIZES
from detector.evaluation.metrics.voc import APResult, match_voc
from proposals.names import unknown_name

Metric = Literal["voc07", "voc10", "coco", "ilsvrc", "clsloc"]
METRICS: tuple[Metric, ...] = get_args(Metric)
OBJECT_METRICS: tuple[Metric, ...] = ("voc07", "voc10", "coco", "ilsvrc")
"""Those that match objects with detections; `clsloc` is about whole images."""

IOU_THRESHOLD = 0.5
"""The default threshold of every metric but COCO's."""

DEFAULT_SCORE = 0.5
"""Score threshold of the detections that are shown, and of precision and recall."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Evaluation:
    """The result of a detector on a data set.

    Attributes:
        result: over all sizes; for VOC's and ILSVRC's metrics at the first IoU threshold; for `clsloc` its errors.
        images: number of images evaluated, including those that failed.
        by_iou, by_size: for VOC's and ILSVRC's metrics the results at each IoU threshold and of each size (at the
            first threshold); empty for COCO's, whose result includes them.
        data: name of the data for the reader: a split, a file.
        seconds_per_image: mean wall-clock time from a decoded image to its detections; None if unknown.
        failed: image id and error of the images without a prediction; their objects count as not found.
        notes: lines for the reader, such as classes that are not evaluated and detections that are ignored.
    """

    result: APResult | COCOResult | LocalizationResult
    images: int
    by_iou: Mapping[float, APResult]
    by_size: Mapping[str, APResult]
    data: str
    seconds_per_image: float | None
    failed: Mapping[str, str]
    notes: Sequence[str]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON.

        `mAP`, `AP` (by class), `precision` and `recall` are fractions 0 to 1. `AP` is None for a class without objects,
        which is excluded from `mAP`. `precision` and `recall` are over all classes at `score_threshold`, for objects
        that count. COCO's metric has its twelve numbers instead (`COCOResult.to_dict`), `clsloc` its errors
        (`LocalizationResult.to_dict`).
        """
        content: dict[str, Any] = {"split": self.data, "images": self.images}
        if not isinstance(self.result, APResult):
            content |= self.result.to_dict()
        else:
            precision, recall = self.result.at_score(DEFAULT_SCORE)
            content |= {
                "metric": self.result.metric,
                "iou_threshold": self.result.iou_threshold,
                **_plain(self.result),
                "objects": {name: result.objects for name, result in self.result.classes.items()},
                "by_size": {size: _plain(result) for size, result in self.by_size.items()},
                "by_iou": {f"{iou:g}": _plain(result) for iou, result in self.by_iou.items()},
                "score_threshold": DEFAULT_SCORE,
                "precision": number(precision),
                "recall": number(recall),
            }
        return content | {
            "seconds_per_image": self.seconds_per_image,
            "failed": dict(self.failed),
            "notes": list(self.notes),
        }

    def table(self) -> str:
        """The result as text, in percent."""
        lines = [self._table(self.result) if isinstance(self.result, APResult) else self.result.table()]
        if self.seconds_per_image is not None:
            lines.append(f"{self.seconds_per_image:.3f} seconds per image")
        if self.failed:
            lines.append(f"images that failed: {len(self.failed)}; their objects count as not found")
        return "\n".join([*lines, *self.notes])

    def _table(self, result: APResult) -> str:
        classes = result.classes
        width = max(len(name) for name in [*classes, "class"])
        rows = [(name, c.objects, len(c.scores), c.ap) for name, c in classes.items()]
        rows.append(("mAP", sum(row[1] for row in rows), sum(row[2] for row in rows), result.mean_ap))
        lines = [f"{'class':{width}}  objects  detections   AP %"]
        lines += [f"{name:{width}}  {objects:7}  {count:10}  {percent(ap):>5}" for name, objects, count, ap in rows]
        lines.append("")
        if absent := [name for name, c in classes.items() if not c.objects]:
            lines.append(f"excluded from the mAP, without objects: {', '.join(absent)}")
        of = f" of {self.data}" if self.data else ""
        lines.append(f"metric {result.metric} at IoU {result.iou_threshold:g}; {self.images} images{of}")
        if len(self.by_iou) > 1:
            lines.append("mAP at IoU " + ", ".join(f"{i:g}: {percent(r.mean_ap)}" for i, r in self.by_iou.items()))
        lines.append("mAP of objects: " + ", ".join(f"{s} {percent(r.mean_ap)}" for s, r in self.by_size.items()))
        if result.metric == "ilsvrc":
            lines.append(f"median of the classes {percent(result.median_ap)}")
        precision, recall = map(percent, result.at_score(DEFAULT_SCORE))
        lines.append(f"at score {DEFAULT_SCORE:g}, all classes: precision {precision} %, recall {recall} %")
        return "\n".join(lines)


def evaluate(
    truth: GroundTruth,
    detections: DetectionTable,
    metric: Metric = "voc07",
    iou_thresholds: Sequence[float] | None = None,
    blacklist: Blacklist | None = None,
    *,
    data: str = "",
    seconds_per_image: float | None = None,
    failed: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
) -> Evaluation:
    """Evaluate detections in the images of a data set.

        predictions = predict(detector, truth, folder)
        evaluate(truth, detection_table(truth, predictions), "voc07", failed=failures(predictions)).table()

    Args:
        metric: `voc07` (11 points), `voc10` (area), `coco`, `ilsvrc`, or `clsloc`: the error of ILSVRC's task of
            classification and localization, whose guesses are the best detections of an image's five best classes.
        iou_thresholds: 0.5 by default; for `coco` 0.5, 0.55, ... 0.95.
        blacklist: pairs of an image and a class that ILSVRC ignores.
        data, seconds_per_image, failed, notes: see `Evaluation`.

    Raises:
        InputError: the metric is unknown, a threshold is out of range or none is given, the metric does not use the
            blacklist, the detections are those of other images, or, for `clsloc`, an image has no object or several
            thresholds are given.
    """
    result: APResult | COCOResult | LocalizationResult
    by_iou, by_size = {}, {}
    if metric == "coco":
        result = coco_average_precision(truth, detections, _thresholds(metric, iou_thresholds, blacklist))
    elif metric == "clsloc":
        threshold, *more = _thresholds(metric, iou_thresholds, blacklist)
        if more:
            raise InputError(f"metric clsloc has one IoU threshold, not {1 + len(more)}")
        result = localization_error(truth, best_of_classes(detections), iou_threshold=threshold)
    else:
        matches = match_by_metric(truth, detections, metric, iou_thresholds, blacklist)
        by_iou = {threshold: APResult.of(found, metric, threshold) for threshold, found in matches.items()}
        first = next(iter(matches))
        by_size = {size: APResult.of(matches[first].of_size(size), metric, first) for size in SIZES}
        result = by_iou[first]
    return Evaluation(
        result=result,
        images=len(truth.image_ids),
        by_iou=by_iou,
        by_size=by_size,
        data=data,
        seconds_per_image=seconds_per_image,
        failed=dict(failed or {}),
        notes=tuple(notes),
    )


def match_by_metric(
    truth: GroundTruth,
    detections: DetectionTable,
    metric: Metric,
    iou_thresholds: Sequence[float] | None = None,
    blacklist: Blacklist | None = None,
) -> dict[float, Matches]:
    """A metric's matches by IoU threshold.

    Raises:
        InputError: as `evaluate`, or the metric is `clsloc`, which matches no objects.
    """
    if metric == "clsloc":
        raise InputError(f"metric clsloc is about images, not about their objects; choose {', '.join(OBJECT_METRICS)}")
    thresholds = _thresholds(metric, iou_thresholds, blacklist)
    if metric == "coco":
        return match_coco(truth, detections, thresholds)
    if metric == "ilsvrc":
        return match_ilsvrc(truth, detections, blacklist, thresholds)
    return match_voc(truth, detections, thresholds)


def _thresholds(
    metric: Metric, iou_thresholds: Sequence[float] | None, blacklist: Blacklist | None = None
) -> tuple[float, ...]:
    """The given IoU thresholds, without repetitions, or the metric's defaults."""
    if metric not in METRICS:
        raise InputError(unknown_name("metric", metric, METRICS))
    if blacklist is not None and metric != "ilsvrc":
        raise InputError(f"metric {metric} does not use a blacklist; only ilsvrc does")
    if iou_thresholds is None:
        return IOU_THRESHOLDS if metric == "coco" else (IOU_THRESHOLD,)
    if not iou_thresholds:
        raise InputError("give at least one IoU threshold")
    return tuple(dict.fromkeys(map(float, iou_thresholds)))


def _plain(result: APResult) -> dict[str, Any]:
    return {"mAP": number(result.mean_ap), "AP": {name: number(ap) for name, ap in result.ap.items()}}
