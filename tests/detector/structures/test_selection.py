import numpy as np
import pytest

from detector.errors import InputError
from detector.structures.detections import Detections
from detector.structures.selection import Selection

CLASSES = ("bird", "cat", "dog", "a=b")


def detections() -> Detections:
    scores = [0.9, 0.7, 0.6, 0.5, 0.3]
    return Detections(np.tile([0, 0, 5, 5], (5, 1)), scores, [1, 2, 1, 0, 0], CLASSES, (10, 10))


@pytest.mark.parametrize(
    ("scores", "kept"),
    [
        ([], [0, 1, 2, 3]),
        (["0.65"], [0, 1]),
        (["0.2", "0.65"], [0, 1]),
        (["cat=0.7"], [0, 1, 3]),
        (["0.65", "bird=0.2"], [0, 1, 3, 4]),
        (["0", "cat=1", "dog=0.7", "bird=0.5"], [1, 3]),
    ],
)
def test_scores(scores, kept):
    chosen = Selection.parse(scores, None, None)(detections())
    assert chosen.scores.tolist() == detections().scores[kept].tolist()


def test_a_class_whose_name_has_an_equals_sign():
    assert Selection.parse(["a=b=0.7"], None, None).class_scores == {"a=b": 0.7}


def test_classes_and_max_detections():
    assert Selection(classes=("bird", "dog"))(detections()).labels.tolist() == [2, 0]
    assert Selection(classes=("bird", "dog"), max_detections=1)(detections()).labels.tolist() == [2]
    assert Selection(max_detections=9)(detections()).labels.tolist() == [1, 2, 1, 0]


def test_lowest_score():
    assert Selection().lowest_score == 0.5
    assert Selection(0.6, {"cat": 0.4, "dog": 0.9}).lowest_score == 0.4


@pytest.mark.parametrize(
    ("text", "value"), [("1.01", "1.01"), ("cat=-1", "-1.0"), ("nan", "nan"), ("cat", "cat"), ("cat=high", "cat=high")]
)
def test_values_that_are_not_scores(text, value):
    with pytest.raises(InputError, match=f"^--score {value}"):
        Selection.parse([text], None, None)


@pytest.mark.parametrize("score", [None, "0.5", float("nan"), 1.5])
def test_scores_outside_0_to_1(score):
    for arguments in ({"score": score}, {"class_scores": {"cat": score}}):
        with pytest.raises(InputError, match=f"^score {score!r} is not"):
            Selection(**arguments)


@pytest.mark.parametrize("count", [2.5, "2", -2, 0])
def test_wrong_numbers_of_detections(count):
    with pytest.raises(InputError, match=f"max_detections is {count!r}"):
        Selection(max_detections=count)


@pytest.mark.parametrize("classes", ["cat", (name for name in ["cat"]), ["cat"]])
def test_one_class_or_several(classes):
    selection = Selection(classes=classes)
    selection.check(CLASSES)
    assert selection.classes == ("cat",)


@pytest.mark.parametrize("selection", [Selection(classes=("lion",)), Selection(class_scores={"lion": 0.5})])
def test_unknown_classes(selection):
    with pytest.raises(InputError, match=r"'lion'.*bird, cat"):
        selection.check(CLASSES)
