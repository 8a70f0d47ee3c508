"""ILSVRC CLS-LOC by hand, and against the loops of its development kit."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.errors import InputError
from detector.evaluation.evaluation import evaluate, match_by_metric
from detector.evaluation.metrics.localization import LocalizationResult, localization_error
from tests.detector.evaluation import tables
from tests.detector.evaluation.tables import table_of

NAMES = ("cat", "dog", "cow", "owl", "ant", "bee")
BOX, HALF, FAR = (0, 0, 100, 100), (0, 0, 50, 100), (200, 200, 300, 300)


truth_of = partial(tables.truth_of, names=NAMES)


def test_errors_by_number_of_guesses() -> None:
    truth = truth_of((0, 0, BOX), (1, 1, BOX), (2, 2, BOX), (2, 2, FAR), (3, 3, BOX), images=4)
    table = table_of(
        truth,
        (0, 0, 0.9, BOX),  # right at once
        (1, 2, 0.9, BOX),
        (1, 1, 0.8, (0, 0, 49, 100)),  # the class, but an IoU of 0.49
        (1, 1, 0.7, HALF),  # 0.5 is enough
        (2, 2, 0.5, FAR),  # any object of the class will do
        *[(3, label, 1 - i / 10, BOX) for i, label in enumerate([0, 1, 2, 4, 5, 3])],  # the sixth guess
    )
    result = localization_error(truth, table)
    assert result.classification.tolist() == [0.5, 0.25, 0.25, 0.25, 0.25]
    assert result.localization.tolist() == [0.5, 0.5, 0.25, 0.25, 0.25]
    assert localization_error(truth, table, guesses=6).localization[-1] == 0
    assert localization_error(truth, table, iou_threshold=0.6).localization.tolist() == [0.5] * 5
    assert localization_error(truth, table[:0]).classification.tolist() == [1] * 5
    assert result.to_dict()["localization_error"] == [0.5, 0.5, 0.25, 0.25, 0.25]


def test_excluded_images_count_for_classification_only() -> None:
    truth = truth_of((0, 0, BOX), (1, 1, BOX), images=2)
    result = localization_error(truth, table_of(truth, (0, 0, 0.9, BOX)), left_out=[1])
    assert result.classification.tolist() == [0.5] * 5
    assert result.localization.tolist() == [0] * 5
    assert (result.images, result.localized_images) == (2, 1)
    nothing = localization_error(truth, table_of(truth), left_out=[0, 1])
    assert nothing.to_dict()["localization_error"] == [None] * 5
    no_images = truth_of(images=0)
    assert np.isnan(localization_error(no_images, table_of(no_images)).classification).all()


def test_an_image_of_two_classes_counts_by_halves() -> None:
    truth = truth_of((0, 0, BOX), (0, 1, FAR), images=1)
    result = localization_error(truth, table_of(truth, (0, 0, 0.9, BOX), (0, 1, 0.8, BOX)))
    assert result.classification.tolist() == [0.5, 0, 0, 0, 0]
    assert result.localization.tolist() == [0.5] * 5


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        (2, {}, "image 1 has no object"),
        (1, {"guesses": 0}, "guesses is 0"),
        (1, {"left_out": [1]}, r"left_out: image 1 is not in 0\.\.0"),
        (1, {"iou_threshold": 2}, "IoU threshold"),
    ],
)
def test_wrong_arguments(images: int, options: dict, message: str) -> None:
    truth = truth_of((0, 0, BOX), images=images)
    with pytest.raises(InputError, match=message):
        localization_error(truth, table_of(truth), **options)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31))
def test_the_loops_of_the_development_kit_agree(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, 8)
    boxes = [(0, 0, *rng.integers(20, 60, 2)) for _ in range(8)]
    truth = truth_of(*[(image, int(labels[image]), boxes[image]) for image in range(8)], images=8)
    guesses = [
        (int(rng.integers(8)), int(rng.integers(3)), round(float(rng.random()), 1), (0, 0, *rng.integers(20, 60, 2)))
        for _ in range(40)
    ]
    result = localization_error(truth, table_of(truth, *guesses))
    for count in range(1, 6):
        wrong_class = wrong_box = 0
        for image in range(8):
            first = sorted((guess for guess in guesses if guess[0] == image), key=lambda guess: -guess[2])[:count]
            class_errors, box_errors = [1], [1]
            for _, label, _, (_, _, width, height) in first:
                if label == labels[image]:
                    class_errors.append(0)
                    _, _, true_width, true_height = boxes[image]
                    both = min(width, true_width) * min(height, true_height)
                    overlap = both / (width * height + true_width * true_height - both)
                    box_errors.append(int(overlap < 0.5))
            wrong_class += min(class_errors)
            wrong_box += min(box_errors)
        assert result.classification[count - 1] == pytest.approx(wrong_class / 8)
        assert result.localization[count - 1] == pytest.approx(wrong_box / 8)


def test_a_detectors_guesses_name_no_class_twice() -> None:
    """`evaluate` takes the best detection of each class; equal scores keep their order."""
    truth = truth_of((0, 3, BOX), images=1)
    rows = [(0, 0, 0.9 - i / 100, BOX) for i in range(5)] + [(0, 1, 0.5, BOX), (0, 3, 0.4, HALF), (0, 3, 0.3, BOX)]
    table = table_of(truth, *rows)
    assert localization_error(truth, table).classification[-1] == 1
    evaluation = evaluate(truth, table, "clsloc")
    assert isinstance(evaluation.result, LocalizationResult)
    assert evaluation.result.classification.tolist() == [1, 1, 0, 0, 0]
    assert evaluation.result.localization.tolist() == [1, 1, 0, 0, 0]
    assert evaluate(truth, table, "clsloc", [0.6]).result.to_dict()["localization_error"] == [1.0] * 5
    assert evaluation.to_dict()["metric"] == "clsloc"
    assert evaluation.table().splitlines()[3] == "      3      0.0            0.0"


def test_where_the_error_has_no_meaning() -> None:
    truth = truth_of((0, 3, BOX), images=1)
    with pytest.raises(InputError, match="clsloc"):
        evaluate(truth, table_of(truth), "clsloc", [0.5, 0.6])
    with pytest.raises(InputError, match="clsloc"):
        match_by_metric(truth, table_of(truth), "clsloc")
