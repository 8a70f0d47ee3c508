"""What the development kits of VOC and ILSVRC compute, as loops in their own coordinates: 1-based, inclusive."""

import math
from collections.abc import Sequence

Box = tuple[float, float, float, float]


def inclusive(box: Sequence[float]) -> Box:
    x1, y1, x2, y2 = map(float, box)
    return x1 + 1, y1 + 1, x2, y2


def inclusive_iou(a: Box, b: Box) -> float:
    """With sides of xmax - xmin + 1; -inf where the boxes do not overlap."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]) + 1, min(a[3], b[3]) - max(a[1], b[1]) + 1
    if width <= 0 or height <= 0:
        return -math.inf
    areas = ((x2 - x1 + 1) * (y2 - y1 + 1) for x1, y1, x2, y2 in (a, b))
    return width * height / (sum(areas) - width * height)


def curve(hits: Sequence[bool]) -> list[tuple[int, float]]:
    """Number of hits and precision after each detection."""
    counts = [sum(hits[:end]) for end in range(1, len(hits) + 1)]
    return [(right, right / end) for end, right in enumerate(counts, start=1)]


def area(hits: Sequence[bool], positives: int) -> float:
    """Area under the curve of the highest precision at each recall or beyond."""
    points, total, last = curve(hits), 0.0, 0
    for start, (right, _) in enumerate(points):
        total += (right - last) / positives * max(precision for _, precision in points[start:]) if positives else 0
        last = right
    return total if positives else math.nan


def eleven_points(hits: Sequence[bool], positives: int) -> float:
    """Mean of the highest precision at recall 0, 0.1, ... 1 or beyond."""
    if not positives:
        return math.nan
    levels = [i * 0.1 for i in range(11)]
    return sum(max([p for right, p in curve(hits) if right / positives >= level], default=0.0) for level in levels) / 11
