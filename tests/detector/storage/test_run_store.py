"""Stores of runs: what is done stays done, whatever ended the run."""

import json
from pathlib import Path

import pytest

from detector.errors import InputError
from detector.evaluation.prediction.predict import remove_parts
from detector.storage.run_store import OutputError, ResultStore, RunStore, recorded_precision

SETTINGS = {"score": 0.5, "classes": ("cat",)}


def photo(name: str, **more: object) -> dict:
    return {"image": name, "detections": [], **more}


def frame(index: int) -> dict:
    return {"image": f"clip.mp4#{index}", "video": "clip.mp4", "detections": []}


def resumed(path: Path, **changes: object) -> RunStore:
    return RunStore(path, SETTINGS | changes, finished_only=True)


def names(store: RunStore) -> list[str]:
    return [record["image"] for record in store.records()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "unfinished.jsonl"


@pytest.fixture
def part(tmp_path: Path) -> Path:
    return tmp_path / "found.json.part-0"


@pytest.fixture
def found(tmp_path: Path) -> Path:
    """The final file of an evaluation, which is not there yet."""
    return tmp_path / "found.json"


def interrupted(path: Path) -> None:
    """A run with one finished photo, one whose picture was not written, and two frames of a video."""
    store = RunStore(path, SETTINGS)
    store.add(photo("a.jpg"))
    store.finish("a.jpg")
    store.add(photo("b.jpg"))
    for index in range(2):
        store.add(frame(index))
    assert names(store) == ["a.jpg", "b.jpg", "clip.mp4#0", "clip.mp4#1"]
    store.close()


def test_unfinished_sources_are_done_again(path):
    interrupted(path)
    store = resumed(path)
    assert store.finished == {"a.jpg"}
    assert names(store) == ["a.jpg"]
    for index in range(3):
        store.add(frame(index))
    store.finish("clip.mp4")
    store.close()
    again = resumed(path)
    assert again.finished == {"a.jpg", "clip.mp4"}
    assert names(again) == ["a.jpg", "clip.mp4#0", "clip.mp4#1", "clip.mp4#2"]
    again.close(remove=True)
    assert not path.exists()


@pytest.mark.parametrize("cut", [b'{"done": "b.j', b'{"image": "' + b"x" * 300_000])
def test_a_line_that_was_cut_off_is_dropped(path, cut):
    interrupted(path)
    path.write_bytes(path.read_bytes() + cut)
    store = resumed(path)
    assert store.finished == {"a.jpg"}
    store.add(photo("b.jpg"))
    store.close()
    assert [json.loads(line).get("image") for line in path.read_text().splitlines()] == [None, "a.jpg", None, "b.jpg"]


def test_without_resume_it_starts_over(path):
    interrupted(path)
    store = RunStore(path, SETTINGS, resume=False)
    assert (store.finished, names(store)) == (set(), [])


def test_nothing_to_resume(path):
    assert resumed(path).finished == set()


def test_other_settings_are_refused(path):
    interrupted(path)
    before = path.read_bytes()
    with pytest.raises(InputError, match=rf"^{path}: .*\(score was 0.5, is 0.6\); .*--overwrite"):
        resumed(path, score=0.6)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"text\n", b"[]\n", b'{"other": 1}\n', b'{"made_by": 5}\n', b"\xff\xfe"])
def test_a_file_of_something_else(path, content):
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"^{path}: not a file of an unfinished run"):
        resumed(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("line", [b"damaged", b"1", b"[]", b"{}", b'{"image": 3}', b"\xff", b"[" * 100_000])
def test_a_damaged_line(path, line):
    interrupted(path)
    header, _, *rest = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([header, line + b"\n", *rest]))
    with pytest.raises(InputError, match=f"^{path}: line 2 .*--overwrite"):
        resumed(path)


def test_a_full_disk(path, monkeypatch):
    """It raises the error that ends a run, and earlier records are kept."""
    store = RunStore(path, SETTINGS)
    store.add(photo("a.jpg"))
    real = store._file

    class Full:
        def write(self, line: bytes) -> None:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "_file", Full())
    with pytest.raises(OutputError, match=r"unfinished.jsonl: .*No space left on device"):
        store.add(photo("b.jpg"))
    monkeypatch.setattr(store, "_file", real)
    assert names(store) == ["a.jpg"]


def test_a_missing_folder(tmp_path):
    with pytest.raises(InputError, match="No such file or directory"):
        RunStore(tmp_path / "gone" / "unfinished.jsonl", SETTINGS)
    with pytest.raises(InputError, match="No such file or directory"):
        ResultStore(tmp_path / "gone" / "found.json", SETTINGS)


def test_one_run_at_a_time(path):
    store = RunStore(path, SETTINGS)
    with pytest.raises(InputError, match=f"^{path.parent}: another run"):
        RunStore(path, SETTINGS)
    store.close()
    RunStore(path, SETTINGS).close(remove=True)
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("line", "precision"),
    [
        ('{"made_by": {"precision": "bfloat16"}}', "bfloat16"),
        ('{"made_by": {"precision": 7}}', None),
        ('{"made_by": {}}', None),
        ("[]", None),
        ("", None),
    ],
)
def test_the_number_format_of_a_run(tmp_path: Path, line: str, precision: str | None):
    (tmp_path / "f").write_text(f"{line}\n")
    assert recorded_precision(tmp_path / "f") == precision
    assert recorded_precision(tmp_path / "none") is None


def test_an_evaluation_resumes(found: Path, part: Path):
    with ResultStore(found, SETTINGS) as store:
        store.add(photo("a", score=0.1 + 0.2))
        assert len(part.read_text().splitlines()) == 2, "a result is on disk at once"
        store.add(photo("b"))
    with ResultStore(found, SETTINGS) as store:
        assert store.entries == {"a": photo("a", score=0.1 + 0.2), "b": photo("b")}
        store.add(photo("a", score=1))
        assert store.gather()["a"] == photo("a", score=1), "the later one counts"
    assert not found.exists()


@pytest.mark.parametrize("cut", [1, 7, 15])
def test_an_evaluation_that_was_killed_while_it_wrote_a_line(found: Path, part: Path, cut: int):
    with ResultStore(found, SETTINGS) as store:
        store.add(photo("a"))
        store.add(photo("b"))
    content = part.read_bytes()
    part.write_bytes(content[:-cut])
    with ResultStore(found, SETTINGS) as store:
        assert list(store.entries) == ["a"]
        store.add(photo("b"))
    assert part.read_bytes() == content


def test_each_process_has_its_part(found: Path):
    with ResultStore(found, SETTINGS, 0) as first, ResultStore(found, SETTINGS, 1) as second:
        first.add(photo("a"))
        second.add(photo("b"))
        assert list(first.entries) == ["a"]
        assert sorted(first.gather()) == ["a", "b"]
    with ResultStore(found, SETTINGS) as store:  # one process resumes alone
        assert sorted(store.entries) == ["a", "b"]
    remove_parts(found)
    assert list(found.parent.iterdir()) == []


def test_a_name_with_the_characters_of_a_pattern(tmp_path: Path):
    path = tmp_path / "found[v1]*.json"
    with ResultStore(path, SETTINGS) as store:
        store.add(photo("a"))
    with ResultStore(path, SETTINGS) as store:
        assert list(store.entries) == ["a"]
    (tmp_path / "found1.json.part-0").write_text("of another evaluation")
    remove_parts(path)
    assert [file.name for file in tmp_path.iterdir()] == ["found1.json.part-0"]


def test_the_most_complete_result_counts_in_whatever_part_it_is(found: Path):
    with ResultStore(found, SETTINGS, 1) as store:
        store.add({"image": "a", "error": "no"})
        store.add(photo("b"))
    with ResultStore(found, SETTINGS, 0) as store:
        store.add(photo("a"))
        store.add(photo("b", objects=[]))
        assert store.gather() == {"a": photo("a"), "b": photo("b", objects=[])}
    with ResultStore(found, SETTINGS, 2) as store:
        store.add({"image": "b", "error": "no"})
        assert store.gather()["b"] == photo("b", objects=[])


@pytest.mark.parametrize("process", [0, 1])
def test_parts_of_another_evaluation_are_refused(found: Path, part: Path, process: int):
    ResultStore(found, SETTINGS).close()
    with pytest.raises(InputError, match=rf"^{part}: .*\(score was 0.5, is 1\); delete it"):
        ResultStore(found, SETTINGS | {"score": 1}, process)
    assert list(found.parent.iterdir()) == [part]


def test_one_evaluation_at_a_time(found: Path):
    with ResultStore(found, {}), pytest.raises(InputError, match=f"^{found.parent}: another evaluation .* found.json"):
        ResultStore(found, {})
