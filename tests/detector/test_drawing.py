"""Drawings: boxes where they belong, labels readable, inside the photo and apart."""

import itertools

import numpy as np
import pytest
from PIL import ImageColor

from detector import drawing
from detector.detections import Detections
from detector.drawing import PALETTE, draw_detections

CLASSES = tuple(f"class{index}" for index in range(20))
BACKGROUND = (10, 90, 60)


def photo(width: int, height: int) -> np.ndarray:
    return np.full((height, width, 3), BACKGROUND, np.uint8)


def detections(boxes: list, size: tuple[int, int], labels: list[int] | None = None) -> Detections:
    scores = np.linspace(0.99, 0.5, len(boxes))
    return Detections(boxes, scores, labels or [0] * len(boxes), CLASSES, size)


def colour(label: int) -> tuple[int, ...]:
    return ImageColor.getrgb(PALETTE[label % len(PALETTE)])


def is_colour(drawn: np.ndarray, label: int) -> np.ndarray:
    return (drawn == colour(label)).all(axis=2)


def test_the_frame_lies_on_the_inner_edge_of_the_box():
    drawn = draw_detections(photo(400, 300), detections([[100, 150, 300, 250]], (400, 300), [1]))
    frame = is_colour(drawn, 1)
    assert frame[150:250, 100].all()
    assert frame[150:250, 299].all()
    assert frame[249, 100:300].all()
    assert frame[150, 100:300].all()
    touched = (drawn != BACKGROUND).any(axis=2)
    assert not touched[:, :100].any()
    assert not touched[:, 300:].any()
    assert not touched[250:].any()
    assert not touched[170:235, 120:280].any(), "the inside of the box stays as it is"


def test_without_detections_the_picture_is_a_copy():
    pixels = photo(40, 30)
    drawn = draw_detections(pixels, detections([], (40, 30)))
    np.testing.assert_array_equal(drawn, pixels)
    assert not np.shares_memory(drawn, pixels)
    assert drawn.flags.writeable


@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (4000, 1), (12, 9), (60, 40)])
def test_any_size_of_photo(size):
    """A box of the whole photo: drawn, and nothing breaks where the label has no room."""
    found = detections([[0, 0, *size]], size)
    drawn = draw_detections(photo(*size), found)
    assert drawn.shape == (size[1], size[0], 3)
    assert (drawn != BACKGROUND).any()


def test_boxes_smaller_than_a_pixel():
    drawn = draw_detections(photo(200, 100), detections([[50.2, 60.1, 50.4, 60.3]], (200, 100), [5]))
    assert is_colour(drawn, 5)[60, 50]


def test_lines_and_letters_grow_with_the_photo():
    """On a photo of twice the size, labels cover about four times the pixels and lines are twice as thick."""
    label_pixels, widths = [], []
    for factor in (1, 2, 8):
        size = (600 * factor, 400 * factor)
        box = [100 * factor, 150 * factor, 500 * factor, 380 * factor]
        drawn = draw_detections(photo(*size), detections([box], size))
        label_pixels.append((drawn[: box[1]] != BACKGROUND).any(axis=2).sum())
        widths.append(is_colour(drawn, 0)[300 * factor, : 300 * factor].sum())
    assert widths[1] / widths[0] == pytest.approx(2, rel=0.3)
    assert widths[2] / widths[0] == pytest.approx(8, rel=0.3)
    assert label_pixels[1] / label_pixels[0] == pytest.approx(4, rel=0.2)
    assert label_pixels[2] / label_pixels[0] == pytest.approx(64, rel=0.2)


def placed(monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], boxes: list) -> list[tuple[int, int, int, int]]:
    """The label rectangles that a drawing uses, best first."""
    places = []
    original = drawing._place

    def noting(*args: object) -> tuple[int, int, int, int]:
        places.append(original(*args))
        return places[-1]

    monkeypatch.setattr(drawing, "_place", noting)
    draw_detections(photo(*size), detections(boxes, size, list(range(len(boxes)))))
    return places


def test_labels_stay_inside_the_photo(monkeypatch):
    """Boxes at every border and corner."""
    edges = [(0, 30), (130, 160), (270, 300)]
    boxes = [[x1, y1, x2, y2] for (x1, x2), (y1, y2) in itertools.product(edges, edges)]
    for x1, y1, x2, y2 in placed(monkeypatch, (300, 300), boxes):
        assert 0 <= x1 < x2 <= 300
        assert 0 <= y1 < y2 <= 300


def test_labels_of_nearly_equal_boxes_stay_apart(monkeypatch):
    boxes = [[100, 100, 400, 300], [101, 100, 400, 300], [100, 101, 400, 300], [100, 100, 399, 300]]
    places = placed(monkeypatch, (500, 400), boxes)
    assert len(places) == 4
    for a, b in itertools.combinations(places, 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1], f"labels {a} and {b} overlap"


def test_the_best_label_lies_on_top():
    """Far more labels than room: that of the best detection is still whole."""
    boxes = [[5, 5, 55, 45]] * 12
    alone = draw_detections(photo(60, 50), detections(boxes[:1], (60, 50), [3]))
    crowded = draw_detections(photo(60, 50), detections(boxes, (60, 50), [3] + [4] * 11))
    label = slice(0, 8), slice(6, 54)
    assert is_colour(alone, 3)[label].any()
    np.testing.assert_array_equal(crowded[label], alone[label])


@pytest.mark.parametrize("width", [150, 165, 185])
def test_long_class_names_are_written_smaller(width):
    """The label fills the width of the photo, and its right margin is there: no letter was cut off."""
    name = "a class of a name that is too long"
    found = Detections([[0, 60, width, 120]], [0.5], [0], (name,), (width, 150))
    label = is_colour(draw_detections(photo(width, 150), found)[:60], 0)
    columns = np.flatnonzero(label.any(axis=0))
    assert columns[-1] > 0.85 * width
    rows = np.flatnonzero(label.any(axis=1))
    assert label[rows[0] : rows[-1] + 1, columns[-1]].all()


@pytest.mark.parametrize("label", range(len(PALETTE)))
def test_text_contrasts_with_its_label(label):
    """At least 3:1, WCAG's ratio for large text."""

    def luminance(rgb: tuple[int, ...]) -> float:
        parts = [
            value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in np.divide(rgb, 255)
        ]
        return float(np.dot(parts, (0.2126, 0.7152, 0.0722)))

    text = luminance(ImageColor.getrgb(drawing._contrast(PALETTE[label])))
    ground = luminance(colour(label))
    assert (max(text, ground) + 0.05) / (min(text, ground) + 0.05) >= 3


def test_colours_are_fixed_by_class():
    """Alone or among others, a class has its colour; classes of one photo that are near in order differ."""
    size = (400, 300)
    boxes = [[10, 100, 190, 290], [210, 100, 390, 290]]
    both = draw_detections(photo(*size), detections(boxes, size, [4, 7]))
    alone = draw_detections(photo(*size), detections(boxes[1:], size, [7]))
    np.testing.assert_array_equal(both[100:, 200:], alone[100:, 200:])
    assert is_colour(both, 4)[120:280, 10].all()
    assert len(set(PALETTE)) == len(PALETTE) >= 10
