import numpy as np
import pytest

from detector.data import Annotations
from detector.errors import InputError


def test_types_are_converted_and_arrays_are_read_only() -> None:
    annotations = Annotations([[1, 2, 3, 4]], [7], [True], (10, 10))
    assert len(annotations) == 1
    assert (annotations.boxes.dtype, annotations.labels.dtype, annotations.difficult.dtype) == (
        np.float32,
        np.int64,
        np.bool_,
    )
    with pytest.raises(ValueError, match="read-only"):
        annotations.boxes[0, 0] = 5


def test_the_arrays_given_are_copied() -> None:
    boxes = np.array([[1, 2, 3, 4]], np.float32)
    annotations = Annotations(boxes, np.array([0]), np.array([False]), (10, 10))
    boxes[:] = 0
    assert annotations.boxes.tolist() == [[1, 2, 3, 4]]


def test_no_objects() -> None:
    annotations = Annotations([], [], [], (10, 10))
    assert len(annotations) == 0
    assert annotations.boxes.shape == (0, 4)


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ((0, 0, float("nan"), 1), "box 1 (0, 0, nan, 1) is not finite"),
        ((3, 0, 3, 1), "box 1 (3, 0, 3, 1) has no area"),
        ((0, 5, 1, 2), "box 1 (0, 5, 1, 2) has no area"),
        ((-1, 0, 2, 2), "box 1 (-1, 0, 2, 2) is not inside the image of 10 x 8 pixels"),
        ((0, 0, 2, 9), "box 1 (0, 0, 2, 9) is not inside the image of 10 x 8 pixels"),
    ],
)
def test_a_wrong_box_is_named(box: tuple[float, ...], message: str) -> None:
    with pytest.raises(InputError) as caught:
        Annotations([(0, 0, 10, 8), box], [0, 0], [False, False], (10, 8))
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[1, 2, 3]], [0], [False], (9, 9)), r"shape \(1, 3\), expected \(N, 4\)"),
        (([[1, 2, 3, 4]], [0, 1], [False], (9, 9)), "1 boxes, but labels and difficult have the shapes"),
        (([[1, 2, 3, 4]], [0], [], (9, 9)), "1 boxes, but labels and difficult have the shapes"),
        (([[1, 2, 3, 4]], [-1], [False], (9, 9)), "has the label -1, labels count from 0"),
        (([], [], [], (0, 9)), "image size 0 x 9 is not positive"),
    ],
)
def test_wrong_shapes_and_labels(arguments: tuple, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Annotations(*arguments)
