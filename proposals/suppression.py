"""Non-maximum suppression of ranked boxes, as far as it is needed."""

import numpy as np

from proposals.compilation import compiled


def first_kept(boxes: np.ndarray, iou: float, limit: int | None = None) -> np.ndarray:
    """Indices (K,) int64 of the boxes (N, 4) float32, best first, that overlap none of those kept before them by more
    than `iou`; the first `limit` of them."""
    return _first_kept(boxes, iou, len(boxes) if limit is None else min(limit, len(boxes)))


@compiled
def _first_kept(boxes: np.ndarray, iou: float, limit: int) -> np.ndarray:
    # Every step in float32 and in this order: the result is that of torchvision's nms to the last box.
    keep = np.empty(limit, np.int64)
    own = np.empty((5, limit), np.float32)  # of the boxes that are kept: corners and area
    count = 0
    for index in range(len(boxes)):
        if count == limit:
            break
        x1, y1, x2, y2 = boxes[index]
        area = (x2 - x1) * (y2 - y1)
        good = True
        for other in range(count):
            width = min(x2, own[2, other]) - max(x1, own[0, other])
            height = min(y2, own[3, other]) - max(y1, own[1, other])
            if width > 0 and height > 0:
                both = width * height
                if both / (own[4, other] + area - both) > iou:
                    good = False
                    break
        if good:
            own[0, count], own[1, count], own[2, count], own[3, count], own[4, count] = x1, y1, x2, y2, area
            keep[count] = index
            count += 1
    return keep[:count]
