import numpy as np
import pytest

from detector.data import Annotations
from detector.errors import InputError


def test_arrays_are_copied_and_converted() -> None:
    boxes = np.array([[1, 2, 3, 4]], np.float64)
    annotations = Annotations(boxes, [7], [True], (10, 10))
    boxes[:] = 0
    assert len(annotations) == 1
    assert annotations.boxes.tolist() == [[1, 2, 3, 4]]
    dtypes = annotations.boxes.dtype, annotations.labels.dtype, annotations.difficult.dtype
    assert dtypes == (np.float32, np.int64, np.bool_)
    assert Annotations([], [], [], (10, 10)).boxes.shape == (0, 4)


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
        (([[1, 2, 3]], [0], [False], (9, 9)), r"shapes \(1, 3\), \(1,\) and \(1,\), expected"),
        (([[1, 2, 3, 4]], [0, 1], [False], (9, 9)), r"shapes \(1, 4\), \(2,\) and \(1,\)"),
        (([[1, 2, 3, 4]], [0], [], (9, 9)), r"shapes \(1, 4\), \(1,\) and \(0,\)"),
        (([[1, 2, 3, 4]], [-1], [False], (9, 9)), "box 0 .* negative label"),
        (([], [], [], (0, 9)), "image size 0 x 9 is not positive"),
    ],
)
def test_wrong_shapes_and_labels(arguments: tuple, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Annotations(*arguments)
