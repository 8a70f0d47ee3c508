"""Numbers and lists as a reader sees them."""

import math
from collections.abc import Sequence

from detector.evaluation.errors import ErrorKind, MissReason

#: Name of an error kind in a sentence, and what it is.
KINDS = {
    ErrorKind.LOCALISATION: ("badly placed boxes", "right class, but the box overlaps the object too little"),
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
