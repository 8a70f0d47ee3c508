"""Words of the report: names of errors, numbers and lists, and the sentences at its top."""

import math
from collections.abc import Sequence

import numpy as np

from detector.evaluation.errors import Diagnosis, ErrorKind, MissReason
from detector.evaluation.errors.diagnosis import count_reasons, most_frequent

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


def summary(diagnosis: Diagnosis) -> list[str]:
    """The main results as sentences in plain text, the most important first."""
    if np.isnan(diagnosis.result.mean_ap):
        return ["These images have no objects that count, so average precision is undefined."]
    sentences = (_losses, _misses, _weakest, _confused, _sizes, _calibration)
    return [line for sentence in sentences if (line := sentence(diagnosis))]


def _losses(diagnosis: Diagnosis) -> str:
    gains = diagnosis.errors.gains
    order = [kind for kind in sorted(ERROR_KINDS, key=lambda kind: -gains[kind]) if gains[kind] >= _WORTH_A_SENTENCE]
    if not order:
        return "No single kind of error costs half a point of mAP or more."
    parts = [f"{ERROR_KINDS[kind][0]} ({points(gains[kind])} points without them)" for kind in order[:1]]
    parts += [f"{ERROR_KINDS[kind][0]} ({points(gains[kind])})" for kind in order[1:3]]
    return f"Most mAP is lost to {', then to '.join(parts)}."


def _misses(diagnosis: Diagnosis) -> str:
    if diagnosis.miss_reasons is None:
        return ""
    counts = count_reasons(diagnosis.miss_reasons)[0]
    missed = int(counts[MissReason.SUPPRESSED :].sum())
    if not missed:
        return "Every object is found by some detection, though often one of a low score."
    reasons = sorted((reason for reason in MissReason if reason and counts[reason]), key=lambda reason: -counts[reason])
    parts = [f"{counts[reason]:,} {MISS_REASONS[reason][1]}" for reason in reasons]
    return f"Of the {count(missed, 'object')} that no detection found at any score, {listed(parts)}."


def _weakest(diagnosis: Diagnosis) -> str:
    classes = [(result.ap, name) for name, result in diagnosis.result.classes.items() if result.objects]
    if len(classes) < 4:
        return ""
    worst = sorted(classes, key=lambda pair: pair[0])[:3]
    return f"The weakest classes are {listed([f'{name} ({percent(ap)})' for ap, name in worst])}."


def _confused(diagnosis: Diagnosis) -> str:
    frequent = most_frequent(diagnosis, 1)
    if not frequent:
        return ""
    name, mistaken_for, number = frequent[0]
    times = "once" if number == 1 else f"{number} times"
    return (
        f"The most frequent confusion is {name} mistaken for {mistaken_for}"
        f" ({times} at a score of at least {diagnosis.score:g})."
    )


def _sizes(diagnosis: Diagnosis) -> str:
    sizes = [(name, part.mean_ap) for name, part in diagnosis.sizes.items() if not math.isnan(part.mean_ap)]
    if len(sizes) < 2 or sizes[-1][1] - sizes[0][1] < _WORTH_A_SENTENCE:
        return ""
    (first, lowest), *_, (last, highest) = sizes
    return f"The mAP of {first} objects is {percent(lowest)}, that of {last} objects {percent(highest)}."


def _calibration(diagnosis: Diagnosis) -> str:
    curve = diagnosis.reliability
    if curve is None or not curve.counts.sum():
        return ""
    # Bins from the shown score up: nobody reads the many low scores below as probabilities.
    lower = np.arange(len(curve.counts)) / len(curve.counts)
    chosen = (lower >= diagnosis.score - 1e-9) & (curve.counts > 0)
    if not chosen.any():
        return ""
    weights = curve.counts[chosen]
    score = float(np.average(curve.mean_scores[chosen], weights=weights))
    right = float(np.average(curve.precision[chosen], weights=weights))
    return (
        f"Of the detections that score {lower[chosen][0]:g} or more, {percent(right, 0)} % are right;"
        f" their mean score is {score:.2f}."
    )
