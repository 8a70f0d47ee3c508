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


def test_exactly_the_limit_is_not_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detector.data.faults._NAMED", 2)
    faults = Faults()
    faults.add("a", "line 1", "x")
    faults.add("a", "line 2", "y")
    with pytest.raises(FaultyDataError) as caught:
        faults.check()
    assert "more" not in str(caught.value)
    assert caught.value.more == 0


def test_faults_after_the_limit_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detector.data.faults._KEPT", 3)
    monkeypatch.setattr("detector.data.faults._NAMED", 2)
    faults = Faults()
    for number in range(1, 1236):
        faults.add("a", f"line {number}", "x")
    assert len(faults) == 1235
    with pytest.raises(FaultyDataError) as caught:
        faults.check()
    assert str(caught.value).splitlines() == ["a: line 1: x", "a: line 2: x", "... and 1,233 more"]
    assert (len(caught.value.faults), caught.value.more) == (2, 1233)


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
