import json
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proposals import Coverage, ProposalEvaluation, Proposals
from proposals.evaluation import IOU_THRESHOLDS, iou_matrix

Box = Sequence[float]
CLASSES = ("bird", "cat", "dog")


def make(boxes: Sequence[Box] | np.ndarray, size: tuple[int, int] = (400, 300)) -> Proposals:
    n = len(boxes)
    array = np.asarray(boxes, np.float32).reshape(-1, 4)
    scores = (1 / np.arange(1, n + 1)).astype(np.float32)
    return Proposals(array, scores, np.zeros(n, np.int16), ("test",), size)


def evaluate(*images: tuple[Sequence[Box], Sequence[Box], Sequence[int]]) -> ProposalEvaluation:
    """Of images, each with its proposals, its objects and their classes."""
    evaluation = ProposalEvaluation(CLASSES)
    for proposals, objects, labels in images:
        evaluation.add(make(proposals), np.array(objects, np.float32).reshape(-1, 4), labels)
    return evaluation


def slow_iou(a: Box, b: Box) -> float:
    """Intersection over union, side by side."""
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
    return width * height / union


whole_boxes = st.tuples(*[st.integers(0, 20)] * 2, *[st.integers(1, 20)] * 2).map(
    lambda box: (box[0], box[1], box[0] + box[2], box[1] + box[3])
)


@settings(deadline=None, max_examples=60)
@given(st.lists(whole_boxes, max_size=6), st.lists(whole_boxes, max_size=6))
def test_iou_counts_pixels(boxes: list[Box], others: list[Box]) -> None:
    """Of whole-number boxes: the number of pixels in both over the number in either."""

    def mask(box: Box) -> np.ndarray:
        pixels = np.zeros((40, 40), bool)
        pixels[int(box[1]) : int(box[3]), int(box[0]) : int(box[2])] = True
        return pixels

    expected = [[(mask(a) & mask(b)).sum() / (mask(a) | mask(b)).sum() for b in others] for a in boxes]
    found = iou_matrix(np.array(boxes, np.float32).reshape(-1, 4), np.array(others, np.float32).reshape(-1, 4))
    assert found.shape == (len(boxes), len(others))
    np.testing.assert_allclose(found, np.reshape(expected, found.shape), rtol=1e-12)


sides = st.floats(0.125, 1000, width=32)
boxes_of_fractions = st.tuples(st.floats(0, 1000, width=32), st.floats(0, 1000, width=32), sides, sides).map(
    lambda box: (box[0], box[1], box[0] + box[2], box[1] + box[3])
)


@settings(deadline=None, max_examples=100)
@given(boxes_of_fractions, boxes_of_fractions, st.sampled_from([0.25, 2, 64]))
def test_iou_is_symmetric_in_0_to_1_and_does_not_depend_on_the_scale(a: Box, b: Box, scale: float) -> None:
    one, other = np.array([a]), np.array([b])
    found = iou_matrix(one, other).item()
    assert 0 <= found <= 1
    assert found == iou_matrix(other, one).item() == pytest.approx(slow_iou(a, b), rel=1e-9)
    assert iou_matrix(one * scale, other * scale).item() == found
    assert iou_matrix(one, one).item() == 1


def slow_coverage(images: Sequence[tuple[Sequence[Box], Sequence[Box], Sequence[int]]], budget: int | None) -> Coverage:
    """The same figures, object by object."""
    best: list[tuple[int, float]] = []
    counts = []
    for proposals, objects, labels in images:
        taken = proposals if budget is None else proposals[:budget]
        counts.append(len(taken))
        for box, label in zip(objects, labels, strict=True):
            best.append((label, max((slow_iou(proposal, box) for proposal in taken), default=0.0)))
    of_class: dict[int, list[float]] = {}
    for label, overlap in best:
        of_class.setdefault(label, []).append(overlap)

    def recall(values: Sequence[float], threshold: float) -> float:
        return sum(value >= threshold for value in values) / len(values)

    every = [overlap for _, overlap in best]
    return Coverage(
        boxes=sum(counts) / len(counts),
        objects=len(best),
        recall50=recall(every, 0.5),
        recall70=recall(every, 0.7),
        class_recall50=sum(recall(values, 0.5) for values in of_class.values()) / len(of_class),
        average_recall=sum(recall(every, 0.5 + 0.05 * step) for step in range(10)) / 10,
        mabo=sum(sum(values) / len(values) for values in of_class.values()) / len(of_class),
    )


def random_images(seed: int) -> list[tuple[list[Box], list[Box], list[int]]]:
    """Of every kind: without objects, without proposals, with fewer and with more boxes than any budget."""
    random = np.random.default_rng(seed)

    def boxes(count: int, low: float, high: float) -> np.ndarray:
        corners = random.uniform(0, 150, (count, 2))
        return np.concatenate((corners, corners + random.uniform(low, high, (count, 2))), axis=1).astype(np.float32)

    images = []
    for count, objects in ((0, 2), (40, 3), (99, 0), (100, 2), (350, 4), (1100, 3)):
        labels = random.choice(3, objects, p=[0.6, 0.4, 0] if seed % 2 else [0.3, 0.3, 0.4])
        images.append((boxes(count, 5, 150).tolist(), boxes(objects, 10, 140).tolist(), labels.tolist()))
    return images


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("budget", [None, 1, 10, 100, 300, 1000])
def test_figures_are_those_of_a_slow_computation(seed: int, budget: int | None) -> None:
    images = random_images(seed)
    found, expected = vars(evaluate(*images).coverage(budget)), vars(slow_coverage(images, budget))
    assert found == pytest.approx(expected, rel=1e-9)
    assert 0 < found["mabo"] < 1


def test_parts_by_class_and_size_are_those_of_a_slow_computation() -> None:
    images = random_images(1)
    content = evaluate(*images).to_dict()

    def only(wanted: Callable[[Box, int], bool]) -> Coverage:
        chosen = []
        for proposals, objects, labels in images:
            pairs = [(box, label) for box, label in zip(objects, labels, strict=True) if wanted(box, label)]
            chosen.append((proposals, [box for box, _ in pairs], [label for _, label in pairs]))
        return slow_coverage(chosen, None)

    def area(box: Box) -> float:
        return (box[2] - box[0]) * (box[3] - box[1])

    assert list(content["by_class"]) == ["bird", "cat"], "no figures of a class without objects"
    for label, name in enumerate(content["by_class"]):
        assert content["by_class"][name] == pytest.approx(vars(only(lambda _, of, label=label: of == label)), abs=0.005)  # type: ignore[misc]
    limits = {"small (under 32x32 pixels)": (0, 32**2), "medium (under 96x96)": (32**2, 96**2), "large": (96**2, 1e9)}
    for name, (low, high) in limits.items():
        expected = vars(only(lambda box, _, low=low, high=high: low <= area(box) < high))  # type: ignore[misc]
        assert content["by_size"][name] == pytest.approx(expected, abs=0.005)


def test_average_recall_by_hand() -> None:
    """IoU 1, 0.8, 0.55 and 0.4: recall is 3/4 at 0.5 and 0.55, 2/4 up to 0.8, 1/4 at 0.85, 0.9 and 0.95."""
    objects = [(0, 0, 100, 10), (0, 20, 100, 30), (0, 40, 100, 50), (0, 60, 100, 70)]
    proposals = [(0, 0, 100, 10), (0, 20, 80, 30), (0, 40, 55, 50), (0, 60, 40, 70)]
    coverage = evaluate((proposals, objects, [1, 1, 1, 1])).coverage()
    assert coverage.average_recall == pytest.approx((2 * 3 + 5 * 2 + 3 * 1) / 4 / 10)
    assert (coverage.recall50, coverage.recall70) == (0.75, 0.5)
    assert coverage.mabo == pytest.approx((1 + 0.8 + 0.55 + 0.4) / 4)


@pytest.mark.parametrize("percent", range(50, 100, 5))
def test_an_overlap_of_just_the_threshold_counts(percent: int) -> None:
    coverage = evaluate(([(0, 0, percent, 10)], [(0, 0, 100, 10)], [0])).coverage()
    assert coverage.recall50 == 1
    assert coverage.recall70 == (percent >= 70)
    assert coverage.average_recall == pytest.approx((percent - 45) / 50)


def test_the_thresholds_are_those_of_coco() -> None:
    assert IOU_THRESHOLDS.tolist() == pytest.approx([0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95])


def test_every_class_weighs_the_same() -> None:
    """Three birds are found and the one dog is not."""
    bird, dog = (0, 0, 40, 40), (100, 100, 140, 140)
    coverage = evaluate(([bird], [bird, bird, bird, dog], [0, 0, 0, 2])).coverage()
    assert coverage.recall50 == 0.75
    assert coverage.class_recall50 == 0.5
    assert coverage.mabo == 0.5


def test_a_budget_takes_the_first_boxes_of_each_image() -> None:
    box, far = (0, 0, 40, 40), (100, 100, 140, 140)
    evaluation = evaluate(([far] * 99 + [box], [box], [0]), ([far] * 100 + [box], [box], [0]), ([far], [], []))
    assert evaluation.coverage(70).recall50 == 0
    assert evaluation.coverage(100).recall50 == 0.5
    assert evaluation.coverage(300).recall50 == 1
    assert evaluation.coverage(100).boxes == pytest.approx((100 + 100 + 1) / 3)
    assert evaluation.coverage().boxes == pytest.approx((100 + 101 + 1) / 3)


def test_more_boxes_never_cover_less() -> None:
    content = evaluate(*random_images(2)).to_dict()
    for key in ("boxes", "recall50", "recall70", "average_recall", "class_recall50", "mabo"):
        values = [point[key] for point in content["curve"]]
        assert values == sorted(values)
        assert values[0] < values[-1]
        assert values[-1] == content[key]


@pytest.mark.parametrize("budget", [0, -1, 250, 10**12])
def test_a_budget_without_figures_is_refused(budget: int) -> None:
    with pytest.raises(ValueError, match=str(budget)):
        evaluate(*random_images(0)).coverage(budget)


def test_images_without_proposals_or_objects() -> None:
    box = (0, 0, 40, 40)
    coverage = evaluate(([], [box], [0]), ([box], [], []), ([], [], []), ([box, box], [box], [0])).coverage()
    assert coverage == Coverage(0.75, 2, 0.5, 0.5, 0.5, 0.5, 0.5)


def test_nothing_proposed_at_all() -> None:
    content = evaluate(([], [(0, 0, 40, 40)], [0]), ([], [(0, 0, 40, 40)], [2])).to_dict()
    nothing = {
        "boxes": 0,
        "objects": 2,
        "recall50": 0,
        "recall70": 0,
        "class_recall50": 0,
        "average_recall": 0,
        "mabo": 0,
    }
    assert content["by_budget"] == dict.fromkeys(("100", "300", "1000", "all"), nothing)


@pytest.mark.parametrize("images", [(), (([(0, 0, 40, 40)], [], []),)], ids=["no images", "no objects"])
def test_without_objects_there_is_nothing_to_tell(images: tuple) -> None:
    evaluation = evaluate(*images)
    with pytest.raises(ValueError, match="there are no objects to cover"):
        evaluation.coverage()
    with pytest.raises(ValueError, match="there are no objects to cover"):
        evaluation.to_dict()


@pytest.mark.parametrize(
    ("width", "height", "size"),
    [
        (31, 32, "small"),
        (32, 32, "medium"),
        (1, 1023, "small"),
        (1, 1025, "medium"),
        (95.9, 96, "medium"),
        (96, 96, "large"),
    ],
)
def test_size_is_the_area_of_the_box(width: float, height: float, size: str) -> None:
    evaluation = ProposalEvaluation(CLASSES)
    evaluation.add(make([], (2000, 2000)), np.array([[5, 5, 5 + width, 5 + height]]), [0])
    (name,) = evaluation.to_dict()["by_size"]
    assert name.split()[0] == size


def test_the_content_of_the_dictionary() -> None:
    content = evaluate(*random_images(0)).to_dict()
    figures = ["boxes", "objects", "recall50", "recall70", "class_recall50", "average_recall", "mabo"]
    assert sorted(content) == sorted(["images", *figures, "by_budget", "by_class", "by_size", "curve"])
    assert content["images"] == 6
    assert list(content["by_budget"]) == ["100", "300", "1000", "all"]
    assert content["by_budget"]["all"] == {key: content[key] for key in figures}
    parts = [*content["by_budget"].values(), *content["by_class"].values(), *content["by_size"].values()]
    assert all(sorted(part) == sorted(figures) for part in [*parts, *content["curve"]])
    for key in ("by_class", "by_size"):
        assert sum(part["objects"] for part in content[key].values()) == content["objects"] == 14


def test_the_dictionary_goes_into_json_and_back() -> None:
    content = evaluate(*random_images(0)).to_dict()
    assert json.loads(json.dumps(content)) == content


def test_labels_must_be_as_many_as_boxes() -> None:
    with pytest.raises(ValueError, match="2 boxes but 1 labels"):
        ProposalEvaluation(CLASSES).add(make([]), np.array([[0, 0, 1, 1], [0, 0, 2, 2]]), [0])


def test_boxes_of_the_caller_are_not_kept() -> None:
    """Who fills one array again and again gets the same figures."""
    evaluation = ProposalEvaluation(CLASSES)
    boxes = np.array([[0, 0, 40, 40]], np.float32)
    labels = np.array([1])
    evaluation.add(make([(0, 0, 40, 40)]), boxes, labels)
    boxes += 100
    labels[:] = 2
    assert evaluation.coverage().mabo == 1
    assert list(evaluation.to_dict()["by_class"]) == ["cat"]
