import pytest

from detector.data.detection_table import DetectionTable, check_same_data
from detector.data.ground_truth import GroundTruth
from detector.errors import InputError
from detector.structures.detections import Detections

TRUTH = GroundTruth(image_ids=("a", "b"), class_names=("cat", "dog"), images=[], labels=[], boxes=[])
GOOD = {
    "image_ids": TRUTH.image_ids,
    "class_names": TRUTH.class_names,
    "images": [1, 0],
    "labels": [0, 1],
    "boxes": [[-3, 0, 10, 20], [1, 2, 1, 4]],
    "scores": [7.5, -1],
}


def test_boxes_beyond_the_image_or_without_width_and_scores_beyond_1_are_allowed() -> None:
    table = DetectionTable(**GOOD)
    assert len(table) == 2
    assert table[[True, False]].scores.tolist() == [7.5]
    assert table[1:].images.tolist() == [0]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"scores": [0.5, float("nan")]}, "detection 1: score nan is not finite"),
        ({"scores": ["high", 1]}, "scores cannot be read as numbers"),
        ({"images": [0, 2]}, r"detection 1: image 2 is not in 0\.\.1"),
        ({"labels": [5, 0]}, r"detection 0: label 5 is not in 0\.\.1"),
        ({"boxes": [[0, 0, 1, 1], [2, 0, 1, 1]]}, "detection 1: box .* has a negative size"),
        ({"sides": [[1, 1], [1, 2]]}, r"detection \d: sides .* are not those of the box"),
        ({"boxes": [[0, 0, 1, 1]]}, r"boxes have the shape \(1, 4\), expected \(2, 4\)"),
    ],
)
def test_wrong_columns(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        DetectionTable(**(GOOD | wrong))


def test_from_detections_goes_by_class_name() -> None:
    first = Detections([[0, 0, 5, 5], [1, 1, 9, 9]], [0.9, 0.5], [0, 1], ("dog", "lynx"), (10, 10))
    table = DetectionTable.from_detections(TRUTH, [first, first[:0]])
    assert (table.labels.tolist(), table.images.tolist(), table.scores.tolist()) == ([1], [0], pytest.approx([0.9]))
    with pytest.raises(InputError, match="ground truth of 2 images, but detections of 1"):
        DetectionTable.from_detections(TRUTH, [first])


def test_other_data_is_refused() -> None:
    check_same_data(TRUTH, DetectionTable(**GOOD))
    with pytest.raises(InputError, match="other images or classes"):
        check_same_data(TRUTH, DetectionTable(**(GOOD | {"image_ids": ("a", "c")})))
