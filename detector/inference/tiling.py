"""Large photos in overlapping tiles plus one look at the whole, merged across the seams.

Slicing of Akyon et al., "Slicing Aided Hyper Inference" (2022): small objects are seen at the network's full size. One
tile is in memory at a time, so memory does not grow with their number.
"""

from collections.abc import Iterator
from numbers import Integral

import numpy as np

from detector.errors import InputError
from detector.inference.pipeline import DetectionPipeline
from detector.structures.detections import Detections, check_score
from detector.structures.image import Image

_SMALLEST = 32
_OVERLAP, _MOST_OVERLAP = 0.2, 0.9
_AT_EDGE = 0.01
"""A box this near to an edge of its tile, as a share of the tile, may be the part of an object that the edge cuts."""
_SAME = 0.5
"""IoU, where both tiles look, above which two boxes are of one object if an edge cuts one of them."""
_INSIDE = 0.7
"""Share of a cut box within a whole one above which it is a part of it."""


class TiledPipeline:
    """A detector that looks at the tiles of a photo and at the whole photo.

    Args:
        tile: side of the square tiles in pixels of the photo.
        overlap: share of a tile that its neighbors see too; objects up to that size are whole in one of them.
    """

    def __init__(self, pipeline: DetectionPipeline, tile: int, overlap: float) -> None:
        self.pipeline, self.tile, self.overlap = pipeline, int(tile), float(overlap)
        self.class_names, self.class_ids = pipeline.class_names, pipeline.class_ids

    def detect(self, image: Image, score: float = 0.5) -> Detections:
        """Detections of one image with at least `score`, best first; the model's limit on their number holds for each
        look by itself."""
        whole = self.pipeline.detect(image, score)
        width, height = image.width, image.height
        if max(width, height) <= self.tile:
            return whole
        boxes, scores, labels = [whole.boxes], [whole.scores], [whole.labels]
        views, cut = [np.tile(np.array([0, 0, width, height]), (len(whole), 1))], [np.zeros(len(whole), bool)]
        for x1, y1, x2, y2 in tiles(width, height, self.tile, self.overlap):
            part = Image(np.ascontiguousarray(image.pixels[y1:y2, x1:x2]), image.name)
            found = self.pipeline.detect(part, score)
            boxes.append(found.boxes + np.array([x1, y1, x1, y1], np.float32))
            scores.append(found.scores)
            labels.append(found.labels)
            views.append(np.tile(np.array([x1, y1, x2, y2]), (len(found), 1)))
            near = np.abs(boxes[-1] - views[-1]) <= max(2, _AT_EDGE * self.tile)
            inner = np.array([x1 > 0, y1 > 0, x2 < width, y2 < height])  # the photo's own edges cut nothing off
            cut.append((near & inner).any(axis=1))
        config, all_labels = self.pipeline.postprocess, np.concatenate(labels)
        merged, merged_scores, rows = merge_across_seams(
            np.concatenate(boxes),
            np.concatenate(scores),
            np.zeros_like(all_labels) if config.agnostic_nms else all_labels,
            np.concatenate(views),
            np.concatenate(cut),
            config.nms_iou,
        )
        found = Detections(merged, merged_scores, all_labels[rows], self.class_names, (width, height), self.class_ids)
        return found.top(len(found))


def with_tiles(
    pipeline: DetectionPipeline, tile: int | None, overlap: float | None = None
) -> DetectionPipeline | TiledPipeline:
    """The detector as it is without a `tile`, else one that looks at tiles too; `overlap` is 0.2 by default.

    Raises:
        InputError: the tile or the overlap is out of range, or there is an overlap but no tile.
    """
    if tile is None:
        if overlap is not None:
            raise InputError("overlap is that of tiles; give tile, their side in pixels, too")
        return pipeline
    if not isinstance(tile, Integral) or tile < _SMALLEST:
        raise InputError(f"tile is {tile!r}; give the side of a tile in pixels of the photo, at least {_SMALLEST}")
    overlap = _OVERLAP if overlap is None else overlap
    check_score(overlap, "overlap")
    if overlap > _MOST_OVERLAP:
        raise InputError(f"overlap {overlap} leaves too little to move by; give at most {_MOST_OVERLAP}")
    return TiledPipeline(pipeline, int(tile), float(overlap))


def tiles(width: int, height: int, side: int, overlap: float) -> Iterator[tuple[int, int, int, int]]:
    """The tiles (x1, y1, x2, y2) of a photo, row by row: squares of `side` pixels, evenly spaced, that overlap their
    neighbors by at least the share `overlap`, and end at the photo's edges.

    >>> list(tiles(100, 60, 64, 0.2))
    [(0, 0, 64, 60), (36, 0, 100, 60)]
    """

    def starts(length: int) -> list[int]:
        if length <= side:
            return [0]
        count = int(np.ceil((length - side) / (side * (1 - overlap)))) + 1
        return [round(start) for start in np.linspace(0, length - side, count)]

    for y in starts(height):
        for x in starts(width):
            yield x, y, min(x + side, width), min(y + side, height)


def merge_across_seams(
    boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray, views: np.ndarray, cut: np.ndarray, iou: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Merges what was seen in several tiles: NMS of whole boxes, then the parts of objects that edges cut.

    A cut box and another are of one object if they agree where both tiles look. A part of a whole box is dropped; the
    parts that two tiles see of an object become one box around both. Either way the object has the higher score. A cut
    box in a whole one of at least half its score is dropped too: were it an object by itself, a neighboring tile would
    see it whole.

    Args:
        boxes: (N, 4) xyxy pixels of the photo.
        classes: (N,) boxes of different classes never touch each other.
        views: (N, 4) xyxy pixels of the photo, the tile that each box was seen in.
        cut: (N,) bool, whether an edge of the tile may cut the object.
        iou: a whole box is suppressed if a better one of its class overlaps it by more than this.

    Returns:
        (K, 4) boxes, (K,) scores, and (K,) the rows that the labels are from.
    """
    boxes, views, scores = boxes.astype(np.float32), views.astype(np.float32), scores.copy()
    kept: list[int] = []
    for row in np.lexsort((-scores, cut)).tolist():  # whole boxes before cut ones, the best first
        others = np.array([other for other in kept if classes[other] == classes[row]], np.int64)
        box, view = boxes[row : row + 1], views[row : row + 1]
        if cut[row] and len(others):
            agreement = _iou(_clipped(box, views[others]), _clipped(boxes[others], view))
            best = others[agreement.argmax()]
            if agreement.max() > _SAME:
                if cut[best]:
                    boxes[best], views[best] = _around(boxes[best], boxes[row]), _around(views[best], views[row])
                scores[best] = max(scores[best], scores[row])
                continue
            inside = _areas(_clipped(box, boxes[others])) / _areas(box)
            if ((inside > _INSIDE) & ~cut[others] & (scores[others] >= scores[row] / 2)).any():
                continue
        if (_iou(box, boxes[others]) <= iou).all():
            kept.append(row)
    return boxes[kept], scores[kept], np.array(kept, np.int64)


def _around(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(4,) the smallest box around two boxes (4,)."""
    return np.concatenate([np.minimum(a[:2], b[:2]), np.maximum(a[2:], b[2:])])


def _clipped(boxes: np.ndarray, views: np.ndarray) -> np.ndarray:
    """What of boxes (N, 4) lies in the corresponding views (N, 4); either may be one for all."""
    return np.concatenate([np.maximum(boxes[:, :2], views[:, :2]), np.minimum(boxes[:, 2:], views[:, 2:])], axis=1)


def _iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N,) IoU of corresponding boxes (N, 4), or of one with all; 0 for boxes without area."""
    shared = _areas(_clipped(a, b))
    return shared / np.maximum(_areas(a) + _areas(b) - shared, 1e-9)


def _areas(boxes: np.ndarray) -> np.ndarray:
    """(N,) square pixels of boxes (N, 4), whose sides may be negative."""
    return np.maximum(boxes[:, 2:] - boxes[:, :2], 0).prod(axis=1)
