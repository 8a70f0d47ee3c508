"""Pictures change with what the sliders choose."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from detector.explorer import Explanation, panels, pictures
from detector.explorer.panels import Panel
from detector.explorer.stages import Objects
from detector.structures.image import Image

HSV = {"space": "HSV", "similarity": "CTSF", "k": 50}
CHANGES = {
    "k": (panels.show_segmentation, {"k": 50}, {"k": 100}),
    "level": (panels.show_levels, {**HSV, "count": 4}, {**HSV, "count": 40}),
    "grouping": (panels.show_levels, {**HSV, "count": 40}, {**HSV, "count": 40, "space": "Lab"}),
    "number of boxes": (panels.show_proposals, {"count": 10}, {"count": 50}),
    "source": (panels.show_proposals, {"count": 50, "source": 0}, {"count": 50, "source": 5}),
    "region": (panels.show_region, {"region": 3}, {"region": 30}),
    "class": (panels.show_region, {"region": 3, "label": 7}, {"region": 3, "label": 8}),
    "point": (panels.show_region, {"region": 3, "x": 0.05, "y": 0.05}, {"region": 3, "x": 0.99, "y": 0.99}),
    "score of regression": (panels.show_regression, {"score": 0.1}, {"score": 0.9}),
    "overlap": (panels.show_suppression, {"score": 0.1, "iou": 0.3}, {"score": 0.1, "iou": 1.0}),
    "voting": (panels.show_suppression, {"score": 0.1, "iou": 0.3}, {"score": 0.1, "iou": 0.3, "voting": True}),
    "score": (panels.show_detections, {"score": 0.5}, {"score": 1.0}),
}


@pytest.mark.parametrize(("show", "old", "new"), CHANGES.values(), ids=CHANGES)
def test_a_control_changes_the_pictures(explanation: Explanation, show: Callable[..., Panel], old: dict, new: dict):
    before, after, again = ([one.pixels for one in show(explanation, **v).pictures] for v in (old, new, old))
    assert len(before) == len(after)
    assert all(map(np.array_equal, before, again))
    assert not all(map(np.array_equal, before, after))


def test_a_level_has_as_many_regions_as_it_says(explanation: Explanation):
    grouping = explanation.grouping(**HSV)
    assert pictures.picture_level(explanation.image, grouping, 12).shape == (479, 720, 3)
    for count, text in ((12, "12 regions of "), (10**6, f"{grouping.hierarchy.superpixels} regions")):
        assert panels.show_levels(explanation, **HSV, count=count).text.startswith(text)


def test_frames_lie_on_their_boxes(explanation: Explanation):
    box = explanation.candidates(0.5).proposed[:1]
    picture = pictures.picture_boxes(explanation.image, box, ["#102030"])
    x1, y1, x2, y2 = np.rint(box[0] * pictures.fitted(explanation.image)[1]).astype(int)
    assert picture[(y1 + y2) // 2, x1 + 1].tolist() == picture[y1 + 1, (x1 + x2) // 2].tolist() == [16, 32, 48]


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
    nothing = Objects(boxes[:0], np.array([], int), (), np.array([], bool))
    assert panels.show_truth(explanation, nothing, 5, 0.5).rows == ()
