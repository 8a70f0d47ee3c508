"""Pictures change with what the sliders choose."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from detector.explorer import Explanation, panels, pictures
from detector.explorer.panels import Panel
from detector.explorer.truth import Objects
from detector.structures.image import Image
from detector.visualization.boxes import class_color

Show = Callable[[Explanation], Panel]


def levels(count: int) -> Show:
    return lambda e: panels.show_levels(e, e.groupings[0], count)


CHANGES = {
    "k": (lambda e: panels.show_segmentation(e, 50), lambda e: panels.show_segmentation(e, 100)),
    "level": (levels(4), levels(40)),
    "grouping": (levels(40), lambda e: panels.show_levels(e, e.groupings[5], 40)),
    "number of boxes": (lambda e: panels.show_proposals(e, 10, None), lambda e: panels.show_proposals(e, 50, None)),
    "source": (lambda e: panels.show_proposals(e, 50, 0), lambda e: panels.show_proposals(e, 50, 5)),
    "region": (lambda e: panels.show_region(e, 3, None), lambda e: panels.show_region(e, 30, None)),
    "class": (lambda e: panels.show_region(e, 3, 7), lambda e: panels.show_region(e, 3, 8)),
    "point": (
        lambda e: panels.show_region(e, 3, None, (0.05, 0.05)),
        lambda e: panels.show_region(e, 3, None, (0.99, 0.99)),
    ),
    "score of regression": (lambda e: panels.show_regression(e, 0.1), lambda e: panels.show_regression(e, 0.9)),
    "overlap": (
        lambda e: panels.show_suppression(e, 0.1, 0.3, False),
        lambda e: panels.show_suppression(e, 0.1, 1.0, False),
    ),
    "voting": (
        lambda e: panels.show_suppression(e, 0.1, 0.3, False),
        lambda e: panels.show_suppression(e, 0.1, 0.3, True),
    ),
    "score": (lambda e: panels.show_detections(e, 0.5), lambda e: panels.show_detections(e, 1.0)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_control_changes_the_pictures(explanation: Explanation, change: str):
    before, after = (show(explanation) for show in CHANGES[change])
    again = CHANGES[change][0](explanation)
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(before.pictures, again.pictures, strict=True))
    assert len(before.pictures) == len(after.pictures)
    assert any(not np.array_equal(a.pixels, b.pixels) for a, b in zip(before.pictures, after.pictures, strict=True))


def test_a_level_has_as_many_regions_as_it_says(explanation: Explanation):
    grouping = explanation.groupings[0]
    picture = pictures.picture_level(explanation.image, grouping, 12)
    assert picture.shape == (479, 720, 3)
    assert panels.show_levels(explanation, grouping, 12).text.startswith("12 regions of ")
    assert panels.show_levels(explanation, grouping, 10**6).text.startswith(f"{grouping.hierarchy.superpixels} regions")


def test_frames_lie_on_their_boxes(explanation: Explanation):
    found = explanation.candidates(0.5).first(1)
    picture = pictures.picture_candidates(explanation.image, found, moved=False)
    _, scale = pictures.fitted(explanation.image)
    x1, y1, x2, y2 = np.rint(found.proposed[0] * scale).astype(int)
    color = class_color(int(found.labels[0]) + 1)
    expected = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    assert picture[(y1 + y2) // 2, x1 + 1].tolist() == expected
    assert picture[y1 + 1, (x1 + x2) // 2].tolist() == expected


def test_positive_scores_are_red_and_negative_ones_blue():
    gray = np.full((2, 2, 3), 128, np.uint8)
    tinted = pictures.tinted(gray, np.array([[4.0, -4.0], [0.0, 1.0]]), 4.0).astype(int)
    assert tinted[0, 0, 0] > 180 > 80 > tinted[0, 0, 2]
    assert tinted[0, 1, 2] > 180 > 80 > tinted[0, 1, 0]
    assert tinted[1, 0].tolist() == [128, 128, 128]
    assert tinted[0, 0, 0] > tinted[1, 1, 0] > 128


@pytest.mark.parametrize("size", [(1, 1), (3, 900), (2000, 2), (1500, 1000)])
def test_pictures_have_one_length_for_photos_of_any_size(size: tuple[int, int]):
    image = Image(np.zeros((size[1], size[0], 3), np.uint8), "photo")
    pixels, scale = pictures.fitted(image)
    assert max(pixels.shape[:2]) == pictures.SIDE
    assert min(pixels.shape[:2]) >= 1
    np.testing.assert_allclose(scale * np.array([*size, *size]), [pixels.shape[1], pixels.shape[0]] * 2, rtol=1e-6)


def test_a_picture_becomes_a_jpeg_file():
    picture = np.zeros((40, 60, 3), np.uint8)
    picture[:, :, 0] = 250
    decoded = cv2.imdecode(np.frombuffer(pictures.encoded(picture), np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_allclose(decoded[:, :, ::-1], picture, atol=3)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.00123, "1.2 ms"), (0.0512, "51 ms"), (9.9, "9900 ms"), (96.1, "96 s")]
)
def test_times_have_fitting_units(seconds: float, text: str):
    assert panels.duration_text(seconds) == text


def test_recall_of_objects(explanation: Explanation):
    """A cat on the best box, an object that nothing covers, a difficult one and one of an unknown class."""
    boxes = np.array([explanation.proposals.boxes[4], [1, 1, 3, 3], [5, 5, 8, 8], [0, 0, 451, 300]], np.float32)
    objects = Objects(boxes, np.array([7, 7, 7, -1]), ("cat", "cat", "cat", "zebra"), np.array([0, 0, 1, 0], bool))
    few, many = (panels.show_truth(explanation, objects, count, 0.5) for count in (1, 5))
    assert "of the first 5 boxes: 67% at IoU 0.5, 67% at IoU 0.7" in many.text
    assert [row[0] for row in many.rows] == ["cat", "cat", "cat (difficult)", "zebra"]
    assert float(many.rows[0][1]) == 1 > float(few.rows[0][1])
    assert many.rows[3][2:] == ("unknown class", "none")
    assert panels.show_truth(explanation, Objects(boxes[:0], np.array([], int), (), np.array([], bool)), 5, 0.5)
