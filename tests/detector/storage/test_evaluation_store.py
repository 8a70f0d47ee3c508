"""Results on the disk: kills, several processes, other evaluations."""

import json
from pathlib import Path

import pytest

from detector.errors import InputError
from detector.evaluation.prediction.predict import remove_parts
from detector.storage.evaluation_store import ResultStore

MADE_BY = {"model": "a.safetensors", "classes": ("cat", "dog")}


def entry(name: str, **more: object) -> dict[str, object]:
    return {"image": name, **more}


def test_results_are_there_at_the_next_start(tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    with ResultStore(path, MADE_BY) as store:
        store.add(entry("a", score=0.1 + 0.2))
        store.add(entry("b"))
    with ResultStore(path, MADE_BY) as store:
        assert store.entries == {"a": entry("a", score=0.1 + 0.2), "b": entry("b")}
        store.add(entry("a", score=1))
        assert store.gather()["a"] == entry("a", score=1)  # the later one holds
    assert not path.exists()


def test_they_are_on_the_disk_at_once(tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    store = ResultStore(path, MADE_BY)
    store.add(entry("a"))
    assert len((tmp_path / "found.json.part-0").read_text().splitlines()) == 2
    store.close()


@pytest.mark.parametrize("cut", range(1, 16))
def test_a_line_that_was_cut_off_is_dropped(tmp_path: Path, cut: int) -> None:
    path, part = tmp_path / "found.json", tmp_path / "found.json.part-0"
    with ResultStore(path, MADE_BY) as store:
        store.add(entry("a"))
        store.add(entry("b"))
    content = part.read_bytes()
    part.write_bytes(content[:-cut])
    with ResultStore(path, MADE_BY) as store:
        assert list(store.entries) == ["a"]
        store.add(entry("b"))
    assert part.read_bytes() == content


@pytest.mark.parametrize("kept", [0, 5])
def test_a_file_cut_in_its_first_line_starts_anew(tmp_path: Path, kept: int) -> None:
    path, part = tmp_path / "found.json", tmp_path / "found.json.part-0"
    ResultStore(path, MADE_BY).close()
    content = part.read_bytes()
    part.write_bytes(content[:kept])
    ResultStore(path, MADE_BY).close()
    assert part.read_bytes() == content


def test_a_long_line_that_was_cut_off(tmp_path: Path) -> None:
    path, part = tmp_path / "found.json", tmp_path / "found.json.part-0"
    with ResultStore(path, MADE_BY) as store:
        store.add(entry("a"))
        store.add(entry("b", text="x" * 300_000))
    part.write_bytes(part.read_bytes()[:-1])
    with ResultStore(path, MADE_BY) as store:
        assert list(store.entries) == ["a"]
    assert part.stat().st_size < 1000


def test_several_processes_have_files_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    with ResultStore(path, MADE_BY, 0) as first, ResultStore(path, MADE_BY, 1) as second:
        first.add(entry("a"))
        second.add(entry("b"))
        assert list(first.entries) == ["a"]
        assert sorted(first.gather()) == ["a", "b"]
    with ResultStore(path, MADE_BY) as store:  # one process goes on alone
        assert sorted(store.entries) == ["a", "b"]
    remove_parts(path)
    assert list(tmp_path.iterdir()) == []


def test_a_name_with_the_marks_of_a_pattern(tmp_path: Path) -> None:
    path = tmp_path / "found[v1]*.json"
    with ResultStore(path, MADE_BY) as store:
        store.add(entry("a"))
    with ResultStore(path, MADE_BY) as store:
        assert list(store.entries) == ["a"]
    (tmp_path / "found1.json.part-0").write_text("another's")
    remove_parts(path)
    assert [one.name for one in tmp_path.iterdir()] == ["found1.json.part-0"]


def test_the_result_that_tells_most_holds_in_whatever_part_it_is(tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    with ResultStore(path, MADE_BY, 1) as store:
        store.add(entry("a", error="no"))
        store.add(entry("b", detections=[]))
    with ResultStore(path, MADE_BY, 0) as store:
        store.add(entry("a", detections=[]))
        store.add(entry("b", detections=[], objects=[]))
        assert store.gather() == {"a": entry("a", detections=[]), "b": entry("b", detections=[], objects=[])}
    with ResultStore(path, MADE_BY, 2) as store:
        store.add(entry("b", error="no"))
        assert store.gather()["b"] == entry("b", detections=[], objects=[])


def test_results_of_another_evaluation_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    ResultStore(path, MADE_BY).close()
    message = r"found\.json\.part-0: holds results of another evaluation \(model was a\.safetensors, is b\); delete it"
    with pytest.raises(InputError, match=message):
        ResultStore(path, MADE_BY | {"model": "b"})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]\n", "holds no results"),
        (json.dumps({"made_by": json.loads(json.dumps(MADE_BY))}) + "\nx\n", "line 2 is damaged"),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: str, message: str) -> None:
    part = tmp_path / "found.json.part-0"
    part.write_text(content)
    with pytest.raises(InputError, match=message):
        ResultStore(tmp_path / "found.json", MADE_BY)
    assert part.read_text() == content


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        ResultStore(tmp_path / "none" / "found.json", MADE_BY)


@pytest.mark.parametrize("text", [b"\xff\xfe", b'{"made_by": {}}\n', b"[" * 100_000 + b"\n"])
def test_a_damaged_part_is_named(tmp_path: Path, text: bytes):
    (tmp_path / "f.json.part-0").write_bytes(text)
    with pytest.raises(InputError, match=r"f\.json\.part-0: .*(delete)"):
        ResultStore(tmp_path / "f.json", {"score": 0.5})


@pytest.mark.parametrize("line", ["1", "[]", "{}", '{"image": 3}'])
def test_a_line_that_is_no_result_is_named(tmp_path: Path, line: str):
    (tmp_path / "f.json.part-0").write_text(f'{{"made_by": {{"score": 0.5}}}}\n{line}\n')
    with pytest.raises(InputError, match=r"f\.json\.part-0: line 2 is damaged; delete the file to start anew"):
        ResultStore(tmp_path / "f.json", {"score": 0.5})


def test_two_evaluations_do_not_write_one_file(tmp_path: Path):
    with (
        ResultStore(tmp_path / "f.json", {}),
        pytest.raises(InputError, match=f"^{tmp_path}: another evaluation is writing f.json there"),
    ):
        ResultStore(tmp_path / "f.json", {})
