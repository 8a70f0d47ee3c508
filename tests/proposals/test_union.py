import subprocess
import sys

import numpy as np
import pytest
import torch
import torchvision.ops
from hypothesis import given, settings
from hypothesis import strategies as st

from proposals import Proposals, UnionProposer, merge_proposals
from proposals.nms import nms


def found(boxes: list[tuple[float, ...]], source: str = "a", size: tuple[int, int] = (100, 100)) -> Proposals:
    array = np.array(boxes, np.float32).reshape(-1, 4)
    scores = np.linspace(1, 0.1, len(array)).astype(np.float32)
    return Proposals(array, scores, np.zeros(len(array), np.int16), (source,), size)


def row(start: int, count: int) -> list[tuple[float, ...]]:
    """Boxes that do not touch."""
    return [(float(x), float(start), float(x + 4), float(start + 4)) for x in range(0, count * 5, 5)]


def test_the_best_of_each_in_turn():
    first, second, third = row(0, 2), row(10, 4), row(20, 1)
    merged = merge_proposals([found(first), found(second, "b"), found(third, "c")])
    expected = [first[0], second[0], third[0], first[1], second[1], second[2], second[3]]
    assert [tuple(box) for box in merged.boxes.tolist()] == expected
    assert [merged.source_names[i] for i in merged.sources] == ["a", "b", "c", "a", "b", "b", "b"]
    np.testing.assert_allclose(merged.scores, 1 / np.arange(1, 8))


def test_of_boxes_that_say_the_same_the_first_stays():
    first, second = [(0, 0, 50, 50), (0, 60, 20, 80)], [(0, 0, 50, 49), (60, 0, 80, 20)]
    merged = merge_proposals([found(first), found(second, "b")])
    assert [tuple(box) for box in merged.boxes.tolist()] == [first[0], first[1], second[1]]
    assert len(merge_proposals([found(first), found(second, "b")], overlap=0.99)) == 4


@pytest.mark.parametrize("overlap", [0.0, 0.5, 0.7, 0.9, 1.0])
def test_what_stays_is_what_torchvision_keeps(overlap: float):
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 50, (400, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(1, 50, (400, 2))], axis=1).astype(np.float32)
    boxes[200:] = np.rint(boxes[200:]) + np.array([0, 0, 1, 1])  # whole numbers meet thresholds exactly
    ranks = -torch.arange(400, dtype=torch.float32)
    expected = torchvision.ops.nms(torch.from_numpy(boxes), ranks, overlap).numpy()
    for limit in (None, 0, 1, 30):
        np.testing.assert_array_equal(nms(boxes, overlap, limit), expected[:limit])


def test_proposals_and_their_union_need_no_torch():
    code = """
import sys
sys.modules["torch"] = sys.modules["torchvision"] = None
import numpy as np
import proposals
from proposals import *
fast = SelectiveSearch(SelectiveSearchConfig.preset("single"))
union = UnionProposer([fast, SelectiveSearch(SelectiveSearchConfig.preset("single", seed=1))])
image = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)
assert len(union(image)) >= len(merge_proposals([fast(image)])) > 0
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_one_source_stays_as_it_is():
    one = found([(0, 0, 50, 50), (0, 0, 50, 49)])
    assert merge_proposals([one]) is one
    assert len(merge_proposals([one], limit=1)) == 1


def test_wrong_sources():
    with pytest.raises(ValueError, match="at least one source"):
        merge_proposals([])
    with pytest.raises(ValueError, match="at least one source"):
        UnionProposer([])
    with pytest.raises(ValueError, match="of one image, not of images of 100x100, 50x40 pixels"):
        merge_proposals([found(row(0, 1)), found(row(0, 1), size=(50, 40))])


boxes = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(1, 40), st.integers(1, 40)).map(
        lambda t: (float(t[0]), float(t[1]), float(t[0] + t[2]), float(t[1] + t[3]))
    ),
    max_size=12,
)


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    both = np.clip(high - low, 0, None).prod(axis=2)
    area = [(x[:, 2:] - x[:, :2]).prod(axis=1) for x in (a, b)]
    return both / (area[0][:, None] + area[1][None] - both)


@settings(deadline=None)
@given(st.lists(boxes, min_size=2, max_size=3), st.integers(1, 40), st.sampled_from([0.5, 0.7, 0.9]))
def test_budget_order_provenance_and_no_repeats(lists: list[list[tuple[float, ...]]], limit: int, overlap: float):
    sources = [found(one, name) for one, name in zip(lists, "abc", strict=False)]
    merged = merge_proposals(sources, limit, overlap)
    assert len(merged) <= limit
    everything = merge_proposals(sources, None, overlap)
    assert np.array_equal(merged.boxes, everything.boxes[:limit])  # the first N are meaningful at every N
    for source, one in enumerate(sources):
        own = everything.boxes[everything.sources == source]
        places = [np.flatnonzero((one.boxes == box).all(axis=1))[0] for box in own]  # from there, and in its order
        assert places == sorted(places)
    overlaps = iou(everything.boxes, everything.boxes)
    np.fill_diagonal(overlaps, 0)
    assert (overlaps <= overlap + 1e-6).all()
    for one in sources:  # whatever was dropped overlaps something that was kept
        if len(one):
            assert (iou(one.boxes, everything.boxes).max(axis=1) > overlap - 1e-6).all()


class Fixed:
    def __init__(self, boxes: list[tuple[float, ...]], name: str) -> None:
        self.boxes, self.fingerprint = boxes, name

    def __call__(self, image: np.ndarray) -> Proposals:
        return found(self.boxes, self.fingerprint, (image.shape[1], image.shape[0]))


def test_a_union_is_a_proposer():
    first, second = Fixed(row(0, 2), "x"), Fixed(row(10, 3), "y")
    merged = UnionProposer([first, second], limit=3)(np.zeros((100, 100, 3), np.uint8))
    assert [merged.source_names[i] for i in merged.sources] == ["x", "y", "x"]
    prints = {UnionProposer(s, limit).fingerprint for s in ([first, second], [second, first]) for limit in (None, 3)}
    assert len(prints) == 4
