"""The journal of a run: what is done stays done, whatever ended the run."""

import json
from pathlib import Path

import pytest

from detector.errors import InputError
from detector.storage.journal import Journal, OutputError, recorded_precision

SETTINGS = {"score": 0.5, "classes": ("cat",)}


def photo(name: str) -> dict:
    return {"image": name, "detections": []}


def frame(index: int) -> dict:
    return {"image": f"clip.mp4#{index}", "video": "clip.mp4", "detections": []}


def names(journal: Journal) -> list[str]:
    return [entry["image"] for entry in journal.entries()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "unfinished.jsonl"


def interrupted(path: Path) -> None:
    """After one photo that is done and one whose picture was not written, and two frames of a video."""
    journal = Journal(path, SETTINGS)
    journal.add(photo("a.jpg"))
    journal.finish("a.jpg")
    journal.add(photo("b.jpg"))
    for index in range(2):
        journal.add(frame(index))
    assert names(journal) == ["a.jpg", "b.jpg", "clip.mp4#0", "clip.mp4#1"]
    journal.close(remove=False)


def test_what_is_not_done_is_done_again(path):
    interrupted(path)
    journal = Journal(path, SETTINGS, resume=True)
    assert journal.finished == {"a.jpg"}
    assert names(journal) == ["a.jpg"]
    for index in range(3):
        journal.add(frame(index))
    journal.finish("clip.mp4")
    journal.close(remove=False)
    again = Journal(path, SETTINGS, resume=True)
    assert again.finished == {"a.jpg", "clip.mp4"}
    assert names(again) == ["a.jpg", "clip.mp4#0", "clip.mp4#1", "clip.mp4#2"]
    again.close(remove=True)
    assert not path.exists()


def test_a_line_that_was_cut_off_is_dropped(path):
    interrupted(path)
    with path.open("a") as file:
        file.write('{"done": "b.j')
    journal = Journal(path, SETTINGS, resume=True)
    assert journal.finished == {"a.jpg"}
    journal.add(photo("b.jpg"))
    journal.close(remove=False)
    assert [json.loads(line).get("image") for line in path.read_text().splitlines()] == [None, "a.jpg", None, "b.jpg"]


def test_without_resume_it_starts_anew(path):
    interrupted(path)
    journal = Journal(path, SETTINGS)
    assert (journal.finished, names(journal)) == (set(), [])


def test_resume_without_a_journal_starts_anew(path):
    assert Journal(path, SETTINGS, resume=True).finished == set()


def test_other_settings_are_refused(path):
    interrupted(path)
    before = path.read_bytes()
    with pytest.raises(InputError) as caught:
        Journal(path, SETTINGS | {"score": 0.6}, resume=True)
    message = "is of a run with other settings (score was 0.5, is 0.6); give the same, or --overwrite"
    assert str(caught.value) == f"{path}: {message}"
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", ["", "text\n", "[]\n", '{"other": 1}\n', '{"made_by": 5}\n'])
def test_what_is_no_journal(path, content):
    path.write_text(content)
    with pytest.raises(InputError, match="is not a file of an interrupted run"):
        Journal(path, SETTINGS, resume=True)
    assert path.read_text() == content


def test_a_damaged_line(path):
    interrupted(path)
    lines = path.read_text().splitlines(keepends=True)
    lines[1] = "damaged\n"
    path.write_text("".join(lines))
    with pytest.raises(InputError, match="line 2 is damaged; start anew with --overwrite"):
        Journal(path, SETTINGS, resume=True)


def test_a_full_disk(path, monkeypatch):
    """Is told as what ends a run, and what was kept before is there."""
    journal = Journal(path, SETTINGS)
    journal.add(photo("a.jpg"))
    real = journal._file

    class Full:
        def write(self, text: str) -> None:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(journal, "_file", Full())
    with pytest.raises(OutputError, match=r"unfinished.jsonl: cannot be written \(No space left on device\)"):
        journal.add(photo("b.jpg"))
    monkeypatch.setattr(journal, "_file", real)
    assert names(journal) == ["a.jpg"]


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"cannot be written \(No such file or directory\)"):
        Journal(tmp_path / "gone" / "unfinished.jsonl", SETTINGS)


def test_two_runs_do_not_write_one_journal(path):
    journal = Journal(path, SETTINGS)
    with pytest.raises(InputError, match=f"^{path.parent}: another run is writing there; wait for it"):
        Journal(path, SETTINGS, resume=True)
    journal.close(remove=False)
    Journal(path, SETTINGS, resume=True).close(remove=True)
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
