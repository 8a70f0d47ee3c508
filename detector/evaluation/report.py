"""A whole evaluation: average precision, time and failures of a detector on a data set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from detector.data.ground_truth import GroundTruth
from detector.data.voc import VOCDataset
from detector.detections import Detections
from detector.errors import InputError
from detector.evaluation.formatting import number, percent
from detector.evaluation.predictions import Prediction
from detector.evaluation.table import DetectionTable
from detector.evaluation.voc import Metric, VOCResult, voc_average_precision

#: Score at which a detector shows its detections unless it is told otherwise.
DEFAULT_SCORE = 0.5


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A detector's result on a data set.

    Attributes:
        split: name of the data set's split.
        images: number of images judged, those that failed included.
        result: average precision and curves by class.
        seconds_per_image: mean wall-clock time from a decoded image to its detections; None if unknown.
        failed: image id and error of the images without a prediction; their objects count as not found.
    """

    split: str
    images: int
    result: VOCResult
    seconds_per_image: float | None
    failed: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON.

        `mAP`, `AP` (by class), `precision` and `recall` are fractions 0 to 1. `AP` is None for a class
        without objects, which is left out of `mAP`. `precision` and `recall` are those of all classes
        together at `score_threshold`, over objects that are not difficult.
        """
        precision, recall = self.result.at_score(DEFAULT_SCORE)
        return {
            "split": self.split,
            "images": self.images,
            "metric": self.result.metric,
            "iou_threshold": self.result.iou_threshold,
            "mAP": number(self.result.mean_ap),
            "AP": {name: number(ap) for name, ap in self.result.ap.items()},
            "objects": {name: result.objects for name, result in self.result.classes.items()},
            "score_threshold": DEFAULT_SCORE,
            "precision": number(precision),
            "recall": number(recall),
            "seconds_per_image": self.seconds_per_image,
            "failed": dict(self.failed),
        }

    def table(self) -> str:
        """The result as text, average precision in percent."""
        classes = self.result.classes
        width = max(len(name) for name in [*classes, "class"])
        lines = [f"{'class':{width}}  objects  detections   AP %"]
        for name, result in classes.items():
            row = f"{result.objects:7}  {len(result.scores):10}  {percent(result.ap):>5}"
            lines.append(f"{name:{width}}  {row}")
        objects = sum(result.objects for result in classes.values())
        detections = sum(len(result.scores) for result in classes.values())
        lines.append(f"{'mAP':{width}}  {objects:7}  {detections:10}  {percent(self.result.mean_ap):>5}")
        lines.append("")
        if absent := [name for name, result in classes.items() if not result.objects]:
            lines.append(f"no objects, so not in the mAP: {', '.join(absent)}")
        precision, recall = map(percent, self.result.at_score(DEFAULT_SCORE))
        metric, iou = self.result.metric, self.result.iou_threshold
        lines += [
            f"metric {metric} at IoU {iou:g}; {self.images} images of {self.split}",
            f"at score {DEFAULT_SCORE:g}, all classes: precision {precision} %, recall {recall} %",
        ]
        if self.seconds_per_image is not None:
            lines.append(f"{self.seconds_per_image:.3f} seconds an image")
        if self.failed:
            lines.append(f"{len(self.failed)} images failed; their objects count as not found")
        return "\n".join(lines)


def evaluate(predictions: Sequence[Prediction], dataset: VOCDataset, *, metric: Metric = "voc07") -> Evaluation:
    """Judge the predictions for a data set, with an IoU threshold of 0.5.

    `predictions.predict` and `stored.read_predictions` give the predictions:

        evaluate(predict(detector, dataset), dataset).table()

    Args:
        predictions: one for each image of the data set, in its order.
        dataset: the images.
        metric: `voc07` (11 points) or `voc10` (area).

    Raises:
        InputError: the predictions are those of other images, an annotation is wrong, or the metric is
            unknown.
    """
    ids = [prediction.image_id for prediction in predictions]
    if ids != list(dataset.ids):
        images = f"the {len(dataset)} images of split '{dataset.split}'"
        raise InputError(f"the predictions are not those of {images}, in their order")
    annotations = [dataset.annotations(index) for index in range(len(dataset))]
    truth = GroundTruth.from_annotations(ids, annotations, dataset.class_names)
    detections = [
        Detections.from_dict([], dataset.class_names, one.image_size) if p.detections is None else p.detections
        for p, one in zip(predictions, annotations, strict=True)
    ]
    seconds = [prediction.seconds for prediction in predictions if prediction.seconds is not None]
    return Evaluation(
        split=dataset.split,
        images=len(dataset),
        result=voc_average_precision(truth, DetectionTable.from_detections(truth, detections), metric),
        seconds_per_image=sum(seconds) / len(seconds) if seconds else None,
        failed={p.image_id: p.error or "failed" for p in predictions if p.detections is None},
    )
