"""Numbers and lists as a reader sees them."""

import math
from collections.abc import Sequence

import numpy as np

from detector.evaluation.errors import Diagnosis, ErrorKind, MissReason

#: Name of an error kind in a sentence, and what it is.
KINDS = {
    ErrorKind.LOCALIZATION: ("badly placed boxes", "right class, but the box overlaps the object too little"),
    ErrorKind.CLASSIFICATION: ("wrong classes", "a box well on an object of another class"),
    ErrorKind.DUPLICATE: ("duplicates", "a second box on an object that is found already"),
    ErrorKind.BACKGROUND: ("background", "a box where no object is"),
    ErrorKind.BOTH: ("wrong class and badly placed", "a box near an object of another class"),
    ErrorKind.MISSED: ("missed objects", "an object without any box near it that could be mended"),
}

#: Name of a miss_reason in a table and in a sentence.
FATES = {
    MissReason.FOUND: ("found", "found"),
    MissReason.SUPPRESSED: ("suppressed", "scored well enough but fell to non-maximum suppression"),
    MissReason.MISCLASSIFIED: ("classified wrong", "had a proposal but no sufficient score for their class"),
    MissReason.NOT_PROPOSED: ("no proposal", "had no proposal"),
}


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


#: Differences below this, in mAP or AP, are not worth a sentence: half a point.
_WORTH_TELLING = 0.005


def summary(diagnosis: Diagnosis) -> list[str]:
    """Sentences as plain text, the most important first."""
    if np.isnan(diagnosis.result.mean_ap):
        return ["These images hold no object that counts, so there is no average precision."]
    lines = [
        _losses(diagnosis),
        _misses(diagnosis),
        _weakest(diagnosis),
        _confused(diagnosis),
        _sizes(diagnosis),
        _calibration(diagnosis),
    ]
    return [line for line in lines if line]


def _losses(diagnosis: Diagnosis) -> str:
    gains = diagnosis.errors.gains
    order = [kind for kind in sorted(KINDS, key=lambda kind: -gains[kind]) if gains[kind] >= _WORTH_TELLING]
    if not order:
        return "No single kind of error costs half a point of mAP or more."
    parts = [f"{KINDS[kind][0]} ({points(gains[kind])} points without them)" for kind in order[:1]]
    parts += [f"{KINDS[kind][0]} ({points(gains[kind])})" for kind in order[1:3]]
    return f"Most mAP is lost to {', then to '.join(parts)}."


def _misses(diagnosis: Diagnosis) -> str:
    if diagnosis.miss_reasons is None:
        return ""
    counts = diagnosis.miss_reasons.count()[0]
    missed = int(counts[MissReason.SUPPRESSED :].sum())
    if not missed:
        return "Every object is found by some detection, if often by one of a low score."
    reasons = sorted(
        (miss_reason for miss_reason in MissReason if miss_reason and counts[miss_reason]),
        key=lambda miss_reason: -counts[miss_reason],
    )
    parts = [f"{counts[miss_reason]:,} {FATES[miss_reason][1]}" for miss_reason in reasons]
    return f"Of the {count(missed, 'object')} that no detection found at any score, {listed(parts)}."


def _weakest(diagnosis: Diagnosis) -> str:
    known = [(result.ap, name) for name, result in diagnosis.result.classes.items() if result.objects]
    if len(known) < 4:
        return ""
    worst = sorted(known, key=lambda pair: pair[0])[:3]
    return f"The weakest classes are {listed([f'{name} ({percent(ap)})' for ap, name in worst])}."


def _confused(diagnosis: Diagnosis) -> str:
    frequent = diagnosis.confusion.most_frequent(1)
    if not frequent:
        return ""
    name, other, number = frequent[0]
    times = "once" if number == 1 else f"{number} times"
    return f"Most often {name} is taken for {other} ({times} at a score of at least {diagnosis.score:g})."


def _sizes(diagnosis: Diagnosis) -> str:
    known = [part for part in diagnosis.sizes if part.objects.sum()]
    if len(known) < 2 or known[-1].mean_ap - known[0].mean_ap < _WORTH_TELLING:
        return ""
    first, last = known[0], known[-1]
    ratio = f"{percent(first.mean_ap)} against {percent(last.mean_ap)}"
    return f"On {first.name} objects mAP is {ratio} on {last.name} ones."


def _calibration(diagnosis: Diagnosis) -> str:
    curve = diagnosis.reliability
    if curve is None or not curve.counts.sum():
        return ""
    # Bins from the shown score up: the others are the many low scores, which nobody reads as probabilities.
    lower = np.arange(len(curve.counts)) / len(curve.counts)
    chosen = (lower >= diagnosis.score - 1e-9) & (curve.counts > 0)
    if not chosen.any():
        return ""
    weights = curve.counts[chosen]
    score = float(np.average(curve.mean_scores[chosen], weights=weights))
    right = float(np.average(curve.precision[chosen], weights=weights))
    known = f"of the detections from {lower[chosen][0]:g} up {percent(right, 0)} % are right"
    return f"Scores: {known}, and their mean score is {score:.2f}."
