import pickle
from pathlib import Path

import pytest

from detector.data.faults import Fault, Faults, FaultyDataError
from detector.errors import InputError


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


@pytest.mark.parametrize(("count", "more"), [(2, 0), (1235, 1233)])
def test_faults_after_the_limit_are_counted(monkeypatch: pytest.MonkeyPatch, count: int, more: int) -> None:
    monkeypatch.setattr("detector.data.faults._KEPT", 3)
    monkeypatch.setattr("detector.data.faults._NAMED", 2)
    faults = Faults(collect=True)
    faults.check(always=True)  # none yet
    for number in range(1, count + 1):
        faults.add("a", f"line {number}", "x")
    faults.check()
    with pytest.raises(FaultyDataError) as caught:
        faults.check(always=True)
    named = ["a: line 1: x", "a: line 2: x", *([f"... and {more:,} more"] if more else [])]
    assert str(caught.value).splitlines() == named
    assert (faults.count, len(caught.value.faults), caught.value.more) == (count, 2, more)


def test_faults_are_sorted_by_file_on_demand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detector.data.faults._NAMED", 3)
    faults = Faults()
    for file, record in (("b", "1"), ("a", "2"), ("b", "0"), ("a", "1")):
        faults.add(file, record, "x")
    with pytest.raises(FaultyDataError) as caught:
        faults.check(by_file=True)
    assert str(caught.value).splitlines() == ["a: 2: x", "a: 1: x", "b: 1: x", "... and 1 more"]


def test_a_line_break_in_a_name_does_not_break_the_line() -> None:
    faults = Faults()
    faults.add("a", "class 'do\ng'", "is\r\nunknown")
    with pytest.raises(FaultyDataError, match=r"^a: class 'do g': is unknown$"):
        faults.check()


def test_the_error_survives_a_worker_process() -> None:
    error = FaultyDataError((Fault("a", "line 1", "x"),), more=3)
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.faults, copy.more, str(copy)) == (error.faults, error.more, str(error))
