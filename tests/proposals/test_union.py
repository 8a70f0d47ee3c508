import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torchvision.ops
from hypothesis import given, settings
from hypothesis import strategies as st

from proposals import Proposals, UnionProposer, merge_proposals
from proposals.union import OVERLAP, nms

Box = tuple[float, ...]


def make(boxes: list[Box], source: str = "a", size: tuple[int, int] = (100, 100)) -> Proposals:
    array = np.array(boxes, np.float32).reshape(-1, 4)
    scores = np.linspace(1, 0.1, len(array)).astype(np.float32)
    return Proposals(array, scores, np.zeros(len(array), np.int16), (source,), size)


def row(y: int, count: int) -> list[Box]:
    """Boxes that do not touch."""
    return [(float(x), float(y), float(x + 4), float(y + 4)) for x in range(0, count * 5, 5)]


def names(proposals: Proposals) -> str:
    return "".join(proposals.source_names[source] for source in proposals.sources)


def test_sources_are_interleaved() -> None:
    first, second, third = row(0, 2), row(10, 4), row(20, 1)
    merged = merge_proposals([make(first), make(second, "b"), make(third, "c")])
    expected = [first[0], second[0], third[0], first[1], *second[1:]]
    assert merged.boxes.tolist() == [list(box) for box in expected]
    assert names(merged) == "abcabbb"
    single = make([(0, 0, 50, 50), (0, 0, 50, 49)])
    assert merge_proposals([single]) is single
    np.testing.assert_allclose(merged.scores, 1 / np.arange(1, 8))


def test_first_of_duplicates_is_kept() -> None:
    first, second = [(0, 0, 50, 50), (0, 60, 20, 80)], [(0, 0, 50, 49), (60, 0, 80, 20)]
    merged = merge_proposals([make(first), make(second, "b")])
    assert merged.boxes.tolist() == [list(box) for box in (first[0], first[1], second[1])]


@pytest.mark.parametrize("overlap", [0.0, 0.5, 0.7, 0.9, 1.0])
def test_nms_equals_torchvisions(overlap: float) -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 50, (400, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(1, 50, (400, 2))], axis=1).astype(np.float32)
    boxes[200:] = np.rint(boxes[200:]) + np.array([0, 0, 1, 1])  # integer boxes can meet the threshold exactly
    ranks = -torch.arange(400, dtype=torch.float32)
    expected = torchvision.ops.nms(torch.from_numpy(boxes), ranks, overlap).numpy()
    for limit in (None, 0, 1, 30):
        np.testing.assert_array_equal(nms(boxes, overlap, limit), expected[:limit])


def test_torch_is_only_imported_for_multibox() -> None:
    code = """
import sys
sys.modules["torch"] = sys.modules["torchvision"] = None
import numpy as np
from proposals import *
search = SelectiveSearch(SelectiveSearchConfig.preset("single"))
union = UnionProposer([search, SelectiveSearch(SelectiveSearchConfig.preset("single", seed=1))])
image = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)
assert len(union(image)) >= len(merge_proposals([search(image)])) > 0
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_invalid_sources() -> None:
    for function in (merge_proposals, UnionProposer):
        with pytest.raises(ValueError, match="at least one source"):
            function([])
    with pytest.raises(ValueError, match="100x100, 50x40"):
        merge_proposals([make(row(0, 1)), make(row(0, 1), size=(50, 40))])


boxes = st.lists(
    st.tuples(*[st.integers(0, 60)] * 2, *[st.integers(1, 40)] * 2).map(
        lambda box: (float(box[0]), float(box[1]), float(box[0] + box[2]), float(box[1] + box[3]))
    ),
    max_size=12,
)


@settings(deadline=None)
@given(st.lists(boxes, min_size=2, max_size=3), st.integers(1, 40))
def test_limit_order_and_duplicates(iou: Callable, lists: list[list[Box]], limit: int) -> None:
    sources = [make(boxes, name) for boxes, name in zip(lists, "abc", strict=False)]
    merged = merge_proposals(sources)
    np.testing.assert_array_equal(merge_proposals(sources, limit).boxes, merged.boxes[:limit])
    for index, source in enumerate(sources):
        kept = merged.boxes[merged.sources == index]
        positions = [np.flatnonzero((source.boxes == box).all(axis=1))[0] for box in kept]
        assert positions == sorted(positions)
        if len(source):  # every dropped box overlaps a kept box
            assert (iou(source.boxes, merged.boxes).max(axis=1) > OVERLAP - 1e-6).all()
    overlaps = iou(merged.boxes, merged.boxes)
    np.fill_diagonal(overlaps, 0)
    assert (overlaps <= OVERLAP + 1e-6).all()


class Fixed:
    def __init__(self, boxes: list[Box], name: str) -> None:
        self.boxes, self.fingerprint = boxes, name

    def __call__(self, image: np.ndarray) -> Proposals:
        return make(self.boxes, self.fingerprint, (image.shape[1], image.shape[0]))


def test_union_is_a_proposer() -> None:
    first, second = Fixed(row(0, 2), "x"), Fixed(row(10, 3), "y")
    assert names(UnionProposer([first, second], limit=3)(np.zeros((100, 100, 3), np.uint8))) == "xyx"
    unions = [UnionProposer(p, limit) for p in ([first, second], [second, first]) for limit in (None, 3)]
    assert len({union.fingerprint for union in unions}) == 4
