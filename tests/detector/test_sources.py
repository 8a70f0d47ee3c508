"""Which photos the SOURCE... arguments name, in which order, and what becomes of those that name none."""

import io
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from detector.errors import InputError
from detector.sources import Source, find_sources


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a folder "album" of photos and other things."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "album" / "deeper").mkdir(parents=True)
    (tmp_path / "album" / "folder.jpg").mkdir()
    for name in ("b10.jpg", "b2.JPG", "a.png", "notes.txt", "._a.png", "deeper/c.webp"):
        (tmp_path / "album" / name).touch()
    (tmp_path / "single.dat").touch()
    return tmp_path


def listed(arguments: Iterable[str]) -> list[str]:
    """Names of the sources; for a failure its message."""
    return [str(item) if isinstance(item, InputError) else item.name for item in find_sources(arguments)]


def test_files_keep_their_order_and_need_no_extension(folder):
    assert listed(["single.dat", "album/b10.jpg", "album/a.png"]) == [
        "single.dat",
        "album/b10.jpg",
        "album/a.png",
    ]


@pytest.mark.parametrize("argument", ["album", "album/"])
def test_folders_give_their_photos_in_natural_order(argument, folder):
    assert listed([argument]) == ["album/a.png", "album/b2.JPG", "album/b10.jpg"]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("album/b*", ["album/b2.JPG", "album/b10.jpg"]),
        ("*/b?.JPG", ["album/b2.JPG"]),
        ("album/[ab]*.[pj][np]g", ["album/a.png", "album/b10.jpg"]),
        ("**/*.webp", ["album/deeper/c.webp"]),
        ("album/*", ["album/a.png", "album/b2.JPG", "album/b10.jpg"]),
    ],
)
def test_patterns(pattern, names, folder):
    assert listed([pattern]) == names


def test_a_file_whose_name_looks_like_a_pattern(folder):
    (folder / "x[1].jpg").touch()
    (folder / "x1.jpg").touch()
    assert listed(["x[1].jpg"]) == ["x[1].jpg"]


def test_no_photo_comes_twice(folder):
    assert listed(["album/b2.JPG", "album", "./album/a.png", str(folder / "album" / "a.png"), "album/*.png"]) == [
        "album/b2.JPG",
        "album/a.png",
        "album/b10.jpg",
    ]
    assert listed(["-", "-"]) == ["-"]


def test_failures_stand_in_their_place_and_the_others_go_on(folder):
    (folder / "empty").mkdir()
    first, missing, empty, pattern, blank, last = find_sources(
        ["album/a.png", "none.jpg", "empty", "*.gif", "", "album/b2.JPG"]
    )
    assert first == Source(Path("album/a.png"))
    assert str(missing) == "none.jpg: no such file or folder; check the path"
    assert str(empty).startswith("empty: the folder has no photos; photos end in .jpg")
    assert str(pattern).startswith("*.gif: matches no photos")
    assert str(blank).startswith("'': not a path")
    assert [isinstance(item, InputError) for item in (missing, empty, pattern, blank)] == [True] * 4
    assert last == Source(Path("album/b2.JPG"))


def test_folders_that_cannot_be_listed(folder, monkeypatch):
    def denied(path: Path) -> Iterator[Path]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", denied)  # chmod would not stop root
    assert listed(["album"]) == ["album: cannot be listed (Permission denied); check its access rights"]


def test_a_name_that_the_system_refuses_fails_when_read(folder):
    (source,) = find_sources(["x" * 300])
    assert isinstance(source, Source)
    with pytest.raises(InputError, match=r"cannot be opened \(.*too long\)"):
        source.read()


def test_broken_links_in_a_folder_are_not_passed_over(folder):
    (folder / "album" / "z.jpg").symlink_to("gone.jpg")
    *_, last = find_sources(["album"])
    assert last == Source(Path("album/z.jpg"))
    with pytest.raises(InputError, match="no such file"):
        last.read()


def test_arguments_are_expanded_one_by_one(folder):
    def arguments() -> Iterator[str]:
        yield "single.dat"
        raise AssertionError("asked for the second argument before the first was used")

    assert next(find_sources(arguments())) == Source(Path("single.dat"))


def test_reading(tmp_path, monkeypatch):
    pixels = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
    path = tmp_path / "photo.png"
    PillowImage.fromarray(pixels).save(path)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(path.read_bytes())))
    for source, name in ((Source(path), str(path)), (Source(None), "standard input")):
        image = source.read()
        assert image.name == name
        np.testing.assert_array_equal(image.pixels, pixels)
    with pytest.raises(InputError, match="standard input: the file is empty"):
        Source(None).read()
