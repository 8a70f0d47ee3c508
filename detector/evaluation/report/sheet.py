"""A sheet of photos with a detector's true positives, false positives and missed objects."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from detector.data.detection_table import DetectionTable
from detector.data.ground_truth import GroundTruth
from detector.evaluation.metrics.matching import at_least
from detector.evaluation.metrics.voc import match_voc
from detector.visualization.boxes import Mark, draw_marks

COLORS = {"found": "#009E73", "wrong": "#D55E00", "missed": "#56B4E9"}
"""Okabe and Ito's green, vermilion and sky blue, which color-blind readers can distinguish."""

_COLUMNS = 4
_CELL = 360  # pixels of a side
_GAP = 8
_HEAD = 44  # pixels of the legend


def draw_sheet(
    truth: GroundTruth,
    detections: DetectionTable,
    read: Callable[[int], np.ndarray],
    score: float = 0.5,
    photos: int = 24,
) -> np.ndarray:
    """Photos in a grid, (H, W, 3) uint8 RGB, with true positives, false positives and missed objects by color.

    Difficult objects and their detections are not drawn.

    Args:
        read: returns the pixels (H, W, 3) uint8 RGB of an image of `truth` by its index.
        score: lowest score of the detections.
        photos: maximum number of photos, in the order of `truth`. Half of them are those with the most mistakes, the
            other half the first ones with an object or a detection.
    """
    marks, counts = mark_hits(truth, detections, score)
    legend = [(f"{kind} {count}", COLORS[kind]) for kind, count in counts.items()]
    return draw_photos(_choose(marks, photos), marks, read, legend, f"score {score:g} or more")


def draw_photos(
    shown: Sequence[int],
    marks: Sequence[Sequence[Mark]] | Mapping[int, Sequence[Mark]],
    read: Callable[[int], np.ndarray],
    legend: Sequence[tuple[str, str]],
    note: str = "",
) -> np.ndarray:
    """Photos in a grid with their marks, (H, W, 3) uint8 RGB.

    Args:
        shown: indices of the photos, in the order of the grid.
        marks: of each photo by its index, boxes in its pixels.
        read: as for `draw_sheet`.
        legend: text and color of each kind of mark.
        note: behind the legend, if there is room.
    """
    columns = min(_COLUMNS, max(2, len(shown)))
    rows = max(1, -(-len(shown) // columns))
    side = _CELL + _GAP
    sheet = PillowImage.new("RGB", (columns * side + _GAP, _HEAD + rows * side), "white")
    _draw_legend(ImageDraw.Draw(sheet), legend, note, sheet.width)
    for cell_index, index in enumerate(shown):
        pixels, factor = _fitted(read(index))
        scaled = [
            Mark((m.box[0] * factor, m.box[1] * factor, m.box[2] * factor, m.box[3] * factor), m.text, m.color)
            for m in marks[index]
        ]
        cell = PillowImage.fromarray(draw_marks(pixels, scaled))
        x, y = _GAP + cell_index % columns * side, _HEAD + cell_index // columns * side
        sheet.paste(cell, (x + (_CELL - cell.width) // 2, y + (_CELL - cell.height) // 2))
    return np.array(sheet)


def mark_hits(truth: GroundTruth, detections: DetectionTable, score: float) -> tuple[list[list[Mark]], dict[str, int]]:
    """The marks of each image of `truth`, and their number by kind (`COLORS`)."""
    detections = detections[at_least(detections.scores, score)]
    matches = match_voc(truth, detections)[0.5]
    marks: list[list[Mark]] = [[] for _ in truth.image_ids]
    counts = dict.fromkeys(COLORS, 0)

    def add(kind: str, image: int, box: np.ndarray, text: str) -> None:
        x1, y1, x2, y2 = box.tolist()
        marks[image].append(Mark((x1, y1, x2, y2), text, COLORS[kind]))
        counts[kind] += 1

    for row in matches.ranked.tolist():
        kind = "found" if matches.true_positive[row] else "wrong"
        name = truth.class_names[detections.labels[row]]
        add(kind, int(detections.images[row]), detections.boxes[row], f"{name} {detections.scores[row]:.2f}")
    for row in np.flatnonzero(matches.counted & ~matches.found()).tolist():
        add("missed", int(truth.images[row]), truth.boxes[row], truth.class_names[truth.labels[row]])
    return marks, counts


def _choose(marks: list[list[Mark]], photos: int) -> list[int]:
    mistakes = [sum(mark.color != COLORS["found"] for mark in of_image) for of_image in marks]
    worst = sorted((i for i, count in enumerate(mistakes) if count), key=lambda i: -mistakes[i])[: photos // 2]
    first = [i for i, of_image in enumerate(marks) if of_image and i not in worst]
    return sorted((worst + first)[:photos]) or list(range(min(photos, len(marks))))


def _fitted(pixels: np.ndarray) -> tuple[np.ndarray, float]:
    """A photo scaled to fit a cell, and the scale factor."""
    height, width = pixels.shape[:2]
    factor = _CELL / max(height, width)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return np.array(PillowImage.fromarray(pixels).resize(size, PillowImage.Resampling.BOX)), factor


def _draw_legend(draw: ImageDraw.ImageDraw, legend: Sequence[tuple[str, str]], note: str, width: int) -> None:
    font = ImageFont.load_default(18)
    x = float(_GAP)
    for text, color in legend:
        draw.rectangle((x, 12, x + 20, 32), fill=color)
        draw.text((x + 28, 22), text, "black", font, anchor="lm")
        x += 28 + draw.textlength(text, font) + 24
    if x + draw.textlength(note, font) < width:
        draw.text((x, 22), note, "#555555", font, anchor="lm")
