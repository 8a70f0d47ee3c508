"""The rows of the report's tables, from the arrays of a diagnosis."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from detector.data.ground_truth import GroundTruth
from detector.evaluation.errors import Diagnosis, ErrorKind, MissReason
from detector.evaluation.metrics.bootstrap import Interval, Intervals
from detector.evaluation.metrics.sizes import sizes_of
from detector.evaluation.report.charts import Bar, Curve, class_curve, overlap_bars
from detector.evaluation.report.text import ERROR_KINDS, MISS_REASONS

MATRIX_CLASSES = 40
"""Most classes of a readable confusion matrix; with more, those with the most errors are shown."""

LISTED_OBJECTS = 2000
"""Most rows of the table of single objects, missed ones first."""


class ClassRow(NamedTuple):
    """A class with objects: its AP and its curve. `detections` are those that count."""

    name: str
    ap: float
    interval: Interval | None
    objects: int
    detections: int
    curve: Curve


def class_rows(diagnosis: Diagnosis, intervals: Intervals | None) -> list[ClassRow]:
    """The classes with objects, the best first."""
    by_class = {} if intervals is None else intervals.classes
    rows = [
        ClassRow(name, result.ap, by_class.get(name), result.objects, len(result.scores),
                 class_curve(result, diagnosis.score))
        for name, result in diagnosis.result.classes.items()
        if result.objects
    ]  # fmt: skip
    return sorted(rows, key=lambda row: -row.ap)


class ErrorRow(NamedTuple):
    """An error kind: the mAP gained by fixing it, its number at all scores and at the shown one (None for misses)."""

    name: str
    meaning: str
    gain: float
    number: int
    shown: int | None


def error_rows(diagnosis: Diagnosis) -> list[ErrorRow]:
    """The kinds, the most costly first."""
    errors = diagnosis.errors
    shown = np.bincount(errors.kinds[diagnosis.images.false_positive], minlength=len(ErrorKind))
    rows = [
        ErrorRow(name[0].upper() + name[1:], meaning, float(errors.gains[kind]), int(errors.counts[kind].sum()),
                 None if kind == ErrorKind.MISSED else int(shown[kind]))
        for kind, (name, meaning) in ERROR_KINDS.items()
    ]  # fmt: skip
    return sorted(rows, key=lambda row: -np.nan_to_num(row.gain))


class MissReasonRow(NamedTuple):
    """A group of objects and their number by `MissReason`."""

    name: str
    counts: list[int]


def miss_reason_tables(truth: GroundTruth, diagnosis: Diagnosis) -> Mapping[str, list[MissReasonRow]]:
    """Miss reasons at both scores, and at the lowest one by class, size and source; empty without traces."""
    lowest, shown, traces = diagnosis.miss_reasons, diagnosis.shown_miss_reasons, diagnosis.traces
    if lowest is None or shown is None or traces is None:
        return {}
    sources = (*traces.source_names, "no proposals at all")
    groups = {
        "Class": (truth.labels, truth.class_names),
        "Source": (traces.sources % len(sources), sources),  # a source of -1 is the last
    }
    tables = {
        "All objects": [
            MissReasonRow("at any score", lowest.count()[0].tolist()),
            MissReasonRow(f"at score {diagnosis.score:g} or more", shown.count()[0].tolist()),
        ]
    }
    for title, (group, names) in groups.items():
        counts = lowest.count(group, len(names)).tolist()
        tables[title] = [MissReasonRow(name, row) for name, row in zip(names, counts, strict=True) if sum(row)]
    by_size = {name: lowest.count(rows.astype(np.int64), 2)[1].tolist() for name, rows in sizes_of(truth.areas).items()}
    tables["Size"] = [MissReasonRow(name, counts) for name, counts in by_size.items() if sum(counts)]
    return tables


class OverlapChart(NamedTuple):
    """IoU of the best proposal of hits or misses: a histogram, and the number and mean by source."""

    title: str
    bars: list[Bar]
    most: int
    sources: list[tuple[str, int, float]]


def overlap_charts(diagnosis: Diagnosis) -> list[OverlapChart]:
    """The charts of the hits and of the misses at the lowest score; empty without traces."""
    if diagnosis.miss_reasons is None or diagnosis.traces is None:
        return []
    reasons, traces = diagnosis.miss_reasons.reasons, diagnosis.traces
    charts = []
    for title, chosen in (("Hits", reasons == MissReason.FOUND), ("Misses", reasons > MissReason.FOUND)):
        bins = np.minimum((traces.proposal_overlaps[chosen] * 10).astype(np.int64), 9)
        counts = np.bincount(bins, minlength=10)
        most = max(int(counts.max()), 1)
        by_source = [(name, chosen & (traces.sources == i)) for i, name in enumerate(traces.source_names)]
        sources = [
            (name, int(rows.sum()), float(traces.proposal_overlaps[rows].mean()))
            for name, rows in by_source
            if rows.any()
        ]
        charts.append(OverlapChart(title, overlap_bars(counts, most), most, sources))
    return charts


class ObjectRow(NamedTuple):
    """An object, and its miss reason at the lowest score."""

    image: str
    name: str
    size: str
    miss_reason: str
    source: str
    overlap: float
    score: float


def object_rows(truth: GroundTruth, diagnosis: Diagnosis) -> tuple[list[ObjectRow], int]:
    """The first `LISTED_OBJECTS` objects, missed ones first, and the number of all; empty without traces."""
    if diagnosis.miss_reasons is None or diagnosis.traces is None:
        return [], 0
    reasons, traces = diagnosis.miss_reasons.reasons, diagnosis.traces
    counted = np.flatnonzero(reasons >= 0)
    order = counted[np.lexsort((truth.images[counted], truth.labels[counted], -reasons[counted]))]
    sizes = sizes_of(truth.areas)
    rows = [
        ObjectRow(
            image=str(truth.image_ids[truth.images[i]]),
            name=truth.class_names[truth.labels[i]],
            size=" and ".join(name for name, objects in sizes.items() if objects[i]),
            miss_reason=MISS_REASONS[MissReason(reasons[i])][0],
            source=traces.source_names[traces.sources[i]] if traces.sources[i] >= 0 else "–",
            overlap=float(traces.proposal_overlaps[i]),
            score=float(traces.region_scores[i]),
        )
        for i in order[:LISTED_OBJECTS].tolist()
    ]
    return rows, len(counted)


class Cell(NamedTuple):
    """A number of the confusion matrix, its share of the row (0 to 1), and whether it is on the diagonal."""

    number: int
    share: float
    right: bool


class MatrixRow(NamedTuple):
    """A row of the confusion matrix and its sum over all classes, including those not shown."""

    name: str
    cells: list[Cell]
    total: int


class MatrixPart(NamedTuple):
    """The shown part of a confusion matrix; background comes first, where a phone shows it too.

    Attributes:
        left_out: number of classes that are not shown.
    """

    columns: list[str]
    left_out: int
    rows: list[MatrixRow]


def matrix_part(diagnosis: Diagnosis) -> MatrixPart:
    """The classes that have objects or detections; of many classes those with the most errors."""
    matrix = diagnosis.confusion.matrix
    background = len(matrix) - 1
    total = matrix.sum(axis=1)[:-1] + matrix.sum(axis=0)[:-1]
    present = np.flatnonzero(total)
    wrong = total - 2 * np.diag(matrix)[:-1]
    chosen = np.sort(present[np.argsort(-wrong[present], kind="stable")[:MATRIX_CLASSES]])
    shown = [background, *chosen.tolist()]
    names = [diagnosis.confusion.class_names[i] for i in chosen]
    rows = []
    for index, name in zip(shown, ["background", *names], strict=True):
        row_sum = int(matrix[index].sum())
        cells = [Cell(int(matrix[index, i]), float(matrix[index, i] / max(row_sum, 1)), i == index) for i in shown]
        rows.append(MatrixRow(name, cells, row_sum))
    return MatrixPart(["nothing", *names], len(present) - len(chosen), rows)
