"""The whole page."""

from pathlib import Path

import jinja2
import numpy as np

from detector.data.detection_table import DetectionTable, check_same_data
from detector.data.ground_truth import GroundTruth
from detector.errors import InputError
from detector.evaluation.errors import Diagnosis, MissReason
from detector.evaluation.metrics.intervals import Intervals
from detector.evaluation.report import charts, sections, text
from detector.evaluation.report.about import About
from detector.evaluation.report.pictures import worst_pictures
from detector.evaluation.report.summary import summary
from proposals.files import atomic_write

#: Number of worst images in a report.
WORST = 12


def write_report(
    path: str | Path,
    truth: GroundTruth,
    detections: DetectionTable,
    diagnosis: Diagnosis,
    about: About,
    *,
    intervals: Intervals | None = None,
    photos: str | Path | None = None,
    worst: int = WORST,
) -> None:
    """Write a diagnosis as one HTML file, which needs no network and no other file.

    The same input gives the same file. Names of classes, images and files are shown as text, whatever they hold.

    Args:
        truth, detections: those that `diagnosis` is of.
        intervals: of average precision; without them the report has none.
        photos: folder of the images, for pictures of the worst.
        worst: number of worst images.

    Raises:
        InputError: the file cannot be written, or truth and detections do not belong together.
    """
    page = render_report(truth, detections, diagnosis, about, intervals=intervals, photos=photos, worst=worst)
    try:
        with atomic_write(path) as temporary:
            temporary.write_text(page, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from None


def render_report(
    truth: GroundTruth,
    detections: DetectionTable,
    diagnosis: Diagnosis,
    about: About,
    *,
    intervals: Intervals | None = None,
    photos: str | Path | None = None,
    worst: int = WORST,
) -> str:
    """The HTML of `write_report`.

    Raises:
        InputError: truth and detections do not belong together.
    """
    check_same_data(truth, detections)
    histogram, overlaps = sections.overlap_charts(diagnosis)
    objects, all_objects = sections.object_rows(truth, diagnosis)
    known = not np.isnan(diagnosis.result.mean_ap)
    return (
        _environment()
        .get_template("report.html")
        .render(
            about=about,
            truth=truth,
            d=diagnosis,
            intervals=intervals,
            summary=summary(diagnosis),
            precision_recall=diagnosis.result.at_score(diagnosis.score),
            object_count=sum(result.objects for result in diagnosis.result.classes.values()),
            left_out=int((truth.difficult | truth.crowd).sum()),
            detection_count=len(detections),
            lowest_score=detections.scores.min(initial=np.inf),
            absent=[name for name, result in diagnosis.result.classes.items() if not result.objects],
            classes=sections.class_rows(diagnosis, intervals),
            errors=sections.error_rows(diagnosis),
            fate_names=[text.FATES[miss_reason][0] for miss_reason in MissReason],
            miss_reasons=sections.miss_reason_tables(truth, diagnosis),
            overlap_plot=histogram,
            overlaps=overlaps,
            objects=objects,
            all_objects=all_objects,
            confusion=sections.matrix_view(diagnosis),
            frequent=diagnosis.confusion.most_frequent(10),
            mean_curve=charts.mean_curve(diagnosis) if known else None,
            large=charts.LARGE,
            small=charts.SMALL,
            square=charts.SQUARE,
            calibration=charts.calibration_bars(diagnosis),
            pictures=worst_pictures(truth, detections, diagnosis, None if photos is None else Path(photos), worst),
            has_photos=photos is not None,
        )
    )


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("detector.evaluation.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=text.percent, points=text.points, counted=text.count)
    return environment
