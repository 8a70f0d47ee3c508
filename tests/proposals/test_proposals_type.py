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
    for n in (0, 2, 3, 10):
        top = proposals.top(n)
        assert len(top) == min(n, 3)
        for field in ("boxes", "scores", "sources"):
            np.testing.assert_array_equal(getattr(top, field), getattr(proposals, field)[:n])
    with pytest.raises(ValueError, match="not -1"):
        proposals.top(-1)


def test_immutable() -> None:
    boxes = np.array([[0, 0, 10, 20], [5, 5, 30, 20], [1, 2, 3, 4]], np.float32)
    proposals = make(boxes=boxes)
    boxes[:] = 1
    assert proposals.boxes[1].tolist() == [5, 5, 30, 20]
    for array in (proposals.boxes, proposals.scores, proposals.sources, proposals.top(1).boxes):
        with pytest.raises(ValueError, match="read-only"):
            array[:] = 0


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("boxes", np.zeros((3, 5), np.float32), r"\(3, 4\) float32, not \(3, 5\) float32"),
        ("boxes", np.ones((3, 4)), r"\(3, 4\) float32, not \(3, 4\) float64"),
        ("scores", np.zeros(2, np.float32), r"\(3,\)"),
        ("sources", np.zeros(3, np.int64), "int16"),
        ("scores", np.array([np.inf, 1, 0], np.float32), "finite"),
        ("scores", np.array([0.5, 0.9, 0.1], np.float32), "increase"),
        ("sources", np.array([0, 2, 0], np.int16), "the 2 source_names"),
        ("sources", np.array([0, -1, 0], np.int16), "source_names"),
        ("image_size", (0, 20), "0x20"),
    ],
)
def test_invalid_fields(field: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"{field}.*{message}"):
        make(**{field: value})


@pytest.mark.parametrize(
    "box", [(-1, 0, 5, 5), (0, -1, 5, 5), (0, 0, 31, 5), (0, 0, 5, 21), (5, 0, 5, 5), (0, 6, 5, 5), (np.nan, 0, 1, 1)]
)
def test_invalid_boxes(box: tuple[float, ...]) -> None:
    message = "finite" if np.isnan(box).any() else r"box 1 \[.* 30x20 image"
    with pytest.raises(ValueError, match=message):
        make(boxes=np.array([[0, 0, 1, 1], box, [0, 0, 2, 2]], np.float32))
