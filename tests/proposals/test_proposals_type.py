from typing import Any

import numpy as np
import pytest

from proposals import Proposals


def make(**changes: Any) -> Proposals:
    fields: dict[str, Any] = {
        "boxes": np.array([[0, 0, 10, 20], [5, 5, 30, 20], [1, 2, 3, 4]], np.float32),
        "scores": np.array([0.9, 0.5, 0.5], np.float32),
        "sources": np.array([0, 1, 0], np.int16),
        "source_names": ("a", "b"),
        "image_size": (30, 20),
    }
    return Proposals(**(fields | changes))


def test_top_keeps_the_first_boxes() -> None:
    proposals = make()
    assert len(proposals) == 3
    top = proposals.top(2)
    assert top.boxes.tolist() == [[0, 0, 10, 20], [5, 5, 30, 20]]
    assert top.scores.tolist() == [np.float32(0.9), 0.5]
    assert top.sources.tolist() == [0, 1]
    assert len(proposals.top(0)) == 0
    assert len(proposals.top(10)) == 3


def test_immutable() -> None:
    boxes = np.array([[0, 0, 10, 20], [5, 5, 30, 20], [1, 2, 3, 4]], np.float32)
    proposals = make(boxes=boxes)
    boxes[:] = 1
    assert proposals.boxes[1].tolist() == [5, 5, 30, 20]
    for one in (proposals, proposals.top(1)):
        for array in (one.boxes, one.scores, one.sources):
            with pytest.raises(ValueError, match="read-only"):
                array[:] = 0


def test_no_boxes_are_allowed() -> None:
    empty = make(boxes=np.zeros((0, 4), np.float32), scores=np.zeros(0, np.float32), sources=np.zeros(0, np.int16))
    assert len(empty) == 0


def with_box(*box: float) -> np.ndarray:
    return np.array([[0, 0, 1, 1], box, [0, 0, 2, 2]], np.float32)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"boxes": np.zeros((3, 5), np.float32)}, r"boxes must be \(3, 4\) float32, not \(3, 5\) float32"),
        ({"boxes": np.ones((3, 4))}, r"boxes must be \(3, 4\) float32, not \(3, 4\) float64"),
        ({"scores": np.zeros(2, np.float32)}, r"scores must be \(3,\)"),
        ({"sources": np.zeros(3, np.int64)}, "sources must be .* int16"),
        ({"boxes": with_box(np.nan, 0, 1, 1)}, "finite"),
        ({"scores": np.array([np.inf, 1, 0], np.float32)}, "finite"),
        ({"boxes": with_box(-1, 0, 5, 5)}, r"box 1 \[-1.0, 0.0, 5.0, 5.0\] .* leaves the 30x20 image"),
        ({"boxes": with_box(0, -1, 5, 5)}, "box 1"),
        ({"boxes": with_box(0, 0, 31, 5)}, "box 1"),
        ({"boxes": with_box(0, 0, 5, 21)}, "box 1"),
        ({"boxes": with_box(5, 0, 5, 5)}, "box 1 .* has no area"),
        ({"boxes": with_box(0, 6, 5, 5)}, "box 1"),
        ({"scores": np.array([0.5, 0.9, 0.1], np.float32)}, "scores must not increase"),
        ({"sources": np.array([0, 2, 0], np.int16)}, "sources must index the 2 source_names"),
        ({"sources": np.array([0, -1, 0], np.int16)}, "sources must index"),
        ({"image_size": (0, 20)}, "image_size must be positive, not 0x20"),
    ],
)
def test_wrong_content_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**changes)


def test_a_negative_number_of_boxes_is_refused() -> None:
    with pytest.raises(ValueError, match="not -1"):
        make().top(-1)
