import pickle
from pathlib import Path

import pytest

from detector.data.faults import Fault, Faults, FaultyDataError
from detector.errors import InputError


def test_no_fault_raises_nothing() -> None:
    faults = Faults()
    faults.check()
    assert len(faults) == 0


def test_each_fault_is_a_line_and_kept_as_data() -> None:
    faults = Faults()
    faults.add(Path("a/b.json"), "annotations[1] (id 7)", "field bbox is missing")
    faults.add("c.txt", "", "is empty")
    with pytest.raises(FaultyDataError) as caught:
        faults.check()
    assert str(caught.value) == "a/b.json: annotations[1] (id 7): field bbox is missing\nc.txt: is empty"
    assert caught.value.faults == (
        Fault("a/b.json", "annotations[1] (id 7)", "field bbox is missing"),
        Fault("c.txt", "", "is empty"),
    )
    assert isinstance(caught.value, InputError)


def test_exactly_the_limit_is_not_more() -> None:
    faults = Faults(limit=2)
    faults.add("a", "line 1", "x")
    faults.add("a", "line 2", "y")
    with pytest.raises(FaultyDataError) as caught:
        faults.check()
    assert "more" not in str(caught.value)
    assert caught.value.complete


def test_the_fault_after_the_limit_stops_the_reader_and_says_that_there_are_more() -> None:
    faults = Faults(limit=2)
    faults.add("a", "line 1", "x")
    faults.add("a", "line 2", "y")
    with pytest.raises(FaultyDataError) as caught:
        faults.add("a", "line 3", "z")
    assert str(caught.value).splitlines() == ["a: line 1: x", "a: line 2: y",
                                              "... and more: reading stopped at 2 faults"]  # fmt: skip
    assert len(caught.value.faults) == 2
    assert not caught.value.complete


def test_a_line_break_in_a_name_does_not_break_the_line() -> None:
    faults = Faults()
    faults.add("a", "class 'do\ng'", "is\r\nunknown")
    with pytest.raises(FaultyDataError, match=r"^a: class 'do g': is unknown$"):
        faults.check()


def test_the_error_survives_a_worker_process() -> None:
    error = FaultyDataError((Fault("a", "line 1", "x"),), complete=False)
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.faults, copy.complete, str(copy)) == (error.faults, error.complete, str(error))


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_is_refused(limit: int) -> None:
    with pytest.raises(ValueError, match="limit"):
        Faults(limit)
