import json
from pathlib import Path

import pytest

from detector.bulk.network import DetectorSettings
from detector.bulk.shards import LIST, ShardFolder
from detector.bulk.stages import failure
from detector.errors import InputError
from detector.storage.run_store import recorded_precision


@pytest.fixture
def names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    Path("list.txt").write_text("".join(f"{number}.jpg\n" for number in range(5)))
    return ["list.txt"]


def opened(names: list[str], **made_by: str) -> ShardFolder:
    return ShardFolder(Path("out"), names, 2, made_by)


def line(name: str) -> bytes:
    return json.dumps({"image": name, "detections": []}).encode()


def test_a_shard_is_written_when_all_its_photos_are_done_in_their_order(names):
    """A second result of a photo is not taken."""
    folder = opened(names)
    assert [shard.count for shard in folder.remaining] == [2, 2, 1]
    assert folder.add(0, 1, line("1.jpg"))
    assert not folder.add(0, 1, b"another")
    assert not folder.path(0).exists()
    assert folder.add(2, 0, failure("4.jpg", InputError("4.jpg: damaged")))
    assert folder.add(0, 0, line("0.jpg"))
    assert not folder.add(0, 0, b"another")
    assert [json.loads(one)["image"] for one in folder.path(0).read_text().splitlines()] == ["0.jpg", "1.jpg"]
    outcome = folder.outcome
    assert (outcome.images, outcome.done, outcome.failed) == (5, 3, 1)
    assert [(one.number, one.first) for one in folder.missing()] == [(1, 0), (1, 1)]
    folder.add(1, 0, line("2.jpg"))
    (missing,) = folder.missing()
    assert list(folder.images.read(missing)) == ["3.jpg"]
    folder.add(missing.number, missing.first, line("3.jpg"))
    assert folder.missing() == []
    assert folder.outcome.done == 5


def test_the_same_run_goes_on_with_the_list_it_began_with(names):
    folder = opened(names)
    folder.add(1, 0, failure("2.jpg", InputError('2.jpg: "error": in it')))
    folder.add(1, 1, line('"error": 3.jpg'))
    folder.add(0, 0, line("0.jpg"))  # and then a kill
    Path("list.txt").write_text("other.jpg\n")
    again = opened(names)
    assert [shard.number for shard in again.remaining] == [0, 2]
    assert (again.outcome.done, again.outcome.failed) == (2, 1)
    assert [one for one in again.images.read(again.remaining[0])] == ["0.jpg", "1.jpg"]


def test_another_run_is_refused(names):
    opened(names, model="a")
    with pytest.raises(InputError, match=r"^out/images.jsonl: .*\(model was a, is b\); .*--out"):
        opened(names, model="b")
    Path("out/images.jsonl").unlink()
    Path("out/shard-00000.jsonl").touch()
    with pytest.raises(InputError, match=r"^--out out: has shards"):
        opened(names, model="a")


def test_a_run_of_other_photos_by_the_same_name_is_refused(names, monkeypatch):
    opened(names)
    out = Path("out").resolve()
    elsewhere = Path("elsewhere")
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    Path("list.txt").write_text("0.jpg\n")
    with pytest.raises(InputError, match=r"other settings \(sources was "):
        ShardFolder(out, names, 2, {})
    assert len(ShardFolder(out, ["../list.txt"], 2, {}).remaining) == 3, "the same photos by another name"


@pytest.mark.parametrize(
    "content", [b"", b'{"image": "0.jpg", "error": ', b"{}\n{}\n{}\n", b'{"image": "0.jpg"}\n{"ima']
)
def test_a_shard_that_is_not_whole_is_done_again(names, content):
    opened(names).path(0).write_bytes(content)
    folder = opened(names)
    assert [shard.number for shard in folder.remaining] == [0, 1, 2]
    folder.add(0, 0, line("0.jpg"))
    folder.add(0, 1, line("1.jpg"))
    assert len(folder.path(0).read_bytes().splitlines()) == 2


def test_sizes_of_shards_that_would_fill_the_memory(names, monkeypatch):
    for size in (0, 100_001):
        with pytest.raises(InputError, match=f"^--shard {size}: is outside 1 to 100000"):
            ShardFolder(Path("out"), names, size, {})
    monkeypatch.setattr("detector.bulk.shards.MOST_SHARDS", 2)
    with pytest.raises(
        InputError, match=r"^--shard 2: would make more than 2 files; give a larger number and another --out"
    ):
        opened(names)
    monkeypatch.setattr("detector.bulk.shards.MOST_SHARDS", 3)
    assert len(opened(names).remaining) == 3


@pytest.mark.parametrize("content", ["", "[]", '{"lr": 0.1}', '"a.jpg"\n'])
def test_a_list_of_something_else_is_not_replaced(names, content: str):
    path = Path("out") / LIST
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(InputError, match=f"^{path}: .*--out"):
        opened(names)
    assert list(path.parent.iterdir()) == [path]
    assert path.read_text() == content


def test_the_number_format_of_a_run(names):
    assert recorded_precision(Path("out") / LIST) is None
    opened(names, precision="bfloat16")
    assert recorded_precision(Path("out") / LIST) == "bfloat16"
    assert DetectorSettings(device="cpu", precision="bfloat16").load().precision == "bfloat16"
