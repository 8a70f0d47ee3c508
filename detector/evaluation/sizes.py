"""Objects told small, medium and large by their area, with COCO's borders.

Source: Lin et al., Microsoft COCO, and pycocotools' cocoeval.py (`areaRng`).
"""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from detector.data.ground_truth import GroundTruth
from detector.errors import InputError

AreaRange = tuple[float, float]
"""Lowest and highest area in square pixels, both included."""

ALL = "all"

AREA_RANGES: Mapping[str, AreaRange] = MappingProxyType(
    # An area of exactly 32^2 is small as well as medium, one of 96^2 medium as well as large: COCO's evaluator does so.
    {ALL: (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
)


def box_sides(boxes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(N, 2) width and height of (N, 4) boxes x1, y1, x2, y2, to a millionth of a pixel.

    A file of widths gives x2 as x1 + width, and x2 - x1 may differ from that width in its last bit: 100.1 + 32 - 100.1
    is above 32, so that a box of exactly 32 x 32 pixels would not be small. Rounding gives the file's decimal number
    back.
    """
    return np.round(boxes[:, 2:] - boxes[:, :2], 6)


def object_areas(truth: GroundTruth) -> npt.NDArray[np.float64]:
    """(N,) areas of the objects in square pixels: the annotated ones, or the boxes' where these are their areas."""
    plain = (truth.boxes[:, 2:] - truth.boxes[:, :2]).prod(axis=1)
    return np.where(truth.areas == plain, box_sides(truth.boxes).prod(axis=1), truth.areas)


def outside(areas: npt.NDArray[np.float64], area_range: AreaRange | None) -> npt.NDArray[np.bool_]:
    """Which areas lie outside a range; none of them without a range.

    Raises:
        InputError: the range is empty or not a number.
    """
    if area_range is None:
        return np.zeros(len(areas), dtype=bool)
    low, high = area_range
    if not low <= high:
        raise InputError(f"area range {low} to {high} holds no area; give the lowest and the highest one")
    return (areas < low) | (areas > high)
