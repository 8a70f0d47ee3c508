"""The report as one HTML page."""

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from detector.data.detection_table import DetectionTable
from detector.data.ground_truth import GroundTruth
from detector.data.traces import ObjectTraces
from detector.errors import InputError
from detector.evaluation.errors import MissReason, diagnose
from detector.evaluation.errors.diagnosis import most_frequent
from detector.evaluation.evaluation import IOU_THRESHOLD, Evaluation
from detector.evaluation.metrics.bootstrap import CONFIDENCE, bootstrap_average_precision
from detector.evaluation.metrics.coco import COCOResult
from detector.evaluation.metrics.localization import LocalizationResult
from detector.evaluation.metrics.voc import VOCMetric
from detector.evaluation.report import charts, sections
from detector.evaluation.report.pictures import worst_pictures
from proposals.files import atomic_write

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
    """Write an HTML report that breaks the average precision down by kind of error.

    An evaluation by VOC's metrics is explained at its IoU threshold. The numbers of COCO and ILSVRC come first in the
    report; the rest is about VOC's area metric at IoU 0.5, by which the kinds of errors are defined.

    Args:
        truth, detections, evaluation: the evaluation and its input.
        title: what was evaluated, such as a model's name.
        files: the input files by their role.
        traces: how the detector's stages treated each object, for the reasons of misses.
        photos: folder of the images, for pictures of the worst.

    The page needs neither a network nor other files, and the same input gives the same page. Names of classes, images
    and files are shown as text, whatever they contain.

    Raises:
        InputError: the file cannot be written, or truth and detections are of different data.
    """
    result, threshold = evaluation.result, IOU_THRESHOLD
    metric: VOCMetric = "voc10"
    other_metric, numbers = "", {}
    if isinstance(result, COCOResult):
        other_metric = "COCO"
        numbers = {f"COCO {key}": result.summary[key] for key in ("AP", "AP50", "AP75", "APs", "APm", "APl")}
    elif isinstance(result, LocalizationResult):
        other_metric, numbers = "CLS-LOC", {"CLS-LOC top-5 error": float(result.localization[-1])}
    elif result.metric == "ilsvrc":
        other_metric, numbers = "ILSVRC", {"ILSVRC mAP": result.mean_ap}
    else:
        metric, threshold = result.metric, result.iou_threshold  # type: ignore[assignment]
    diagnosis = diagnose(truth, detections, metric=metric, iou_threshold=threshold, traces=traces)
    classes = diagnosis.result.classes
    intervals = bootstrap_average_precision([diagnosis.matches], metric)
    write_page(
        path,
        "report.html",
        title=title,
        files=files or {},
        versions={"Python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}},
        evaluation=evaluation,
        other_metric=other_metric,
        numbers=numbers,
        truth=truth,
        d=diagnosis,
        intervals=intervals,
        confidence=CONFIDENCE,
        summary=list(sections.summary(diagnosis)),
        precision_recall=diagnosis.result.at_score(diagnosis.score),
        object_count=sum(result.objects for result in classes.values()),
        left_out=int((truth.difficult | truth.crowd).sum()),
        detection_count=len(detections),
        lowest_score=detections.scores.min(initial=np.inf),
        absent=[name for name, result in classes.items() if not result.objects],
        classes=sections.class_rows(diagnosis, intervals),
        errors=sections.error_rows(diagnosis),
        miss_reason_names=[sections.MISS_REASONS[reason][0] for reason in MissReason],
        miss_reasons=sections.miss_reason_tables(diagnosis),
        overlaps=sections.overlap_charts(diagnosis),
        objects=sections.object_rows(diagnosis),
        all_objects=int(diagnosis.matches.counted.sum()),
        confusion=sections.matrix_part(diagnosis),
        frequent=most_frequent(diagnosis, 10),
        mean_curve=None if np.isnan(diagnosis.result.mean_ap) else charts.mean_curve(diagnosis),
        charts=charts,
        calibration=charts.calibration_bars(diagnosis),
        pictures=worst_pictures(diagnosis, photos),
        has_photos=photos is not None,
    )


def write_page(path: Path, template: str, **content: Any) -> None:
    """Writes a page made from a template, in which names are shown as text, whatever they contain.

    Raises:
        InputError: the file cannot be written.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("detector.evaluation.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=sections.percent, points=sections.points, counted=sections.count)
    page = environment.get_template(template).render(**content)
    try:
        with atomic_write(path) as temporary:
            temporary.write_text(page, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from None


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # a checkout that is not installed
        return "not installed"
