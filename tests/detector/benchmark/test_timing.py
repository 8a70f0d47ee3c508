import pytest

from detector.benchmark.timing import Comparison, Task, Timing, interleave


def timing(name: str, *seconds: float) -> Timing:
    return Timing(name, seconds)


def test_a_timing() -> None:
    assert timing("a", 4, 1, 2).median == 2
    assert timing("a", 4, 1).median == 2.5
    assert timing("a", 4, 1, 2).to_dict() == {
        "name": "a",
        "median": 2,
        "fastest": 1,
        "slowest": 4,
        "seconds": [4, 1, 2],
    }
    with pytest.raises(ValueError, match="timing of 'a' has no measurement"):
        timing("a")


def test_a_comparison_is_made_round_by_round_where_both_took_part() -> None:
    # The machine becomes four times slower in the second round: the ratio stays.
    comparison = Comparison(timing("ours", 1, 4, 1, 1000), timing("rival", 3, 12, 2))
    assert comparison.ratios == (3, 3, 2)
    assert comparison.to_dict() == {
        "ours": "ours",
        "rival": "rival",
        "times_as_fast": 3,
        "lowest": 2,
        "highest": 3,
    }


def test_tasks_take_turns_after_a_warm_up_of_each() -> None:
    calls: list[str] = []

    def task(name: str, repeats: int) -> Task:
        def measure() -> dict[str, float]:
            calls.append(name)
            return {name: len(calls), f"{name} part": len(calls) / 2}

        return Task(measure, repeats)

    timings = interleave([task("A", 3), task("B", 1), task("C", 2)])
    assert "".join(calls) == "ABC" + "ABC" + "AC" + "A"
    assert timings == (
        timing("A", 4, 7, 9),
        timing("A part", 2, 3.5, 4.5),
        timing("B", 5),
        timing("B part", 2.5),
        timing("C", 6, 8),
        timing("C part", 3, 4),
    )
