"""The sheet of hits and misses: each kind is counted, colored and drawn where it is."""

import numpy as np
from PIL import ImageColor

from detector.data.detection_table import DetectionTable
from detector.data.ground_truth import GroundTruth
from detector.evaluation.report.sheet import COLORS, draw_sheet, mark_hits
from tests.detector.evaluation.tables import table_of, truth_of

TRUTH = truth_of(
    (0, 0, (0, 0, 50, 50)), (0, 0, (60, 60, 100, 100)), (1, 0, (0, 0, 90, 90)), (1, 0, (10, 10, 40, 40)),
    images=["a", "b", "c"], names=["cup"], difficult=[False, False, False, True],
)  # fmt: skip
DETECTIONS = table_of(
    TRUTH,
    (0, 0, 0.9, (0, 0, 50, 48)),
    (0, 0, 0.8, (0, 50, 40, 90)),
    (0, 0, 0.4, (60, 60, 100, 100)),
    (1, 0, 0.7, (0, 0, 90, 90)),
    (1, 0, 0.6, (10, 10, 40, 40)),
)


def test_kinds_of_marks():
    marks, counts = mark_hits(TRUTH, DETECTIONS, 0.5)
    assert counts == {"found": 2, "wrong": 1, "missed": 1}
    kinds = {color: kind for kind, color in COLORS.items()}
    assert [[(kinds[m.color], m.text, m.box) for m in in_image] for in_image in marks] == [
        [
            ("found", "cup 0.90", (0, 0, 50, 48)),
            ("wrong", "cup 0.80", (0, 50, 40, 90)),
            ("missed", "cup", (60, 60, 100, 100)),
        ],
        [("found", "cup 0.70", (0, 0, 90, 90))],  # the difficult one and what finds it are not drawn
        [],
    ]


def photos_of(truth: GroundTruth, detections: DetectionTable, **options: int) -> tuple[list[int], np.ndarray]:
    """The photos that a sheet asks for, and the sheet."""
    read = []

    def photo(index: int) -> np.ndarray:
        read.append(index)
        return np.full((100, 100, 3), 20 * index, np.uint8)

    return read, draw_sheet(truth, detections, photo, **options)


def test_the_sheet_shows_the_photos_that_have_something():
    read, sheet = photos_of(TRUTH, DETECTIONS)
    assert read == [0, 1]
    for kind in COLORS:
        assert (sheet[60:] == ImageColor.getrgb(COLORS[kind])).all(axis=2).sum() > 300, kind
    assert photos_of(TRUTH, DETECTIONS, photos=1)[1].shape == sheet.shape


def test_mistakes_are_shown_even_if_they_come_late():
    box = (0, 0, 50, 50)
    truth = truth_of(*((image, 0, box) for image in range(9)), images=9, names=["cup"])
    detections = table_of(truth, *((image, 0, 0.9, box) for image in range(8)))
    assert photos_of(truth, detections, photos=4)[0] == [0, 1, 2, 8]
