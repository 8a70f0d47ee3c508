"""Small, medium and large objects by their area, with COCO's limits.

Source: Lin et al., Microsoft COCO, and pycocotools' cocoeval.py (`areaRng`).
"""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

ALL = "all"
"""Name of the range that holds all sizes."""

AREA_RANGES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {ALL: (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
)
"""Lowest and highest area in square pixels, both included: an area of exactly 32^2 is both small and medium, one of
96^2 both medium and large, as in COCO's evaluator."""

SIZES = ("small", "medium", "large")


def in_range(areas: npt.NDArray[np.float64], size: str) -> npt.NDArray[np.bool_]:
    """Which areas in square pixels lie in the range of `AREA_RANGES`."""
    low, high = AREA_RANGES[size]
    return (areas >= low) & (areas <= high)
