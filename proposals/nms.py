"""Non-maximum suppression of sorted boxes that stops at a limit."""

import numpy as np

from proposals.compilation import compiled


def nms(boxes: np.ndarray, iou: float, limit: int | None = None) -> np.ndarray:
    """Returns the indices (K,) int64 of the first `limit` boxes that survive non-maximum suppression.

    Args:
        boxes: (N, 4) float32 xyxy, best first.
        iou: boxes that overlap a better surviving box by more than this are suppressed.
        limit: maximum number of indices; None returns all.
    """
    return _nms(boxes, iou, len(boxes) if limit is None else min(limit, len(boxes)))


@compiled
def _nms(boxes: np.ndarray, iou: float, limit: int) -> np.ndarray:
    # All steps are in float32 and in this order, so that the result equals that of torchvision's nms exactly.
    keep = np.empty(limit, np.int64)
    kept = np.empty((5, limit), np.float32)  # corners and area of the surviving boxes
    count = 0
    for index in range(len(boxes)):
        if count == limit:
            break
        x1, y1, x2, y2 = boxes[index]
        area = (x2 - x1) * (y2 - y1)
        survives = True
        for i in range(count):
            width = min(x2, kept[2, i]) - max(x1, kept[0, i])
            height = min(y2, kept[3, i]) - max(y1, kept[1, i])
            if width > 0 and height > 0:
                intersection = width * height
                if intersection / (kept[4, i] + area - intersection) > iou:
                    survives = False
                    break
        if survives:
            kept[0, count], kept[1, count], kept[2, count], kept[3, count], kept[4, count] = x1, y1, x2, y2, area
            keep[count] = index
            count += 1
    return keep[:count]
