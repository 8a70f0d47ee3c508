"""The report as one HTML page."""

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import jinja2
import numpy as np

from detector.data.detection_table import DetectionTable, check_same_data
from detector.data.ground_truth import GroundTruth
from detector.data.traces import ObjectTraces
from detector.errors import InputError
from detector.evaluation.errors import Diagnosis, MissReason, diagnose
from detector.evaluation.evaluation import IOU_THRESHOLD, Evaluation, match_by_metric
from detector.evaluation.metrics.bootstrap import Intervals, bootstrap_average_precision
from detector.evaluation.metrics.coco import COCOResult
from detector.evaluation.metrics.voc import VOCMetric, VOCResult
from detector.evaluation.report import charts, sections, text
from detector.evaluation.report.pictures import worst_pictures
from detector.evaluation.report.versions import installed_version
from proposals.files import atomic_write

WORST = 12
"""Number of worst images in a report."""

_PACKAGES = ("inception-rcnn", "numpy", "hotcoco")


@dataclass(frozen=True, eq=False, kw_only=True)
class About:
    """What was evaluated and with what; the report shows it unchanged.

    Attributes:
        title: what was evaluated, such as the name of a model.
        data: the data, such as "val500 of VOC2007".
        files: the input files by their role: model, detections, configuration.
        versions: of the packages that matter, by name.
        excluded: id and reason of images without detections because they failed; their objects count as missed.
        metric, numbers: a metric other than the diagnosis', and its results by name; fractions, shown in percent.
        seconds_per_image: mean time of the detector; None if unknown.
    """

    title: str
    data: str
    files: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    excluded: Mapping[str, str] = field(default_factory=dict)
    metric: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)
    seconds_per_image: float | None = None


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

    An evaluation by VOC's metrics is explained at its IoU threshold. COCO's and ILSVRC's numbers come first in the
    report; the rest is about VOC's area metric at IoU 0.5, by which the kinds of errors are defined.

    Args:
        truth, detections, evaluation: the evaluation and its input.
        title: what was evaluated, such as a model's name.
        files: the input files by their role.
        traces: how the detector's stages treated each object, for the reasons of misses.
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
        numbers = {f"COCO {key}": result.summary[key] for key in ("AP", "AP50", "AP75", "APs", "APm", "APl")}
    else:
        name = "ILSVRC"
        numbers = {"ILSVRC mAP": result.mean_ap}
    ranked, curve = match_by_metric(truth, detections, metric, [threshold])
    about = About(
        title=title,
        data=evaluation.data,
        files=files or {},
        versions={"Python": platform.python_version(), **{name: installed_version(name) for name in _PACKAGES}},
        excluded=evaluation.failed,
        metric=name,
        numbers=numbers,
        seconds_per_image=evaluation.seconds_per_image,
    )
    diagnosis = diagnose(truth, detections, metric=metric, iou_threshold=threshold, traces=traces)
    intervals = bootstrap_average_precision(ranked, curve)
    page = render_report(truth, detections, diagnosis, about, intervals=intervals, photos=photos)
    write_page(path, page)


def write_page(path: Path, page: str) -> None:
    """Writes a page; `InputError` if it cannot be written."""
    try:
        with atomic_write(path) as temporary:
            temporary.write_text(page, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from None


def environment() -> jinja2.Environment:
    """The templates of reports, which show all names as text, whatever they contain."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("detector.evaluation.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=text.percent, points=text.points, counted=text.count)
    return environment


def render_report(
    truth: GroundTruth,
    detections: DetectionTable,
    diagnosis: Diagnosis,
    about: About,
    *,
    intervals: Intervals | None = None,
    photos: Path | None = None,
) -> str:
    """A diagnosis as one HTML page that needs neither a network nor other files.

    The same input gives the same page. Names of classes, images and files are shown as text, whatever they contain.

    Args:
        truth, detections: the input of `diagnosis`.
        intervals: of average precision, optional.
        photos: folder of the images, for pictures of the worst.

    Raises:
        InputError: truth and detections are of different data.
    """
    check_same_data(truth, detections)
    objects, all_objects = sections.object_rows(truth, diagnosis)
    classes = diagnosis.result.classes
    return (
        environment()
        .get_template("report.html")
        .render(
            about=about,
            truth=truth,
            d=diagnosis,
            intervals=intervals,
            summary=text.summary(diagnosis),
            precision_recall=diagnosis.result.at_score(diagnosis.score),
            object_count=sum(result.objects for result in classes.values()),
            left_out=int((truth.difficult | truth.crowd).sum()),
            detection_count=len(detections),
            lowest_score=detections.scores.min(initial=np.inf),
            absent=[name for name, result in classes.items() if not result.objects],
            classes=sections.class_rows(diagnosis, intervals),
            errors=sections.error_rows(diagnosis),
            miss_reason_names=[text.MISS_REASONS[reason][0] for reason in MissReason],
            miss_reasons=sections.miss_reason_tables(truth, diagnosis),
            overlaps=sections.overlap_charts(diagnosis),
            objects=objects,
            all_objects=all_objects,
            confusion=sections.matrix_part(diagnosis),
            frequent=diagnosis.confusion.most_frequent(10),
            mean_curve=None if np.isnan(diagnosis.result.mean_ap) else charts.mean_curve(diagnosis),
            large=charts.LARGE,
            small=charts.SMALL,
            square=charts.SQUARE,
            histogram=charts.HISTOGRAM,
            calibration=charts.calibration_bars(diagnosis),
            pictures=worst_pictures(truth, detections, diagnosis, photos, WORST),
            has_photos=photos is not None,
        )
    )
