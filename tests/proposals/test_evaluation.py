import json
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from proposals import Coverage, ProposalEvaluation, Proposals

Box = Sequence[float]
Image = tuple[Sequence[Box], Sequence[Box], Sequence[int]]
"""Proposals, objects and the classes of the objects."""

CLASSES = ("bird", "cat", "dog")
FIGURES = ("boxes", "objects", "recall50", "recall70", "class_recall50", "average_recall", "mabo")
BOX, FAR = (0, 0, 40, 40), (100, 100, 140, 140)


def make(boxes: Sequence[Box], size: tuple[int, int] = (400, 300)) -> Proposals:
    n = len(boxes)
    array = np.asarray(boxes, np.float32).reshape(-1, 4)
    return Proposals(array, (1 / np.arange(1, n + 1)).astype(np.float32), np.zeros(n, np.int16), ("test",), size)


def evaluate(*images: Image) -> ProposalEvaluation:
    evaluation = ProposalEvaluation(CLASSES)
    for proposals, objects, labels in images:
        evaluation.add(make(proposals), np.array(objects, np.float32).reshape(-1, 4), labels)
    return evaluation


def slow_iou(a: Box, b: Box) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
    return width * height / union


def slow_coverage(images: Sequence[Image], budget: int | None = None) -> Coverage:
    """The same figures, object by object."""
    by_class: dict[int, list[float]] = {}
    counts = []
    for proposals, objects, labels in images:
        counts.append(len(proposals[:budget]))
        for box, label in zip(objects, labels, strict=True):
            best = max((slow_iou(proposal, box) for proposal in proposals[:budget]), default=0.0)
            by_class.setdefault(label, []).append(best)

    def recall(values: Sequence[float], threshold: float) -> float:
        return sum(value >= threshold for value in values) / len(values)

    every = [best for values in by_class.values() for best in values]
    return Coverage(
        boxes=sum(counts) / len(counts),
        objects=len(every),
        recall50=recall(every, 0.5),
        recall70=recall(every, 0.7),
        class_recall50=sum(recall(values, 0.5) for values in by_class.values()) / len(by_class),
        average_recall=sum(recall(every, 0.5 + 0.05 * step) for step in range(10)) / 10,
        mabo=sum(sum(values) / len(values) for values in by_class.values()) / len(by_class),
    )


def random_images(seed: int) -> list[tuple[list[Box], list[Box], list[int]]]:
    """Images with and without objects, and with fewer and more proposals than any budget."""
    random = np.random.default_rng(seed)

    def boxes(count: int, low: float, high: float) -> list[Box]:
        corners = random.uniform(0, 150, (count, 2))
        sides = random.uniform(low, high, (count, 2))
        return np.concatenate((corners, corners + sides), axis=1).astype(np.float32).tolist()

    images = []
    for count, objects in ((0, 2), (40, 3), (99, 0), (100, 2), (350, 4), (1100, 3)):
        labels = random.choice(3, objects, p=[0.6, 0.4, 0] if seed % 2 else [0.3, 0.3, 0.4])
        images.append((boxes(count, 5, 150), boxes(objects, 10, 140), labels.tolist()))
    return images


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("budget", [None, 1, 10, 100, 300, 1000])
def test_figures_equal_a_slow_computation(seed: int, budget: int | None) -> None:
    images = random_images(seed)
    figures = vars(evaluate(*images).coverage(budget))
    assert figures == pytest.approx(vars(slow_coverage(images, budget)), rel=1e-9)
    assert 0 < figures["mabo"] < 1


def test_figures_by_class_and_size_equal_a_slow_computation() -> None:
    images = random_images(1)
    content = evaluate(*images).to_dict()

    def select(accept: Callable[[Box, int], bool]) -> dict[str, float]:
        selected = []
        for proposals, objects, labels in images:
            pairs = [(box, label) for box, label in zip(objects, labels, strict=True) if accept(box, label)]
            selected.append((proposals, [box for box, _ in pairs], [label for _, label in pairs]))
        return vars(slow_coverage(selected))

    def area(box: Box) -> float:
        return (box[2] - box[0]) * (box[3] - box[1])

    assert list(content["by_class"]) == ["bird", "cat"], "classes without objects are omitted"
    for index, name in enumerate(content["by_class"]):
        assert content["by_class"][name] == pytest.approx(select(lambda _, label, i=index: label == i), abs=0.005)  # type: ignore[misc]
    limits = {"small (under 32x32 pixels)": (0, 32**2), "medium (under 96x96)": (32**2, 96**2), "large": (96**2, 1e9)}
    for name, (low, high) in limits.items():
        expected = select(lambda box, _, low=low, high=high: low <= area(box) < high)  # type: ignore[misc]
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
def test_iou_equal_to_a_threshold_counts(percent: int) -> None:
    coverage = evaluate(([(0, 0, percent, 10)], [(0, 0, 100, 10)], [0])).coverage()
    assert (coverage.recall50, coverage.recall70) == (1, percent >= 70)
    assert coverage.average_recall == pytest.approx((percent - 45) / 50)


def test_invalid_arguments() -> None:
    with pytest.raises(ValueError, match=r"not 250$"):
        evaluate(*random_images(0)).coverage(250)
    with pytest.raises(ValueError, match="1 boxes but 2 labels"):
        evaluate(([], [BOX], [0, 1]))


def test_images_without_proposals_or_objects() -> None:
    coverage = evaluate(([], [BOX], [0]), ([BOX], [], []), ([], [], []), ([BOX, BOX], [BOX], [0])).coverage()
    assert coverage == Coverage(0.75, 2, 0.5, 0.5, 0.5, 0.5, 0.5)
    content = evaluate(([], [BOX], [0]), ([], [BOX], [2])).to_dict()
    zeros = dict.fromkeys(FIGURES, 0) | {"objects": 2}
    assert content["by_budget"] == dict.fromkeys(("100", "500", "1000", "all"), zeros)


@pytest.mark.parametrize("images", [(), (([BOX], [], []),)], ids=["no images", "no objects"])
def test_no_objects_is_an_error(images: tuple) -> None:
    evaluation = evaluate(*images)
    for method in (evaluation.coverage, evaluation.to_dict):
        with pytest.raises(ValueError, match="no objects"):
            method()


@pytest.mark.parametrize(
    ("width", "height", "size"),
    [(1, 1023, "small"), (32, 32, "medium"), (95.9, 96, "medium"), (96, 96, "large")],
)
def test_size_is_the_area_of_the_box(width: float, height: float, size: str) -> None:
    evaluation = ProposalEvaluation(CLASSES)
    evaluation.add(make([], (2000, 2000)), np.array([[5, 5, 5 + width, 5 + height]]), [0])
    (name,) = evaluation.to_dict()["by_size"]
    assert name.split()[0] == size


def test_dictionary() -> None:
    content = evaluate(*random_images(0)).to_dict()
    assert set(content) == {"images", *FIGURES, "by_budget", "by_class", "by_size", "curve"}
    assert content["images"] == 6
    figures = {key: content[key] for key in FIGURES}
    assert content["by_budget"]["all"] == content["curve"][-1] == figures
    for key in ("by_class", "by_size"):
        assert sum(part["objects"] for part in content[key].values()) == content["objects"] == 14
    assert json.loads(json.dumps(content)) == content
