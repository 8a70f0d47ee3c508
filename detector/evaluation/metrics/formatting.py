"""Figures of a result: their mean, and how JSON and tables write them."""

import math

import numpy as np
import numpy.typing as npt


def number(value: float) -> float | None:
    """The value for JSON, which has no NaN: None instead."""
    return None if math.isnan(value) else float(value)


def percent(value: float) -> str:
    """A fraction in percent with one decimal; a dash for NaN."""
    return "-" if math.isnan(value) else f"{100 * value:.1f}"


def mean_of_known(values: npt.NDArray[np.float64]) -> float:
    """The mean of the values that are not NaN; NaN if all are."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
