"""COCO's twelve numbers, with average precision and recall by class and by size.

Source: Lin et al., Microsoft COCO: Common Objects in Context, ECCV 2014; https://cocodataset.org/#detection-eval and
pycocotools' cocoeval.py.

The numbers are computed by hotcoco, a reimplementation of pycocotools in Rust (MIT license). Given the same arrays,
its precision and recall equal those of pycocotools and of faster-coco-eval to the last bits, in a small part of their
time. The arrays passed to it avoid two traps of pycocotools: an annotation with id 0 counts as one that no detection
finds, so ids start at 1; and its summary needs 100 detections per image, so the numbers are read from the curves.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from detector.data.detection_table import DetectionTable
from detector.data.ground_truth import GroundTruth
from detector.errors import InputError
from detector.evaluation.metrics.formatting import mean_of_known, number, percent
from detector.evaluation.metrics.matching import (
    Matches,
    check_input,
    counted_objects,
    match_free_objects,
    rank_in_group,
)
from detector.evaluation.metrics.pairs import FloatArray, IntArray
from detector.evaluation.metrics.sizes import ALL, AREA_RANGES, SIZES, in_range

IOU_THRESHOLDS: tuple[float, ...] = tuple(np.linspace(0.5, 0.95, 10).tolist())
"""0.5, 0.55, ... 0.95, equal to pycocotools' to the last bit."""

MAX_DETECTIONS = (1, 10, 100)
"""Numbers of detections per image and class that recall is computed for; average precision uses the last."""

# Outside all of COCO's area ranges: COCO has no flag for an object to ignore, but it ignores such areas.
_NO_AREA = -1.0


@dataclass(frozen=True, eq=False, kw_only=True)
class COCOResult:
    """COCO's metric for T IoU thresholds, K classes, A sizes (`AREA_RANGES`) and the M `MAX_DETECTIONS`.

    Values without objects are NaN, where pycocotools has -1, and are excluded from means.

    Attributes:
        class_names: (K,)
        iou_thresholds: (T,)
        precision: (T, 101, K, A, M) float64 highest precision at recall 0, 0.01, ... 1 or beyond, 0 where that recall
            is not reached.
        recall: (T, K, A, M) float64 recall of all detections.
        objects: (K,) int64 objects that count.
        detections: (K,) int64
        images: number of images.
    """

    metric: ClassVar[str] = "coco"
    class_names: tuple[str, ...]
    iou_thresholds: tuple[float, ...]
    precision: FloatArray
    recall: FloatArray
    objects: IntArray
    detections: IntArray
    images: int

    def average_precision(self, iou_threshold: float | None = None, size: str = ALL) -> FloatArray:
        """(K,) average precision by class, at one of the IoU thresholds or over all of them.

        NaN for a class without objects of the size, and for a threshold that was not evaluated.
        """
        return self._by_class(self.precision, iou_threshold, size, MAX_DETECTIONS[-1])

    def average_recall(
        self, iou_threshold: float | None = None, size: str = ALL, max_detections: int = MAX_DETECTIONS[-1]
    ) -> FloatArray:
        """(K,) recall by class, over all IoU thresholds or at one, with one of `MAX_DETECTIONS`."""
        return self._by_class(self.recall[:, np.newaxis], iou_threshold, size, max_detections)

    def _by_class(self, values: FloatArray, iou_threshold: float | None, size: str, max_detections: int) -> FloatArray:
        if iou_threshold is not None:
            values = values[np.isclose(self.iou_thresholds, iou_threshold, rtol=0, atol=1e-9)]
            if not len(values):
                return np.full(len(self.class_names), np.nan)
        # The values of a class are all numbers if it has objects of the size, and all NaN otherwise.
        return values[..., list(AREA_RANGES).index(size), MAX_DETECTIONS.index(max_detections)].mean(axis=(0, 1))

    @property
    def ap(self) -> dict[str, float]:
        """Average precision by class over all IoU thresholds, 0 to 1; NaN for a class without objects."""
        return dict(zip(self.class_names, self.average_precision().tolist(), strict=True))

    @property
    def mean_ap(self) -> float:
        """mAP, which COCO calls AP: the mean over classes and IoU thresholds, 0 to 1; NaN if no class has objects."""
        return mean_of_known(self.average_precision())

    @property
    def _columns(self) -> dict[str, FloatArray]:
        return {
            "AP": self.average_precision(),
            "AP50": self.average_precision(0.5),
            "AP75": self.average_precision(0.75),
            **{f"AP{size[0]}": self.average_precision(size=size) for size in SIZES},
            "AR": self.average_recall(),
        }

    @property
    def summary(self) -> dict[str, float]:
        """COCO's twelve numbers by their usual names, 0 to 1.

        AP (over all IoU thresholds), AP50, AP75 (at IoU 0.5 and 0.75), APs, APm, APl (of small, medium and large
        objects); recall AR1, AR10, AR100 (by `MAX_DETECTIONS`), ARs, ARm, ARl.
        """
        columns = self._columns
        del columns["AR"]
        columns |= {f"AR{count}": self.average_recall(max_detections=count) for count in MAX_DETECTIONS}
        columns |= {f"AR{size[0]}": self.average_recall(size=size) for size in SIZES}
        return {name: mean_of_known(values) for name, values in columns.items()}

    def by_class(self) -> dict[str, dict[str, float]]:
        """AP, AP50, AP75, APs, APm, APl and AR (with the most detections) by class."""
        columns = self._columns
        rows = zip(*(values.tolist() for values in columns.values()), strict=True)
        return {name: dict(zip(columns, row, strict=True)) for name, row in zip(self.class_names, rows, strict=True)}

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, fractions 0 to 1; None where there are no objects."""
        counts = zip(self.objects.tolist(), self.detections.tolist(), strict=True)
        return {
            "metric": self.metric,
            "images": self.images,
            "iou_thresholds": [round(value, 6) for value in self.iou_thresholds],
            "max_detections": list(MAX_DETECTIONS),
            "mAP": number(self.mean_ap),
            **{name: number(value) for name, value in self.summary.items()},
            "classes": {
                name: {key: number(value) for key, value in row.items()} | {"objects": objects, "detections": found}
                for (name, row), (objects, found) in zip(self.by_class().items(), counts, strict=True)
            },
        }

    def table(self) -> str:
        """The result as text, in percent."""
        columns = self._columns
        width = max(len(name) for name in [*self.class_names, "class"])
        lines = [f"{'class':{width}}  objects  detections  " + "  ".join(f"{name:>5}" for name in columns) + "  %"]
        rows = list(
            zip(self.class_names, self.objects, self.detections, zip(*columns.values(), strict=True), strict=True)
        )
        means = map(mean_of_known, columns.values())
        for name, objects, detections, numbers in [*rows, ("mean", self.objects.sum(), self.detections.sum(), means)]:
            cells = "  ".join(f"{percent(value):>5}" for value in numbers)
            lines.append(f"{name:{width}}  {objects:7}  {detections:10}  {cells}")
        lines.append("")
        if absent := [name for name, count in zip(self.class_names, self.objects, strict=True) if not count]:
            lines.append(f"excluded from the means, without objects: {', '.join(absent)}")
        lines.append("  ".join(f"{name} {percent(value)}" for name, value in self.summary.items()))
        thresholds = ", ".join(f"{value:g}" for value in self.iou_thresholds)
        most = MAX_DETECTIONS[-1]
        lines.append(f"metric coco at IoU {thresholds}; {self.images} images, {most} detections per image and class")
        return "\n".join(lines)


def coco_average_precision(
    truth: GroundTruth, detections: DetectionTable, iou_thresholds: Sequence[float] = IOU_THRESHOLDS
) -> COCOResult:
    """COCO's metric.

    In each image and class, the detections of highest score (`MAX_DETECTIONS` of them) take in turn the object of
    highest IoU that is still free and counts. A detection that only finds a crowd (by the share of its area that lies
    inside) or an object of another size is ignored; so is a false positive of another size. Precision is read at 101
    recalls. Sizes are those of the annotated area. Equal scores keep the order of the images, by rising id if the ids
    are numbers, and then of the table.

    Difficult objects (VOC's flag) are treated like objects of another size in every size: they do not count, and a
    detection that takes one is ignored, but a second detection of it is a false positive. They are not crowds, which
    would exempt any box within them.

    Raises:
        InputError: a threshold is not above 0 and at most 1, or the detections refer to other images or classes.
    """
    thresholds = tuple(map(float, iou_thresholds))
    if not thresholds:
        raise InputError("give at least one IoU threshold")
    check_input(truth, detections, thresholds)
    precision, recall = _curves(truth, detections, thresholds)
    classes = len(truth.class_names)
    counted = counted_objects(truth) & in_range(truth.areas, ALL)
    return COCOResult(
        class_names=truth.class_names,
        iou_thresholds=thresholds,
        precision=precision,
        recall=recall,
        objects=np.bincount(truth.labels[counted], minlength=classes),
        detections=np.bincount(detections.labels, minlength=classes),
        images=len(truth.image_ids),
    )


def _curves(
    truth: GroundTruth, detections: DetectionTable, iou_thresholds: Sequence[float]
) -> tuple[FloatArray, FloatArray]:
    """Precision and recall as in `COCOResult`: the arrays of pycocotools' `eval`, with NaN in place of -1."""
    if not truth.image_ids or not truth.class_names:  # hotcoco rejects such data
        shape = (len(truth.class_names), len(AREA_RANGES), len(MAX_DETECTIONS))
        return np.full((len(iou_thresholds), 101, *shape), np.nan), np.full((len(iou_thresholds), *shape), np.nan)

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
    evaluation.params.max_dets = list(MAX_DETECTIONS)
    evaluation.params.area_rng = [list(area_range) for area_range in AREA_RANGES.values()]
    evaluation.params.area_rng_lbl = list(AREA_RANGES)
    evaluation.evaluate()
    evaluation.accumulate()
    precision, recall = (np.asarray((evaluation.eval or {})[name]) for name in ("precision", "recall"))
    return np.where(precision < -0.5, np.nan, precision), np.where(recall < -0.5, np.nan, recall)


def match_coco(
    truth: GroundTruth, detections: DetectionTable, iou_thresholds: Sequence[float] = IOU_THRESHOLDS
) -> dict[float, Matches]:
    """Matches by COCO's rule (see `coco_average_precision`) for objects of all sizes, by IoU threshold.

    The bootstrap resamples the images of these matches; hotcoco takes half a minute to return its own for the 5,000
    images of COCO's validation set. A detection that finds no object
    which counts is ignored if it reaches a difficult object that is still free, or a crowd. Areas beyond COCO's largest
    are ignored, as in hotcoco.

    Raises:
        InputError: as for `coco_average_precision`.
    """
    check_input(truth, detections, iou_thresholds)
    truth = dataclasses.replace(truth, boxes=_coco_boxes(truth))
    detections = dataclasses.replace(detections, boxes=_coco_boxes(detections))
    # Equal scores in hotcoco's order.
    order = np.lexsort((image_numbers(truth.image_ids)[detections.images], -detections.scores))
    groups = (detections.images * len(truth.class_names) + detections.labels)[order]
    order = order[rank_in_group(groups) < MAX_DETECTIONS[-1]]
    counted = counted_objects(truth) & in_range(truth.areas, ALL)
    # pycocotools lowers a threshold of 1 by a hair.
    limits = {threshold: np.full(len(truth), min(threshold, 1 - 1e-10)) for threshold in iou_thresholds}
    found = match_free_objects(truth, detections, order, limits, counted, coco=True)
    return {threshold: matches.of_size(ALL) for threshold, matches in found.items()}


def _coco_boxes(table: GroundTruth | DetectionTable) -> FloatArray:
    """(N, 4) boxes whose right and bottom are x + width and y + height, as hotcoco and pycocotools compute them."""
    corners = table.boxes[:, :2]
    return np.hstack([corners, corners + table.sides])


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
