"""The rows of the report's tables, from the arrays of a diagnosis; the template names their fields."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from detector.evaluation.errors import Diagnosis, ErrorKind, MissReason
from detector.evaluation.errors.diagnosis import count_reasons
from detector.evaluation.metrics.bootstrap import Intervals
from detector.evaluation.metrics.sizes import SIZES, in_range
from detector.evaluation.report.charts import class_curve, overlap_bars
from detector.evaluation.report.text import ERROR_KINDS, MISS_REASONS

MATRIX_CLASSES = 40
"""Most classes of a readable confusion matrix; with more, those with the most errors are shown."""

LISTED_OBJECTS = 2000
"""Most rows of the table of single objects, missed ones first."""

Row = dict[str, Any]


def class_rows(diagnosis: Diagnosis, intervals: Intervals) -> list[Row]:
    """The classes with objects, the best first."""
    results = zip(diagnosis.result.classes.items(), intervals.low, intervals.high, strict=False)  # the mean is last
    rows = [
        {"name": name, "result": result, "low": low, "high": high, "curve": class_curve(result, diagnosis.score)}
        for (name, result), low, high in results
        if result.objects
    ]
    return sorted(rows, key=lambda row: -row["result"].ap)


def error_rows(diagnosis: Diagnosis) -> list[Row]:
    """The kinds, the most costly first: the mAP gained by fixing one, and the number at all scores and at the shown
    one (None for misses)."""
    errors = diagnosis.errors
    shown = np.bincount(errors.kinds[diagnosis.images.false_positive], minlength=len(ErrorKind))
    rows = [
        {
            "name": name[0].upper() + name[1:],
            "meaning": meaning,
            "gain": float(errors.gains[kind]),
            "number": int(errors.counts[kind].sum()),
            "shown": None if kind == ErrorKind.MISSED else int(shown[kind]),
        }
        for kind, (name, meaning) in ERROR_KINDS.items()
    ]
    return sorted(rows, key=lambda row: -np.nan_to_num(row["gain"]))


def miss_reason_tables(diagnosis: Diagnosis) -> Mapping[str, list[tuple[str, list[int]]]]:
    """Groups of objects and their number by `MissReason`: at both scores, and at the lowest one by class, size and
    source; empty without traces."""
    truth, traces = diagnosis.matches.truth, diagnosis.traces
    lowest, shown = diagnosis.miss_reasons, diagnosis.shown_miss_reasons
    if lowest is None or shown is None or traces is None:
        return {}
    sources = (*traces.source_names, "no proposals at all")
    by_class = count_reasons(lowest, truth.labels, len(truth.class_names))
    by_source = count_reasons(lowest, traces.sources % len(sources), len(sources))  # a source of -1 is the last
    by_size = np.array([count_reasons(lowest, in_range(truth.areas, size).astype(int), 2)[1] for size in SIZES])
    groups = {"Class": (truth.class_names, by_class), "Source": (sources, by_source), "Size": (SIZES, by_size)}
    every = [
        ("at any score", count_reasons(lowest)[0].tolist()),
        (f"at score {diagnosis.score:g} or more", count_reasons(shown)[0].tolist()),
    ]
    return {"All objects": every} | {
        title: [(name, counts.tolist()) for name, counts in zip(names, rows, strict=True) if counts.any()]
        for title, (names, rows) in groups.items()
    }


def overlap_charts(diagnosis: Diagnosis) -> list[Row]:
    """IoU of the best proposal of the hits and of the misses at the lowest score: a histogram, and the number and mean
    by source; empty without traces."""
    reasons, traces = diagnosis.miss_reasons, diagnosis.traces
    if reasons is None or traces is None:
        return []
    charts = []
    for title, chosen in (("Hits", reasons == MissReason.FOUND), ("Misses", reasons > MissReason.FOUND)):
        bins = np.minimum((traces.proposal_overlaps[chosen] * 10).astype(np.int64), 9)
        counts = np.bincount(bins, minlength=10)
        most = max(int(counts.max()), 1)
        by_source = [(name, chosen & (traces.sources == i)) for i, name in enumerate(traces.source_names)]
        sources = [(name, rows.sum(), traces.proposal_overlaps[rows].mean()) for name, rows in by_source if rows.any()]
        charts.append({"title": title, "bars": overlap_bars(counts, most), "most": most, "sources": sources})
    return charts


def object_rows(diagnosis: Diagnosis) -> list[Row]:
    """The first `LISTED_OBJECTS` objects, missed ones first, by the miss reason at the lowest score; empty without
    traces."""
    truth, reasons, traces = diagnosis.matches.truth, diagnosis.miss_reasons, diagnosis.traces
    if reasons is None or traces is None:
        return []
    counted = np.flatnonzero(reasons >= 0)
    order = counted[np.lexsort((truth.images[counted], truth.labels[counted], -reasons[counted]))]
    sizes = {size: in_range(truth.areas, size) for size in SIZES}
    return [
        {
            "image": truth.image_ids[truth.images[i]],
            "name": truth.class_names[truth.labels[i]],
            "size": " and ".join(size for size, objects in sizes.items() if objects[i]),
            "miss_reason": MISS_REASONS[MissReason(reasons[i])][0],
            "source": traces.source_names[traces.sources[i]] if traces.sources[i] >= 0 else "–",
            "overlap": traces.proposal_overlaps[i],
            "score": traces.region_scores[i],
        }
        for i in order[:LISTED_OBJECTS].tolist()
    ]


def matrix_part(diagnosis: Diagnosis) -> Row:
    """The shown part of the confusion matrix: the classes that have objects or detections; of many classes those with
    the most errors. Background comes first, where a phone shows it too.

    `rows` have a name, cells (number, its share of the row, whether it is on the diagonal) and the sum over all
    classes; `left_out` is the number of classes that are not shown.
    """
    matrix = diagnosis.confusion
    background = len(matrix) - 1
    total = matrix.sum(axis=1)[:-1] + matrix.sum(axis=0)[:-1]
    present = np.flatnonzero(total)
    wrong = total - 2 * np.diag(matrix)[:-1]
    chosen = np.sort(present[np.argsort(-wrong[present], kind="stable")[:MATRIX_CLASSES]])
    shown = [background, *chosen.tolist()]
    names = [diagnosis.matches.truth.class_names[i] for i in chosen]
    sums = matrix.sum(axis=1)
    rows = [
        (name, [(matrix[i, j], matrix[i, j] / max(sums[i], 1), i == j) for j in shown], sums[i])
        for i, name in zip(shown, ["background", *names], strict=True)
    ]
    return {"columns": ["nothing", *names], "left_out": len(present) - len(chosen), "rows": rows}
