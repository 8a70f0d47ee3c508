"""The rows of the report's tables, from the arrays of a diagnosis."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from detector.data.ground_truth import GroundTruth
from detector.evaluation.errors import Diagnosis, ErrorKind, MissReason
from detector.evaluation.metrics.bootstrap import Interval, Intervals
from detector.evaluation.metrics.sizes import sizes_of
from detector.evaluation.report.charts import Bar, Curve, Plot, class_curve, overlap_bars
from detector.evaluation.report.text import FATES, KINDS

#: A confusion matrix of more classes than this is cut to those with the most errors: more cannot be read.
MATRIX_CLASSES = 40

#: The table of single objects holds at most so many, missed ones first.
LISTED_OBJECTS = 2000

_HISTOGRAM = Plot(width=340, height=110, left=34, right=8, top=8, bottom=26)


@dataclass(frozen=True, kw_only=True)
class ClassRow:
    """A class with objects: its AP, and its curve. `detections` are those that count."""

    name: str
    ap: float
    interval: Interval | None
    objects: int
    detections: int
    curve: Curve


def class_rows(diagnosis: Diagnosis, intervals: Intervals | None) -> list[ClassRow]:
    """The classes with objects, the best first."""
    rows = [
        ClassRow(
            name=name,
            ap=result.ap,
            interval=None if intervals is None else intervals.classes.get(name),
            objects=result.objects,
            detections=len(result.scores),
            curve=class_curve(result, diagnosis.score),
        )
        for name, result in diagnosis.result.classes.items()
        if result.objects
    ]
    return sorted(rows, key=lambda row: -row.ap)


@dataclass(frozen=True, kw_only=True)
class ErrorRow:
    """An error kind: the mAP it would give back, its number at all scores and at the shown one (None for misses)."""

    name: str
    meaning: str
    gain: float
    count: int
    shown: int | None


def error_rows(diagnosis: Diagnosis) -> list[ErrorRow]:
    """The kinds, the most costly first."""
    errors = diagnosis.errors
    shown = np.bincount(errors.kinds[diagnosis.images.false_positive], minlength=len(ErrorKind))
    rows = [
        ErrorRow(
            name=name[0].upper() + name[1:],
            meaning=meaning,
            gain=float(errors.gains[kind]),
            count=int(errors.counts[kind].sum()),
            shown=None if kind == ErrorKind.MISSED else int(shown[kind]),
        )
        for kind, (name, meaning) in KINDS.items()
    ]
    return sorted(rows, key=lambda row: -np.nan_to_num(row.gain))


@dataclass(frozen=True, kw_only=True)
class MissReasonRow:
    """A group of objects and how many of them met which `MissReason`."""

    name: str
    counts: tuple[int, ...]

    @property
    def total(self) -> int:
        """Number of the objects."""
        return sum(self.counts)


def miss_reason_tables(truth: GroundTruth, diagnosis: Diagnosis) -> Mapping[str, list[MissReasonRow]]:
    """Miss reasons at both scores, and at the lowest one by class, size and source; empty without traces."""
    miss_reasons, shown, traces = diagnosis.miss_reasons, diagnosis.shown_miss_reasons, diagnosis.traces
    if miss_reasons is None or shown is None or traces is None:
        return {}
    sources = (*traces.source_names, "no proposals at all")
    groups = {
        "Class": (truth.labels, truth.class_names),
        # A source of -1 is the last.
        "Source": (traces.sources % len(sources), sources),
    }
    every = [
        MissReasonRow(name="at any score", counts=tuple(miss_reasons.count()[0].tolist())),
        MissReasonRow(name=f"from {diagnosis.score:g} up", counts=tuple(shown.count()[0].tolist())),
    ]
    tables = {"All objects": every}
    for title, (group, names) in groups.items():
        counts = miss_reasons.count(group, len(names)).tolist()
        rows = [MissReasonRow(name=name, counts=tuple(row)) for name, row in zip(names, counts, strict=True)]
        tables[title] = [row for row in rows if row.total]
    rows = [
        MissReasonRow(name=name, counts=tuple(miss_reasons.count(objects.astype(np.int64), 2)[1].tolist()))
        for name, objects in sizes_of(truth.areas).items()
    ]
    tables["Size"] = [row for row in rows if row.total]
    return tables


@dataclass(frozen=True, kw_only=True)
class OverlapChart:
    """How much the best proposal overlaps hits or misses: a histogram, and the mean and number by source."""

    title: str
    bars: list[Bar]
    most: int
    sources: list[tuple[str, int, float]]


def overlap_charts(diagnosis: Diagnosis) -> tuple[Plot, list[OverlapChart]]:
    """Of the hits and of the misses at the lowest score; none without traces."""
    if diagnosis.miss_reasons is None or diagnosis.traces is None:
        return _HISTOGRAM, []
    miss_reasons, traces = diagnosis.miss_reasons.reasons, diagnosis.traces
    charts = []
    for title, chosen in (("Hits", miss_reasons == MissReason.FOUND), ("Misses", miss_reasons > MissReason.FOUND)):
        overlaps = traces.proposal_overlaps[chosen]
        bins = np.bincount(np.minimum((overlaps * 10).astype(np.int64), 9), minlength=10)
        most = max(int(bins.max()), 1)
        sources = []
        for index, name in enumerate(traces.source_names):
            rows = chosen & (traces.sources == index)
            if rows.any():
                sources.append((name, int(rows.sum()), float(traces.proposal_overlaps[rows].mean())))
        bars = overlap_bars(overlaps, most, _HISTOGRAM)
        charts.append(OverlapChart(title=title, bars=bars, most=most, sources=sources))
    return _HISTOGRAM, charts


@dataclass(frozen=True, kw_only=True)
class ObjectRow:
    """An object: where it is, and what became of it at the lowest score."""

    image: str
    name: str
    size: str
    miss_reason: str
    source: str
    overlap: float
    score: float


def object_rows(truth: GroundTruth, diagnosis: Diagnosis) -> tuple[list[ObjectRow], int]:
    """Objects by miss_reason, missed ones first, as many as are listed; and the number of all. None without traces."""
    if diagnosis.miss_reasons is None or diagnosis.traces is None:
        return [], 0
    miss_reasons, traces = diagnosis.miss_reasons.reasons, diagnosis.traces
    counted = np.flatnonzero(miss_reasons >= 0)
    order = counted[np.lexsort((truth.images[counted], truth.labels[counted], -miss_reasons[counted]))]
    sizes = sizes_of(truth.areas)
    rows = [
        ObjectRow(
            image=str(truth.image_ids[truth.images[i]]),
            name=truth.class_names[truth.labels[i]],
            size=" and ".join(name for name, objects in sizes.items() if objects[i]),
            miss_reason=FATES[MissReason(miss_reasons[i])][0],
            source=traces.source_names[traces.sources[i]] if traces.sources[i] >= 0 else "–",
            overlap=float(traces.proposal_overlaps[i]),
            score=float(traces.region_scores[i]),
        )
        for i in order[:LISTED_OBJECTS].tolist()
    ]
    return rows, len(counted)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A number of the confusion matrix, its share of the row (0 to 1), and whether it stands for what is right."""

    number: int
    share: float
    right: bool


@dataclass(frozen=True, kw_only=True)
class MatrixRow:
    """A row of the confusion matrix and the sum over all classes, those that are not shown too."""

    name: str
    cells: list[Cell]
    total: int


@dataclass(frozen=True, kw_only=True)
class MatrixView:
    """The part of a confusion matrix that is shown; background comes first, where a phone shows it too.

    Attributes:
        columns: their names.
        left_out: number of classes that are not shown.
    """

    columns: list[str]
    left_out: int
    rows: list[MatrixRow]


def matrix_view(diagnosis: Diagnosis) -> MatrixView:
    """The classes that have objects or detections, cut to those with the most errors if they are many."""
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
        whole = int(matrix[index].sum())
        cells = [
            Cell(number=int(matrix[index, i]), share=float(matrix[index, i] / max(whole, 1)), right=i == index)
            for i in shown
        ]
        rows.append(MatrixRow(name=name, cells=cells, total=whole))
    return MatrixView(columns=["nothing", *names], left_out=len(present) - len(chosen), rows=rows)
