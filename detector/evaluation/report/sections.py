"""The words and the rows of the report, from the arrays of a diagnosis; the template names the fields of the rows."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from detector.evaluation.errors import Diagnosis, ErrorKind, MissReason
from detector.evaluation.errors.diagnosis import count_reasons, most_frequent
from detector.evaluation.metrics.bootstrap import Intervals
from detector.evaluation.metrics.sizes import SIZES, in_range
from detector.evaluation.report.charts import class_curve, overlap_bars

MATRIX_CLASSES = 40
"""Most classes of a readable confusion matrix; with more, those with the most errors are shown."""

LISTED_OBJECTS = 2000
"""Most rows of the table of single objects, missed ones first."""

ERROR_KINDS = {
    ErrorKind.LOCALIZATION: ("localization errors", "right class, but the box overlaps the object too little"),
    ErrorKind.CLASSIFICATION: ("classification errors", "a box placed well on an object of another class"),
    ErrorKind.DUPLICATE: ("duplicates", "a second box on an object that is already found"),
    ErrorKind.BACKGROUND: ("background errors", "a box without an object"),
    ErrorKind.BOTH: ("combined errors", "wrong class, and the box overlaps the object too little"),
    ErrorKind.MISSED: ("missed objects", "an object without a box near it that could be fixed"),
}
"""Name of an error kind in a sentence, and its meaning."""

MISS_REASONS = {
    MissReason.FOUND: ("found", "found"),
    MissReason.SUPPRESSED: ("suppressed", "scored high enough but fell to non-maximum suppression"),
    MissReason.MISCLASSIFIED: ("misclassified", "had a proposal but too low a score for their class"),
    MissReason.NOT_PROPOSED: ("no proposal", "had no proposal"),
}
"""Name of a miss reason in a table and in a sentence."""

# Differences below this, in mAP or AP, get no sentence: half a point.
_WORTH_A_SENTENCE = 0.005

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


def percent(fraction: float, digits: int = 1) -> str:
    """A fraction in percent, without the sign; a dash for NaN."""
    return "–" if math.isnan(fraction) else f"{100 * fraction:.{digits}f}"


def points(fraction: float) -> str:
    """A difference in percentage points with its sign; a dash for NaN."""
    if math.isnan(fraction):
        return "–"
    text = f"{100 * fraction:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "−")


def count(number: int, noun: str) -> str:
    """'1 image', '1,200 images'."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def listed(items: Sequence[str]) -> str:
    """'a, b and c'."""
    return ", ".join(items[:-1]) + " and " + items[-1] if len(items) > 1 else "".join(items)


def summary(diagnosis: Diagnosis) -> Iterator[str]:
    """The main results as sentences in plain text, the most important first."""
    if math.isnan(diagnosis.result.mean_ap):
        yield "These images have no objects that count, so average precision is undefined."
        return
    gains = diagnosis.errors.gains
    kinds = [kind for kind in sorted(ERROR_KINDS, key=lambda kind: -gains[kind]) if gains[kind] >= _WORTH_A_SENTENCE]
    losses = [f"{ERROR_KINDS[kind][0]} ({points(gains[kind])} points without them)" for kind in kinds[:1]]
    losses += [f"{ERROR_KINDS[kind][0]} ({points(gains[kind])})" for kind in kinds[1:3]]
    if losses:
        yield f"Most mAP is lost to {', then to '.join(losses)}."
    else:
        yield "No single kind of error costs half a point of mAP or more."
    if diagnosis.miss_reasons is not None:
        counts = count_reasons(diagnosis.miss_reasons)[0]
        reasons = sorted((reason for reason in MissReason if reason and counts[reason]), key=lambda r: -counts[r])
        if parts := [f"{counts[reason]:,} {MISS_REASONS[reason][1]}" for reason in reasons]:
            missed = count(int(counts[MissReason.SUPPRESSED :].sum()), "object")
            yield f"Of the {missed} that no detection found at any score, {listed(parts)}."
        else:
            yield "Every object is found by some detection, though often one of a low score."
    classes = [(result.ap, name) for name, result in diagnosis.result.classes.items() if result.objects]
    if len(classes) >= 4:
        worst = sorted(classes, key=lambda pair: pair[0])[:3]
        yield f"The weakest classes are {listed([f'{name} ({percent(ap)})' for ap, name in worst])}."
    for name, mistaken_for, number in most_frequent(diagnosis, 1):
        times = f"{'once' if number == 1 else f'{number} times'} at a score of at least {diagnosis.score:g}"
        yield f"The most frequent confusion is {name} mistaken for {mistaken_for} ({times})."
    sizes = [(name, part.mean_ap) for name, part in diagnosis.sizes.items() if not math.isnan(part.mean_ap)]
    if len(sizes) >= 2 and sizes[-1][1] - sizes[0][1] >= _WORTH_A_SENTENCE:
        (first, lowest), *_, (last, highest) = sizes
        yield f"The mAP of {first} objects is {percent(lowest)}, that of {last} objects {percent(highest)}."
    if (curve := diagnosis.reliability) is not None:
        # Bins from the shown score up: nobody reads the many low scores below as probabilities.
        lower = np.arange(len(curve.counts)) / len(curve.counts)
        chosen = (lower >= diagnosis.score - 1e-9) & (curve.counts > 0)
        if chosen.any():
            score, right = np.average([curve.mean_scores[chosen], curve.precision[chosen]], 1, curve.counts[chosen])
            yield (
                f"Of the detections that score {lower[chosen][0]:g} or more, {percent(right, 0)} % are right;"
                f" their mean score is {score:.2f}."
            )
