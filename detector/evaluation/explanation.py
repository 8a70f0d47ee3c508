"""The why-report of an evaluation."""

import platform
from collections.abc import Mapping
from pathlib import Path

from detector.data.detection_table import DetectionTable
from detector.data.ground_truth import GroundTruth
from detector.data.traces import ObjectTraces
from detector.evaluation.errors import diagnose
from detector.evaluation.metrics.bootstrap import bootstrap_average_precision
from detector.evaluation.metrics.by_name import IOU_THRESHOLD, match_by_metric
from detector.evaluation.metrics.coco import COCOResult
from detector.evaluation.metrics.voc import VOCMetric, VOCResult
from detector.evaluation.report import About, write_report
from detector.evaluation.report.versions import installed_version
from detector.evaluation.result import Evaluation

_PACKAGES = ("inception-rcnn", "numpy", "hotcoco")


def explain(
    path: Path,
    truth: GroundTruth,
    detections: DetectionTable,
    evaluation: Evaluation,
    *,
    title: str,
    files: Mapping[str, str] | None = None,
    traces: ObjectTraces | None = None,
    photos: Path | None = None,
) -> None:
    """Write the why-report of an evaluation, see `html.write_report`.

    What VOC's metrics say of one IoU threshold is explained as it is. COCO's and ILSVRC's numbers come first in the
    report, and what follows is about VOC's area metric at their IoU of 0.5: the kinds of errors are defined by it.

    Args:
        truth, detections, evaluation: that belong together.
        title: what was evaluated, such as a model's name.
        files: what went in, by what it is.
        traces: what became of the objects in the detector.
        photos: folder of the images, for pictures of the worst.

    Raises:
        InputError: the file cannot be written.
    """
    result, threshold = evaluation.result, IOU_THRESHOLD
    metric: VOCMetric = "voc10"
    name, numbers = "", {}
    if isinstance(result, VOCResult):
        metric, threshold = result.metric, result.iou_threshold
    elif isinstance(result, COCOResult):
        name = "COCO"
        numbers = {f"COCO {one}": result.summary[one] for one in ("AP", "AP50", "AP75", "APs", "APm", "APl")}
    else:
        name = "ILSVRC"
        numbers = {"ILSVRC mAP": result.mean_ap}
    ranked, curve = match_by_metric(truth, detections, metric, [threshold])
    write_report(
        path,
        truth,
        detections,
        diagnose(truth, detections, metric=metric, iou_threshold=threshold, traces=traces),
        About(
            title=title,
            data=evaluation.data,
            files=files or {},
            versions={"Python": platform.python_version(), **{name: installed_version(name) for name in _PACKAGES}},
            excluded=evaluation.failed,
            metric=name,
            numbers=numbers,
            seconds_per_image=evaluation.seconds_per_image,
        ),
        intervals=bootstrap_average_precision(ranked, curve),
        photos=photos,
    )
