"""Short form of `python -m tests.reliability.arithmetic`."""

import random

import pytest

from detector.errors import InputError
from tests.reliability import arithmetic


def test_numbers_that_are_none_are_named():
    for row in (arithmetic.weights(random.Random(0), most=3), arithmetic.activations(), arithmetic.boxes()):
        assert row.findings == []
        assert row.tried >= 3


def test_the_check_of_the_weights_does_not_slow_the_start():
    assert arithmetic.check_milliseconds() < 20


def test_the_same_detections_with_any_number_of_threads():
    assert arithmetic.same_detections((1, 2)).findings == []


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
