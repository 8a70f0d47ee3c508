import os
from pathlib import Path

import pytest

from detector.bulk.listing import ImageList, Shard, walk
from detector.errors import InputError


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("a/1.jpg", "a/deep/2.PNG", "a/notes.md", "a/.hidden.jpg", "b/3.jpg", "empty/x.md"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    os.symlink("..", "a/circle")
    os.symlink("../b/3.jpg", "a/link.jpg")
    os.mkfifo("a/pipe.jpg")
    return tmp_path


def test_folders_files_and_lists(tree):
    Path("b/list.txt").write_bytes(b"\xef\xbb\xbf3.jpg\r\n\nb/3.jpg\ngone-\xff.jpg\n")
    Path("a/deep/3.heic").touch()
    os.symlink("round.jpg", "a/round.jpg")
    photos = ["a/1.jpg", "a/deep/2.PNG", "a/deep/3.heic", "a/link.jpg", "a/round.jpg"]
    assert sorted(map(str, walk(["a"]))) == photos, "reading a circular link says what is wrong"
    assert list(walk(["gone.jpg"])) == ["gone.jpg"], "and so does reading this"
    assert list(walk(["b/list.txt"])) == ["b/3.jpg", "b/3.jpg", "gone-\udcff.jpg"]
    Path("none.txt").write_text("\n")
    for argument, message in (
        ("empty", "empty: the folder has no photos"),
        ("none.txt", "none.txt: the list is empty"),
        ("gone.txt", "gone.txt: the list cannot be read (No such file or directory)"),
    ):
        (nothing,) = walk([argument])
        assert isinstance(nothing, InputError)
        assert str(nothing).startswith(message)


def test_a_folder_is_walked_as_it_is_asked_for(tree, monkeypatch):
    opened = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: opened.append(path) or scandir(path))
    found = walk(["a", "b"])
    assert opened == []
    next(found)
    assert "b" not in opened


@pytest.mark.parametrize(
    "arguments", [("a", "a"), ("a", "a/deep"), ("a/1.jpg", "a"), ("a", "./a/"), ("l.txt", "./l.txt")]
)
def test_what_would_come_twice_is_refused(tree, arguments):
    with pytest.raises(InputError, match=f"^{arguments[1]}: its photos are among those of {arguments[0]} too"):
        walk(arguments)


def test_folders_nested_too_deep_are_told(tree):
    top = os.getcwd()
    for _ in range(120):
        os.mkdir("d")
        os.chdir("d")
    os.chdir(top)
    Path("d/here.jpg").touch()
    photo, error = sorted(walk(["d"]), key=str, reverse=True)
    assert photo == "d/here.jpg"
    assert isinstance(error, InputError)
    assert str(error).endswith("/d: folders are nested more than 100 deep; name its photos in a list")


def test_a_list_keeps_names_and_errors_and_is_read_by_parts(tmp_path):
    names = ["a.jpg", "b\nc.jpg", "ü.jpg", "gone-\udcff.jpg", InputError("d: cannot be listed"), "e.jpg", "f.jpg"]
    images = ImageList(tmp_path / "images.jsonl")
    images.write({}, iter(names))
    shards = images.shards(3, 9)
    assert [(shard.number, shard.count) for shard in shards] == [(0, 3), (1, 3), (2, 1)]
    assert [str(one) for shard in shards for one in images.read(shard)] == list(map(str, names))
    assert isinstance(list(images.read(shards[1]))[1], InputError)
    start = len(images.path.read_bytes().splitlines(keepends=True)[0])
    assert images.shards(7, 9) == [Shard(0, start, 7)]
    images.write({}, ())
    assert images.shards(3, 9) == []
