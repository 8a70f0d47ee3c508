"""COCO's twelve numbers, with average precision and recall by class and by size.

Source: Lin et al., Microsoft COCO: Common Objects in Context, ECCV 2014; https://cocodataset.org/#detection-eval and
pycocotools' cocoeval.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from detector.data.detection_table import DetectionTable, check_same_data
from detector.data.ground_truth import GroundTruth
from detector.errors import InputError
from detector.evaluation.metrics.coco_engine import coco_curves
from detector.evaluation.metrics.formatting import mean_of_known, number, percent
from detector.evaluation.metrics.sizes import ALL, AREA_RANGES, outside
from detector.evaluation.metrics.voc_matching import check_threshold
from proposals.names import unknown_name

#: 0.5, 0.55, ... 0.95 as pycocotools has them, to the last bit.
IOU_THRESHOLDS: tuple[float, ...] = tuple(np.linspace(0.5, 0.95, 10).tolist())
MAX_DETECTIONS = (1, 10, 100)
_SIZES = tuple(AREA_RANGES)


@dataclass(frozen=True, eq=False, kw_only=True)
class COCOResult:
    """COCO's metric for T IoU thresholds, K classes, A sizes and M numbers of detections.

    What has no object is NaN, where pycocotools has -1, and is left out of means.

    Attributes:
        class_names: (K,)
        iou_thresholds: (T,)
        max_detections: (M,) detections of an image and a class that are looked at, rising. Average precision and the
            recalls by size are those with the last of them.
        precision, scores, recall: see `coco_engine.Curves`; sizes in the order of `sizes.AREA_RANGES`.
        objects: (K,) int64 objects that count.
        detections: (K,) int64
        images: number of images.
    """

    metric: ClassVar[str] = "coco"
    class_names: tuple[str, ...]
    iou_thresholds: tuple[float, ...]
    max_detections: tuple[int, ...]
    precision: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float64]
    recall: npt.NDArray[np.float64]
    objects: npt.NDArray[np.int64]
    detections: npt.NDArray[np.int64]
    images: int

    def average_precision(self, iou_threshold: float | None = None, size: str = ALL) -> npt.NDArray[np.float64]:
        """(K,) average precision by class, at one of the IoU thresholds or over all of them.

        NaN for a class without objects of the size, and for a threshold that is not among them.
        """
        return self._by_class(self.precision, iou_threshold, size, -1)

    def average_recall(
        self, iou_threshold: float | None = None, size: str = ALL, max_detections: int | None = None
    ) -> npt.NDArray[np.float64]:
        """(K,) recall by class, over all IoU thresholds or at one, with the last or another number of detections."""
        last = self.max_detections[-1] if max_detections is None else max_detections
        if last not in self.max_detections:
            raise InputError(f"recall with {last} detections is not there, but with {self.max_detections}")
        return self._by_class(self.recall[:, np.newaxis], iou_threshold, size, self.max_detections.index(last))

    def _by_class(
        self, values: npt.NDArray[np.float64], iou_threshold: float | None, size: str, place: int
    ) -> npt.NDArray[np.float64]:
        if size not in AREA_RANGES:
            raise InputError(unknown_name("size", size, AREA_RANGES))
        chosen = np.ones(len(self.iou_thresholds), dtype=bool)
        if iou_threshold is not None:
            chosen = np.isclose(self.iou_thresholds, iou_threshold, rtol=0, atol=1e-9)
            if not chosen.any():
                return np.full(len(self.class_names), np.nan)
        # The values of a class are all numbers or all NaN: it has objects of the size, or none.
        return values[chosen][..., _SIZES.index(size), place].mean(axis=(0, 1))

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
        """COCO's twelve numbers by their names in the field, 0 to 1.

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
        classes = {name: {key: number(value) for key, value in row.items()} for name, row in self.by_class().items()}
        return {
            "metric": self.metric,
            "images": self.images,
            "iou_thresholds": [round(value, 6) for value in self.iou_thresholds],
            "max_detections": list(self.max_detections),
            "mAP": number(self.mean_ap),
            **{name: number(value) for name, value in self.summary.items()},
            "classes": {
                name: row | {"objects": int(self.objects[label]), "detections": int(self.detections[label])}
                for label, (name, row) in enumerate(classes.items())
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
            lines.append(f"no objects, so not in the means: {', '.join(absent)}")
        lines.append("  ".join(f"{name} {percent(value)}" for name, value in self.summary.items()))
        thresholds = ", ".join(f"{value:g}" for value in self.iou_thresholds)
        most = self.max_detections[-1]
        lines.append(f"metric coco at IoU {thresholds}; {self.images} images, {most} detections of a class in each")
        return "\n".join(lines)


def coco_average_precision(
    truth: GroundTruth,
    detections: DetectionTable,
    iou_thresholds: Sequence[float] | None = None,
    max_detections: Sequence[int] = MAX_DETECTIONS,
) -> COCOResult:
    """COCO's metric.

    In each image and class, the detections of highest score (`max_detections` of them) take in turn the object of
    highest IoU that is still free and counts. A detection that finds none, but a crowd (by the share of its own area
    that lies inside) or an object of another size, counts neither way; so does a false positive of another size.
    Precision is read at 101 recalls. Sizes go by the annotated area. Equal scores keep the order of the images, by
    rising id if these are numbers, and then of the table.

    Difficult objects (VOC's flag) are taken like objects of another size in every size: they do not count and the
    detection that takes one does not either, but a second detection of it is a false positive. They are not crowds,
    which would let any box within them go unjudged.

    Args:
        iou_thresholds: 0.5, 0.55, ... 0.95 by default.
        max_detections: numbers of detections, each at least 1.

    Raises:
        InputError: a threshold or number is wrong, or the detections refer to other images or classes.
    """
    thresholds = IOU_THRESHOLDS if iou_thresholds is None else tuple(map(float, iou_thresholds))
    if not thresholds or not max_detections:
        raise InputError("give at least one IoU threshold and one number of detections")
    for threshold in thresholds:
        check_threshold(threshold)
    if min(max_detections) < 1:
        raise InputError(f"max_detections {tuple(max_detections)} are not all at least 1")
    check_same_data(truth, detections)
    most = tuple(sorted(set(max_detections)))
    curves = coco_curves(truth, detections, thresholds, most)
    classes = len(truth.class_names)
    counted = ~(truth.crowd | truth.difficult | outside(truth.areas, AREA_RANGES[ALL]))
    return COCOResult(
        class_names=truth.class_names,
        iou_thresholds=thresholds,
        max_detections=most,
        precision=curves.precision,
        scores=curves.scores,
        recall=curves.recall,
        objects=np.bincount(truth.labels[counted], minlength=classes),
        detections=np.bincount(detections.labels, minlength=classes),
        images=len(truth.image_ids),
    )
