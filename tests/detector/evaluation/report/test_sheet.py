"""The sheet of hits and misses: each kind is counted, colored and drawn where it is."""

import numpy as np
from PIL import ImageColor

from detector.data.detection_table import DetectionTable
from detector.data.ground_truth import GroundTruth
from detector.evaluation.report.sheet import COLORS, draw_sheet, mark_hits

TRUTH = GroundTruth(
    image_ids=("a", "b", "c"),
    class_names=("cup",),
    images=[0, 0, 1, 1],
    labels=[0, 0, 0, 0],
    boxes=[[0, 0, 50, 50], [60, 60, 100, 100], [0, 0, 90, 90], [10, 10, 40, 40]],
    difficult=[False, False, False, True],
)
FOUND = DetectionTable(
    image_ids=TRUTH.image_ids,
    class_names=TRUTH.class_names,
    images=[0, 0, 0, 1, 1],
    labels=[0] * 5,
    boxes=[[0, 0, 50, 48], [0, 50, 40, 90], [60, 60, 100, 100], [0, 0, 90, 90], [10, 10, 40, 40]],
    scores=[0.9, 0.8, 0.4, 0.7, 0.6],
)


def test_hits_errors_and_misses_are_told_apart():
    marks, counts = mark_hits(TRUTH, FOUND, 0.5)
    assert counts == {"found": 2, "wrong": 1, "missed": 1}
    kinds = {color: kind for kind, color in COLORS.items()}
    assert [[(kinds[m.color], m.text, m.box) for m in one] for one in marks] == [
        [
            ("found", "cup 0.90", (0, 0, 50, 48)),
            ("wrong", "cup 0.80", (0, 50, 40, 90)),
            ("missed", "cup", (60, 60, 100, 100)),
        ],
        [("found", "cup 0.70", (0, 0, 90, 90))],  # the difficult one and what finds it are not drawn
        [],
    ]


def test_the_sheet_shows_the_photos_that_have_something():
    read = []

    def photo(index: int) -> np.ndarray:
        read.append(index)
        return np.full((100, 100, 3), 40 * index, np.uint8)

    sheet = draw_sheet(TRUTH, FOUND, photo)
    assert read == [0, 1]
    for kind in COLORS:
        color = np.array(ImageColor.getrgb(COLORS[kind]))
        below = sheet[60:]
        assert ((below == color).all(axis=2)).sum() > 300, kind
    assert draw_sheet(TRUTH, FOUND, photo, photos=1).shape == sheet.shape


def test_mistakes_are_shown_even_if_they_come_late():
    truth = GroundTruth(
        image_ids=tuple(range(9)),
        class_names=("cup",),
        images=range(9),
        labels=[0] * 9,
        boxes=[[0, 0, 50, 50]] * 9,
    )
    found = DetectionTable(
        image_ids=truth.image_ids,
        class_names=truth.class_names,
        images=range(8),
        labels=[0] * 8,
        boxes=truth.boxes[:8],
        scores=[0.9] * 8,
    )
    read = []

    def photo(index: int) -> np.ndarray:
        read.append(index)
        return np.zeros((100, 100, 3), np.uint8)

    draw_sheet(truth, found, photo, photos=4)
    assert read == [0, 1, 2, 8]
