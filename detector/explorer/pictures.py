"""Pictures of the stages: new (h, w, 3) uint8 RGB arrays whose longer side is `SIDE` pixels."""

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from detector.explorer.regions import RegionReport
from detector.explorer.stages import Grouping
from detector.ops.transforms import resize
from detector.structures.detections import Detections
from detector.structures.image import Image
from detector.visualization.boxes import draw_boxes, draw_marks
from proposals import Proposals
from proposals.drawing import draw_proposals, draw_segmentation

SIDE = 720
"""Longer side of a picture in pixels. Small photos are enlarged to it so that boxes and labels are legible."""
PROPOSED, MOVED = "#FFB61E", "#35E0A1"
"""Colors of a region as proposed and after box regression."""

# Tints of positive and negative scores, RGB.
_RED, _BLUE = np.array([224, 40, 20], np.float32), np.array([30, 90, 230], np.float32)


def fitted(image: Image, side: int = SIDE) -> tuple[np.ndarray, np.ndarray]:
    """The photo with its longer side at `side` pixels, and the (4,) factors that scale xyxy boxes to it."""
    factor = side / max(image.width, image.height)
    width, height = max(1, round(image.width * factor)), max(1, round(image.height * factor))
    scale = np.array([width / image.width, height / image.height] * 2, np.float32)
    return resize(image.pixels, (width, height)), scale


def picture_level(image: Image, grouping: Grouping, count: int | None = None, side: int = SIDE) -> np.ndarray:
    """A grouping cut into `count` regions, by default into its superpixels."""
    pixels, _ = fitted(image, side)
    hierarchy = grouping.hierarchy
    picture = draw_segmentation(pixels, hierarchy, hierarchy.superpixels if count is None else count)
    return resize(picture, (pixels.shape[1], pixels.shape[0]))


def _with_boxes(image: Image, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """The fitted photo, boxes (N, 4) in its pixels, and its width and height."""
    pixels, scale = fitted(image)
    size = pixels.shape[1], pixels.shape[0]
    return pixels, np.minimum(boxes * scale, np.array(size * 2, np.float32)), size


def picture_proposals(image: Image, proposals: Proposals) -> np.ndarray:
    """Boxes, the best on top, in one color per source."""
    pixels, boxes, size = _with_boxes(image, proposals.boxes)
    return draw_proposals(pixels, replace(proposals, boxes=boxes, image_size=size))


def picture_detections(image: Image, detections: Detections) -> np.ndarray:
    """Boxes with labels and scores."""
    pixels, boxes, size = _with_boxes(image, detections.boxes)
    scaled = Detections(boxes, detections.scores, detections.labels, detections.class_names, size)
    return draw_marks(pixels, scaled.marks())


def picture_boxes(image: Image, boxes: np.ndarray, colors: Sequence[str]) -> np.ndarray:
    """Boxes (N, 4), each in its color."""
    pixels, scaled, _ = _with_boxes(image, boxes)
    return draw_boxes(pixels, scaled.tolist(), colors)


def picture_region(image: Image, report: RegionReport) -> np.ndarray:
    """The photo, darkened around one region, with the region's bins tinted by their scores for the class, and its box
    as proposed and after box regression."""
    pixels, scale = fitted(image)
    height, width = pixels.shape[:2]
    proposed, moved = report.proposed * scale, report.moved * scale
    x1, y1, x2, y2 = np.rint(proposed).astype(int).tolist()
    x1, y1 = min(x1, width - 1), min(y1, height - 1)
    x2, y2 = max(x2, x1 + 1), max(y2, y1 + 1)
    picture = (pixels * 0.45).astype(np.uint8)
    inside = pixels[y1:y2, x1:x2]
    if report.bin_scores is not None:
        values = cv2.resize(report.bin_scores, (x2 - x1, y2 - y1), interpolation=cv2.INTER_NEAREST)
        inside = tinted(inside, values, float(np.abs(report.bin_scores).max()))
    picture[y1:y2, x1:x2] = inside
    return draw_boxes(picture, [moved.tolist(), proposed.tolist()], [MOVED, PROPOSED])


def picture_score_maps(image: Image, maps: np.ndarray) -> np.ndarray:
    """A grid of bins x bins small photos, each tinted by the score map (bins, bins, h, w) of its bin."""
    rows, columns = maps.shape[:2]
    gap = 2
    pixels, _ = fitted(image, max(1, SIDE // columns - gap))
    gray = np.repeat(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)[:, :, None], 3, axis=2)
    height, width = gray.shape[:2]
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    largest = float(np.abs(maps).max())
    for row, column in np.ndindex(rows, columns):
        values = cv2.resize(maps[row, column], (width, height), interpolation=cv2.INTER_LINEAR)
        y, x = row * (height + gap), column * (width + gap)
        sheet[y : y + height, x : x + width] = tinted(gray, values, largest)
    return sheet


def tinted(pixels: np.ndarray, values: np.ndarray, largest: float) -> np.ndarray:
    """Tints pixels (h, w, 3) red where `values` (h, w) are positive and blue where they are negative, in proportion to
    their size; `largest` gets the full tint."""
    strength = np.clip(np.abs(values) / max(largest, 1e-6), 0, 1)[:, :, None] * 0.75
    color = np.where(values[:, :, None] > 0, _RED, _BLUE)
    return (pixels * (1 - strength) + color * strength).round().astype(np.uint8)


def encoded(picture: np.ndarray) -> bytes:
    """A picture as a JPEG file, with colors at full resolution for the thin lines."""
    options = [cv2.IMWRITE_JPEG_QUALITY, 88, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    return cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), options)[1].tobytes()
