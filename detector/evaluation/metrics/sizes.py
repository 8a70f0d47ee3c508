"""Small, medium and large objects by their area, with COCO's limits.

Source: Lin et al., Microsoft COCO, and pycocotools' cocoeval.py (`areaRng`).
"""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from detector.errors import InputError

AreaRange = tuple[float, float]
"""Lowest and highest area in square pixels, both included."""

ALL = "all"
"""Name of the range that holds all sizes."""

AREA_RANGES: Mapping[str, AreaRange] = MappingProxyType(
    {ALL: (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
)
"""An area of exactly 32^2 is both small and medium, one of 96^2 both medium and large, as in COCO's evaluator."""


def outside(areas: npt.NDArray[np.float64], area_range: AreaRange | None) -> npt.NDArray[np.bool_]:
    """Which areas lie outside a range; all False without a range.

    Raises:
        InputError: the range is empty or not a number.
    """
    if area_range is None:
        return np.zeros(len(areas), dtype=bool)
    low, high = area_range
    if not low <= high:
        raise InputError(f"area range {low} to {high} is empty; give the lowest area first, then the highest")
    return (areas < low) | (areas > high)


def sizes_of(areas: npt.NDArray[np.float64]) -> dict[str, npt.NDArray[np.bool_]]:
    """Which areas are small, medium and large; an area at a limit is both."""
    return {name: ~outside(areas, area_range) for name, area_range in AREA_RANGES.items() if name != ALL}
