"""Words of the report: names of errors, numbers and lists, and the sentences at its top."""

import math
from collections.abc import Iterator, Sequence

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


def summary(diagnosis: Diagnosis) -> Iterator[str]:
    """The main results as sentences in plain text, the most important first."""
    if math.isnan(diagnosis.result.mean_ap):
        yield "These images have no objects that count, so average precision is undefined."
        return
    gains = diagnosis.errors.gains
    kinds = [kind for kind in sorted(ERROR_KINDS, key=lambda kind: -gains[kind]) if gains[kind] >= _WORTH_A_SENTENCE]
    losses = [f"{ERROR_KINDS[kind][0]} ({points(gains[kind])}" for kind in kinds[:3]]
    if losses:
        yield f"Most mAP is lost to {'), then to '.join([f'{losses[0]} points without them', *losses[1:]])})."
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
