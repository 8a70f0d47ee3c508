"""Short form of `python -m tests.reliability.arithmetic`."""

import random

import pytest
import torch

from detector import load_detector
from detector.errors import InputError
from tests.reliability import arithmetic
from tests.reliability.nursery import ROOT


def test_numbers_that_are_none_are_named():
    for row in (arithmetic.weights(random.Random(0), most=3), arithmetic.activations(), arithmetic.boxes()):
        assert row.findings == []
        assert row.tried >= 3


def test_the_check_of_the_weights_does_not_slow_the_start():
    assert arithmetic.check_milliseconds() < 20


def test_the_same_detections_with_any_number_of_threads():
    """In one process; the long form starts several."""
    detector = load_detector(arithmetic.MODEL, device="cpu")
    found = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 1):
            torch.set_num_threads(threads)
            result = detector(ROOT / "tests/photos/cat.jpg", score=0.05)
            found.append([result.boxes.tolist(), result.scores.tolist(), result.labels.tolist()])
    finally:
        torch.set_num_threads(before)
    assert found[2] == found[0]
    pixels, scores = arithmetic._apart(found[1], found[0])
    assert pixels <= arithmetic.PIXEL_TOLERANCE
    assert scores <= arithmetic.SCORE_TOLERANCE


def test_a_wrong_refusal_is_seen():
    def refuse() -> None:
        raise InputError("tensor 'a' is not finite")

    assert arithmetic.refusal(refuse, "tensor 'a'") is None
    assert "does not name" in str(arithmetic.refusal(refuse, "tensor 'b'"))
    assert "was taken" in str(arithmetic.refusal(lambda: None))
    assert "KeyError" in str(arithmetic.refusal(lambda: {}["x"]))


@pytest.mark.parametrize("moved", [0.0, 1.5])
def test_results_apart(moved: float):
    one = [[[1, 1, 9, 9]], [0.9], [0]]
    other = [[[1, 1, 9 + moved, 9]], [0.9], [0]]
    assert arithmetic._apart(one, other) == (moved, 0.0)
    assert arithmetic._apart(one, [[[1, 1, 9, 9]], [0.9], [1]])[0] == float("inf")
