import itertools

import numpy as np
import pytest
from PIL import ImageColor
from skimage.color import rgb2lab

from detector.structures.detections import Detections
from detector.visualization import boxes as drawing
from detector.visualization.boxes import PALETTE, class_color, draw_marks

CLASSES = tuple(f"class{index}" for index in range(20))
BACKGROUND = (10, 90, 60)


def photo(width: int, height: int) -> np.ndarray:
    return np.full((height, width, 3), BACKGROUND, np.uint8)


def detections(boxes: list, size: tuple[int, int], labels: list[int] | None = None) -> Detections:
    scores = np.linspace(0.99, 0.5, len(boxes))
    return Detections(boxes, scores, labels or [0] * len(boxes), CLASSES, size)


def color(label: int) -> tuple[int, ...]:
    return ImageColor.getrgb(class_color(label + 1))


def is_color(drawn: np.ndarray, label: int) -> np.ndarray:
    return (drawn == color(label)).all(axis=2)


def test_the_frame_lies_on_the_inner_edge_of_the_box():
    drawn = draw_marks(photo(400, 300), detections([[100, 150, 300, 250]], (400, 300), [1]).marks())
    frame = is_color(drawn, 1)
    assert frame[150:250, 100].all()
    assert frame[150:250, 299].all()
    assert frame[249, 100:300].all()
    assert frame[150, 100:300].all()
    touched = (drawn != BACKGROUND).any(axis=2)
    assert not touched[:, :100].any()
    assert not touched[:, 300:].any()
    assert not touched[250:].any()
    assert not touched[170:235, 120:280].any(), "the inside of the box is untouched"


def test_without_detections_the_picture_is_a_copy():
    pixels = photo(40, 30)
    drawn = draw_marks(pixels, detections([], (40, 30)).marks())
    np.testing.assert_array_equal(drawn, pixels)
    assert not np.shares_memory(drawn, pixels)
    assert drawn.flags.writeable


@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (4000, 1), (12, 9), (60, 40)])
def test_any_size_of_photo(size):
    """A box of the whole photo is drawn, also where the label does not fit."""
    drawn = draw_marks(photo(*size), detections([[0, 0, *size]], size).marks())
    assert drawn.shape == (size[1], size[0], 3)
    assert (drawn != BACKGROUND).any()


def test_boxes_smaller_than_a_pixel():
    drawn = draw_marks(photo(200, 100), detections([[50.2, 60.1, 50.4, 60.3]], (200, 100), [5]).marks())
    assert is_color(drawn, 5)[60, 50]


def test_lines_and_letters_grow_with_the_photo():
    """On a photo of twice the size, labels cover about four times the pixels and lines are twice as thick."""
    label_pixels, widths = [], []
    for factor in (1, 2, 8):
        size = (600 * factor, 400 * factor)
        box = [100 * factor, 150 * factor, 500 * factor, 380 * factor]
        drawn = draw_marks(photo(*size), detections([box], size).marks())
        label_pixels.append((drawn[: box[1]] != BACKGROUND).any(axis=2).sum())
        widths.append(is_color(drawn, 0)[300 * factor, : 300 * factor].sum())
    assert widths[1] / widths[0] == pytest.approx(2, rel=0.3)
    assert widths[2] / widths[0] == pytest.approx(8, rel=0.3)
    assert label_pixels[1] / label_pixels[0] == pytest.approx(4, rel=0.2)
    assert label_pixels[2] / label_pixels[0] == pytest.approx(64, rel=0.2)


def drawn_labels(size: tuple[int, int], boxes: list, font_size: int = 14) -> list[drawing._Label]:
    """The labels that are drawn, best first."""
    labels = [index % len(CLASSES) for index in range(len(boxes))]
    return drawing._labels(detections(boxes, size, labels).marks(), font_size, size)


def assert_apart(labels: list[drawing._Label]) -> None:
    for a, b in itertools.combinations([label.box for label in labels], 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1], f"labels {a} and {b} overlap"


def test_labels_stay_inside_the_photo():
    """Boxes at every border and corner."""
    edges = [(0, 30), (130, 160), (270, 300)]
    boxes = [[x1, y1, x2, y2] for (x1, x2), (y1, y2) in itertools.product(edges, edges)]
    labels = drawn_labels((300, 300), boxes)
    assert len(labels) == 9
    for x1, y1, x2, y2 in (label.box for label in labels):
        assert 0 <= x1 < x2 <= 300
        assert 0 <= y1 < y2 <= 300


def test_labels_of_nearly_equal_boxes_stay_apart():
    boxes = [[100, 100, 400, 300], [101, 100, 400, 300], [100, 101, 400, 300], [100, 100, 399, 300]]
    labels = drawn_labels((500, 400), boxes)
    assert len(labels) == 4
    assert_apart(labels)


@pytest.mark.parametrize(("size", "fewest"), [((100, 75), 3), ((500, 375), 40), ((4000, 3000), 40)])
def test_labels_of_a_crowd_never_overlap_and_leave_most_of_the_photo_visible(size, fewest):
    random = np.random.default_rng(5)
    corner = random.uniform(0, 0.85, (60, 2))
    boxes = np.concatenate([corner, corner + random.uniform(0.05, 0.15, (60, 2))], axis=1) * np.tile(size, 2)
    labels = drawn_labels(size, boxes.tolist(), max(11, round((size[0] * size[1]) ** 0.5 / 30)))
    assert len(labels) >= fewest
    assert_apart(labels)
    area = sum((x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in (label.box for label in labels))
    assert area <= 0.3 * size[0] * size[1]
    assert labels[0].text == "class0 0.99"


def test_a_label_avoids_other_objects():
    """Above the lower box is the upper one; below it there is room."""
    labels = drawn_labels((400, 400), [[100, 200, 300, 300], [100, 150, 300, 199]])
    x1, y1, x2, _ = labels[0].box
    assert y1 >= 300 or x1 >= 300 or x2 <= 100


def test_the_best_label_is_always_drawn_in_full():
    """Far more labels than fit."""
    boxes = [[5, 5, 55, 45]] * 12
    labels = drawn_labels((60, 50), boxes, 11)
    assert labels[0].text == "class0 0.99"
    assert len(labels) < 12
    assert_apart(labels)


@pytest.mark.parametrize("width", [150, 165, 185])
def test_long_class_names_are_written_smaller(width):
    """The label fills the width of the photo and ends with a margin: no letter is cut off."""
    name = "a class whose name is much too long"
    marks = Detections([[0, 60, width, 120]], [0.5], [0], (name,), (width, 150)).marks()
    label = is_color(draw_marks(photo(width, 150), marks)[:60], 0)
    columns = np.flatnonzero(label.any(axis=0))
    assert columns[-1] > 0.85 * width
    rows = np.flatnonzero(label.any(axis=1))
    assert label[rows[0] : rows[-1] + 1, columns[-1]].all()


@pytest.mark.parametrize("label", range(80))
def test_text_contrasts_with_its_label(label):
    """At least 3:1, WCAG's ratio for large text."""

    def luminance(rgb: tuple[int, ...]) -> float:
        parts = [
            value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in np.divide(rgb, 255)
        ]
        return float(np.dot(parts, (0.2126, 0.7152, 0.0722)))

    text = luminance(ImageColor.getrgb(drawing._contrast(class_color(label + 1))))
    ground = luminance(color(label))
    assert (max(text, ground) + 0.05) / (min(text, ground) + 0.05) >= 3


def test_colors_are_fixed_by_class():
    """A class keeps its color whatever else is in the photo, and COCO's 80 classes all differ."""
    size = (400, 300)
    boxes = [[10, 100, 190, 290], [210, 100, 390, 290]]
    both = draw_marks(photo(*size), detections(boxes, size, [4, 7]).marks())
    alone = draw_marks(photo(*size), detections(boxes[1:], size, [7]).marks())
    np.testing.assert_array_equal(both[100:, 200:], alone[100:, 200:])
    assert is_color(both, 4)[120:280, 10].all()
    assert [class_color(number) for number in range(1, 21)] == list(PALETTE)
    assert len({class_color(number) for number in range(1, 81)}) == 80, "COCO's classes"


MACHADO = {
    "all cones": np.eye(3).tolist(),
    "no red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "no blue": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}


def test_color_blind_readers_can_distinguish_the_colors_of_vocs_classes():
    """Also without red, green or blue cones, as simulated by Machado et al. (2009)."""
    linear = np.array([ImageColor.getrgb(class_color(number)) for number in range(1, 21)]) / 255
    linear = np.where(linear <= 0.04045, linear / 12.92, ((linear + 0.055) / 1.055) ** 2.4)
    for name, matrix in MACHADO.items():
        simulated = np.clip(linear @ np.transpose(matrix), 0, 1)
        simulated = np.where(simulated <= 0.0031308, simulated * 12.92, 1.055 * simulated ** (1 / 2.4) - 0.055)
        lab = rgb2lab(simulated[None])[0]
        distance = np.linalg.norm(lab[:, None] - lab[None], axis=2)[np.triu_indices(20, 1)]
        assert distance.min() > (22 if name == "all cones" else 15), name  # 2.3 is the just noticeable difference


def test_near_boxes_of_a_class_have_shades_of_its_color():
    """The label, which has the color of its box, then belongs to one box only; boxes apart keep the class's color."""
    crowd = [[100, 100, 200, 250], [150, 100, 250, 250], [120, 110, 230, 240], [400, 300, 500, 390]]
    marks = detections(crowd, (600, 400)).marks()
    assert [mark.color == class_color(1) for mark in marks] == [True, False, False, True]
    assert len({mark.color for mark in marks[:3]}) == 3
    assert [mark.color for mark in detections(crowd, (600, 400), [0, 1, 2, 0]).marks()] == [
        class_color(n) for n in (1, 2, 3, 1)
    ]
