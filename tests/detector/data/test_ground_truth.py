import numpy as np
import pytest

from detector.data import Annotations
from detector.data.ground_truth import GroundTruth
from detector.errors import InputError

GOOD = {
    "image_ids": ("b", "a"),
    "class_names": ("cat", "dog"),
    "images": [0, 1, 1],
    "labels": [1, 0, 1],
    "boxes": [[0, 0, 10, 20], [1, 2, 3, 4], [5, 5, 6, 9.5]],
}


def test_defaults() -> None:
    truth = GroundTruth(**GOOD)
    assert len(truth) == 3
    assert truth.areas.tolist() == [200, 4, 4.5]
    assert not truth.difficult.any()
    assert not truth.crowd.any()
    assert truth.class_ids == (17, 18), "COCO's, whose names they are"
    assert truth.files == ("b", "a")
    assert truth.image_sizes.tolist() == [[0, 0], [0, 0]]
    assert truth.image_numbers == truth.class_numbers == (1, 2)
    with pytest.raises(ValueError, match="read-only"):
        truth.boxes[0] = 0


def test_no_images() -> None:
    truth = GroundTruth(image_ids=(), class_names=("cat",), images=[], labels=[], boxes=[])
    assert len(truth) == 0
    assert truth.boxes.shape == (0, 4)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"image_ids": ("a", "a")}, "image_ids: 'a' is repeated"),
        ({"class_names": ("cat", "cat")}, "class_names: 'cat' is repeated"),
        ({"image_ids": (1, "1")}, "image_ids: '1' equals 1"),
        ({"class_ids": (7, 7)}, "class_ids: 7 is repeated"),
        ({"class_ids": ("7", 7)}, "class_ids: 7 equals '7'"),
        ({"class_ids": (7,)}, "class_ids must have an entry for each of the class_names"),
        ({"files": ("a.jpg",)}, "files must have an entry for each of the image_ids"),
        ({"image_numbers": (3, 3)}, "image_numbers: 3 is repeated"),
        ({"images": [0, 1, 2]}, r"object 2: image 2 is not in 0\.\.1"),
        ({"labels": [0, -1, 2]}, r"object 1: label -1 is not in 0\.\.1"),
        ({"labels": [0, 1.5, 1]}, "labels cannot be read as numbers: float64"),
        ({"labels": [0, 1]}, r"boxes have the shape \(3, 4\), expected \(2, 4\)"),
        ({"difficult": [True]}, r"difficult have the shape \(1,\), expected \(3,\)"),
        ({"areas": ["small", 1, 2]}, "areas cannot be read as numbers"),
        ({"boxes": [[0, 0, 1, 1], [0, 0, 1, float("nan")], [0, 0, 1, 1]]}, r"object 1: box .* is not finite"),
        ({"boxes": [[0, 0, 1, 1], [0, 0, 1, 1], [4, 0, 4, 1]]}, r"object 2: box .* has no area"),
        ({"sides": [[10, 20], [2, 2], [1, float("nan")]]}, r"object 2: sides .* are not those of the box"),
    ],
)
def test_wrong_columns(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        GroundTruth(**(GOOD | wrong))


def test_from_annotations() -> None:
    one = Annotations([[0, 0, 5, 5], [1, 1, 9, 9]], [1, 0], [False, True], (10, 12))
    truth = GroundTruth.from_annotations(["x", "y"], [Annotations([], [], [], (4, 4)), one], ("cat", "dog"))
    assert truth.images.tolist() == [1, 1]
    assert truth.labels.tolist() == [1, 0]
    assert truth.difficult.tolist() == [False, True]
    assert truth.image_sizes.tolist() == [[4, 4], [10, 12]]
    with pytest.raises(InputError, match="1 image ids, but annotations of 2 images"):
        GroundTruth.from_annotations(["x"], [one, one], ("cat", "dog"))


def test_some_of_the_images() -> None:
    truth = GroundTruth(**GOOD, crowd=[False, True, False], files=("b.png", "a.jpg"), image_sizes=[[1, 2], [3, 4]])
    turned = truth.of_images([1, 0])
    assert turned.image_ids == ("a", "b")
    assert turned.files == ("a.jpg", "b.png")
    assert turned.image_numbers == (2, 1)
    assert turned.images.tolist() == [1, 0, 0]
    assert turned.image_sizes.tolist() == [[3, 4], [1, 2]]
    first = truth.first(1)
    assert first.image_ids == ("b",)
    np.testing.assert_array_equal(first.boxes, truth.boxes[:1])
    assert truth.first(9).image_ids == truth.image_ids
    assert len(truth.of_images([])) == 0


def test_rows_by_image() -> None:
    truth = GroundTruth(**(GOOD | {"image_ids": ("b", "a", "c"), "images": [1, 0, 1]}))
    assert [rows.tolist() for rows in truth.rows_by_image()] == [[1], [0, 2], []]
    assert truth.of_images([]).rows_by_image() == []


def test_some_of_the_classes() -> None:
    truth = GroundTruth(**GOOD, class_ids=(17, 18), areas=[1, 2, 3])
    dogs = truth.of_classes(["dog"])
    assert dogs.class_ids == (18,)
    assert dogs.class_numbers == (2,)
    assert dogs.labels.tolist() == [0, 0]
    assert dogs.images.tolist() == [0, 1]
    assert dogs.areas.tolist() == [1, 3]
    assert truth.of_classes(["dog", "cat"]).labels.tolist() == [0, 1, 0]
    assert truth.of_classes("dog").class_names == truth.of_classes(name for name in ["dog"]).class_names == ("dog",)
    with pytest.raises(InputError, match="class 'horse' is unknown; known are cat, dog"):
        truth.of_classes(["horse"])
