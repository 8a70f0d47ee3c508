"""Numbers of a result for JSON and for tables."""

import math


def number(value: float) -> float | None:
    """The value for JSON, which knows no NaN: None instead."""
    return None if math.isnan(value) else float(value)


def percent(value: float) -> str:
    """A fraction in percent with one decimal; a dash for NaN."""
    return "-" if math.isnan(value) else f"{100 * value:.1f}"
