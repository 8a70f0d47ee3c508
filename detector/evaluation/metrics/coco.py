"""COCO's twelve numbers, with average precision and recall by class and by size.

Source: Lin et al., Microsoft COCO: Common Objects in Context, ECCV 2014; https://cocodataset.org/#detection-eval and
pycocotools' cocoeval.py.

The numbers are computed by hotcoco, a reimplementation of pycocotools in Rust (MIT license). Given the same arrays,
its precision and recall equal those of pycocotools and of faster-coco-eval to the last bits, in a small part of their
time. The arrays passed to it avoid two traps of pycocotools: an annotation with id 0 counts as one that no detection
finds, so ids start at 1; and its summary needs 100 detections per image, so the numbers are read from the curves.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from detector.data.detection_table import DetectionTable, check_same_data
from detector.data.ground_truth import GroundTruth
from detector.errors import InputError
from detector.evaluation.metrics.formatting import mean_of_known, number, percent
from detector.evaluation.metrics.matching import FloatArray, IntArray, check_threshold, counted_objects
from detector.evaluation.metrics.sizes import ALL, AREA_RANGES, outside
from proposals.names import unknown_name

IOU_THRESHOLDS: tuple[float, ...] = tuple(np.linspace(0.5, 0.95, 10).tolist())
"""0.5, 0.55, ... 0.95, equal to pycocotools' to the last bit."""

MAX_DETECTIONS = (1, 10, 100)
"""Numbers of detections per image and class that recall is computed for; average precision uses the last."""

_SIZES = tuple(AREA_RANGES)

# Outside all of COCO's area ranges: COCO has no flag for an object to ignore, but it ignores such areas.
_NO_AREA = -1.0


@dataclass(frozen=True, eq=False, kw_only=True)
class COCOResult:
    """COCO's metric for T IoU thresholds, K classes, A sizes and M numbers of detections.

    Values without objects are NaN, where pycocotools has -1, and are excluded from means.

    Attributes:
        class_names: (K,)
        iou_thresholds: (T,)
        max_detections: (M,) numbers of detections evaluated per image and class, rising. Average precision and the
            recalls by size use the last.
        precision: (T, 101, K, A, M) float64 highest precision at recall 0, 0.01, ... 1 or beyond, 0 where that recall
            is not reached; sizes in the order of `sizes.AREA_RANGES`.
        scores: (T, 101, K, A, M) float64 lowest score of the detections needed for that recall.
        recall: (T, K, A, M) float64 recall of all detections.
        objects: (K,) int64 objects that count.
        detections: (K,) int64
        images: number of images.
    """

    metric: ClassVar[str] = "coco"
    class_names: tuple[str, ...]
    iou_thresholds: tuple[float, ...]
    max_detections: tuple[int, ...]
    precision: FloatArray
    scores: FloatArray
    recall: FloatArray
    objects: IntArray
    detections: IntArray
    images: int

    def average_precision(self, iou_threshold: float | None = None, size: str = ALL) -> FloatArray:
        """(K,) average precision by class, at one of the IoU thresholds or over all of them.

        NaN for a class without objects of the size, and for a threshold that was not evaluated.
        """
        return self._by_class(self.precision, iou_threshold, size, -1)

    def average_recall(
        self, iou_threshold: float | None = None, size: str = ALL, max_detections: int | None = None
    ) -> FloatArray:
        """(K,) recall by class, over all IoU thresholds or at one, with the last or another number of detections."""
        count = self.max_detections[-1] if max_detections is None else max_detections
        if count not in self.max_detections:
            raise InputError(f"max_detections {count} was not evaluated; use one of {self.max_detections}")
        return self._by_class(self.recall[:, np.newaxis], iou_threshold, size, self.max_detections.index(count))

    def _by_class(self, values: FloatArray, iou_threshold: float | None, size: str, count_index: int) -> FloatArray:
        if size not in AREA_RANGES:
            raise InputError(unknown_name("size", size, AREA_RANGES))
        chosen = np.ones(len(self.iou_thresholds), dtype=bool)
        if iou_threshold is not None:
            chosen = np.isclose(self.iou_thresholds, iou_threshold, rtol=0, atol=1e-9)
            if not chosen.any():
                return np.full(len(self.class_names), np.nan)
        # The values of a class are all numbers if it has objects of the size, and all NaN otherwise.
        return values[chosen][..., _SIZES.index(size), count_index].mean(axis=(0, 1))

    @property
    def ap(self) -> dict[str, float]:
        """Average precision by class over all IoU thresholds, 0 to 1; NaN for a class without objects."""
        return dict(zip(self.class_names, self.average_precision().tolist(), strict=True))

    @property
    def mean_ap(self) -> float:
        """mAP, which COCO calls AP: the mean over classes and IoU thresholds, 0 to 1; NaN if no class has objects."""
        return mean_of_known(self.average_precision())

    @property
    def summary(self) -> dict[str, float]:
        """COCO's twelve numbers by their usual names, 0 to 1.

        AP (over all IoU thresholds), AP50, AP75 (at IoU 0.5 and 0.75), APs, APm, APl (of small, medium and large
        objects); recall AR1, AR10, AR100 (by `max_detections`), ARs, ARm, ARl.
        """
        precisions = {"AP": (None, ALL), "AP50": (0.5, ALL), "AP75": (0.75, ALL), "APs": (None, "small"),
                      "APm": (None, "medium"), "APl": (None, "large")}  # fmt: skip
        return (
            {name: mean_of_known(self.average_precision(*chosen)) for name, chosen in precisions.items()}
            | {f"AR{count}": mean_of_known(self.average_recall(max_detections=count)) for count in self.max_detections}
            | {f"AR{size[0]}": mean_of_known(self.average_recall(size=size)) for size in _SIZES[1:]}
        )

    def by_class(self) -> dict[str, dict[str, float]]:
        """AP, AP50, AP75, APs, APm, APl and AR (with the most detections) by class."""
        columns = {
            "AP": self.average_precision(),
            "AP50": self.average_precision(0.5),
            "AP75": self.average_precision(0.75),
            **{f"AP{size[0]}": self.average_precision(size=size) for size in _SIZES[1:]},
            "AR": self.average_recall(),
        }
        return {
            name: {column: float(values[label]) for column, values in columns.items()}
            for label, name in enumerate(self.class_names)
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, fractions 0 to 1; None where there are no objects."""
        return {
            "metric": self.metric,
            "images": self.images,
            "iou_thresholds": [round(value, 6) for value in self.iou_thresholds],
            "max_detections": list(self.max_detections),
            "mAP": number(self.mean_ap),
            **{name: number(value) for name, value in self.summary.items()},
            "classes": {
                name: {key: number(value) for key, value in row.items()}
                | {"objects": int(self.objects[label]), "detections": int(self.detections[label])}
                for label, (name, row) in enumerate(self.by_class().items())
            },
        }

    def table(self) -> str:
        """The result as text, in percent."""
        rows = self.by_class()
        width = max(len(name) for name in [*rows, "class"])
        columns = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR")
        lines = [f"{'class':{width}}  objects  detections  " + "  ".join(f"{name:>5}" for name in columns) + "  %"]
        for label, (name, row) in enumerate(rows.items()):
            numbers = "  ".join(f"{percent(row[column]):>5}" for column in columns)
            lines.append(f"{name:{width}}  {self.objects[label]:7}  {self.detections[label]:10}  {numbers}")
        means = "  ".join(f"{percent(mean_of_known(np.array([row[c] for row in rows.values()]))):>5}" for c in columns)
        lines += [f"{'mean':{width}}  {self.objects.sum():7}  {self.detections.sum():10}  {means}", ""]
        if absent := [name for name, count in zip(self.class_names, self.objects, strict=True) if not count]:
            lines.append(f"excluded from the means, without objects: {', '.join(absent)}")
        lines.append("  ".join(f"{name} {percent(value)}" for name, value in self.summary.items()))
        thresholds = ", ".join(f"{value:g}" for value in self.iou_thresholds)
        most = self.max_detections[-1]
        lines.append(f"metric coco at IoU {thresholds}; {self.images} images, {most} detections per image and class")
        return "\n".join(lines)


def coco_average_precision(
    truth: GroundTruth,
    detections: DetectionTable,
    iou_thresholds: Sequence[float] | None = None,
    max_detections: Sequence[int] = MAX_DETECTIONS,
) -> COCOResult:
    """COCO's metric.

    In each image and class, the detections of highest score (`max_detections` of them) take in turn the object of
    highest IoU that is still free and counts. A detection that only finds a crowd (by the share of its area that lies
    inside) or an object of another size is ignored; so is a false positive of another size. Precision is read at 101
    recalls. Sizes are those of the annotated area. Equal scores keep the order of the images, by rising id if the ids
    are numbers, and then of the table.

    Difficult objects (VOC's flag) are treated like objects of another size in every size: they do not count, and a
    detection that takes one is ignored, but a second detection of it is a false positive. They are not crowds, which
    would exempt any box within them.

    Args:
        iou_thresholds: 0.5, 0.55, ... 0.95 by default.
        max_detections: numbers of detections, each at least 1.

    Raises:
        InputError: a threshold or number is out of range, or the detections refer to other images or classes.
    """
    thresholds = IOU_THRESHOLDS if iou_thresholds is None else tuple(map(float, iou_thresholds))
    if not thresholds or not max_detections:
        raise InputError("give at least one IoU threshold and one number of detections")
    for threshold in thresholds:
        check_threshold(threshold)
    if min(max_detections) < 1:
        raise InputError(f"max_detections {tuple(max_detections)}: give numbers of at least 1")
    check_same_data(truth, detections)
    counts = tuple(sorted(set(max_detections)))
    precision, scores, recall = _curves(truth, detections, thresholds, counts)
    classes = len(truth.class_names)
    counted = counted_objects(truth) & ~outside(truth.areas, AREA_RANGES[ALL])
    return COCOResult(
        class_names=truth.class_names,
        iou_thresholds=thresholds,
        max_detections=counts,
        precision=precision,
        scores=scores,
        recall=recall,
        objects=np.bincount(truth.labels[counted], minlength=classes),
        detections=np.bincount(detections.labels, minlength=classes),
        images=len(truth.image_ids),
    )


def _curves(
    truth: GroundTruth, detections: DetectionTable, iou_thresholds: Sequence[float], max_detections: Sequence[int]
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Precision, scores and recall as in `COCOResult`: the arrays of pycocotools' `eval`, with NaN in place of -1."""
    shape = (len(iou_thresholds), len(truth.class_names), len(AREA_RANGES), len(max_detections))
    if not truth.image_ids or not truth.class_names:  # hotcoco rejects such data
        empty = np.full((shape[0], 101, *shape[1:]), np.nan)
        return empty, empty, np.full(shape, np.nan)

    import hotcoco

    numbers = image_numbers(truth.image_ids)
    objects = hotcoco.COCO.from_arrays(
        [{"id": number} for number in range(1, len(truth.image_ids) + 1)],
        [{"id": number, "name": name} for number, name in enumerate(truth.class_names, start=1)],
        numbers[truth.images],
        truth.labels + 1,
        np.hstack([truth.boxes[:, :2], truth.sides]),
        area=np.where(truth.difficult, _NO_AREA, truth.areas),
        iscrowd=truth.crowd,
    )
    columns = (numbers[detections.images], detections.boxes[:, :2], detections.sides, detections.scores,
               detections.labels + 1)  # fmt: skip
    evaluation = hotcoco.COCOeval(objects, objects.load_res(np.column_stack(columns)), "bbox")
    evaluation.params.iou_thrs = list(map(float, iou_thresholds))
    evaluation.params.max_dets = list(map(int, max_detections))
    evaluation.params.area_rng = [list(area_range) for area_range in AREA_RANGES.values()]
    evaluation.params.area_rng_lbl = list(AREA_RANGES)
    evaluation.evaluate()
    evaluation.accumulate()
    arrays = [np.asarray((evaluation.eval or {})[name]) for name in ("precision", "scores", "recall")]
    precision, scores, recall = (np.where(array < -0.5, np.nan, array) for array in arrays)
    return precision, scores, recall


def image_numbers(image_ids: Sequence[str | int]) -> IntArray:
    """(I,) a number from 1 for each image, in whose order equal scores of different images are ranked.

    pycocotools processes images by rising id, whatever their order in the file. Ids that are not numbers keep the
    order of the data set.
    """
    if not all(isinstance(image_id, int) for image_id in image_ids):
        return np.arange(1, len(image_ids) + 1)
    numbers = np.empty(len(image_ids), dtype=np.int64)
    numbers[np.argsort(np.array(image_ids), kind="stable")] = np.arange(1, len(image_ids) + 1)
    return numbers
