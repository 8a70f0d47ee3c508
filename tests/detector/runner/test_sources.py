"""The photos that SOURCE... arguments name, their order, and the errors of arguments without photos."""

import functools
import io
import os
import shutil
import sys
import threading
import zipfile
from collections.abc import Iterable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage

from detector.errors import InputError
from detector.runner.sources import Source, find_media, find_sources, list_names, sample_photos
from detector.runner.video import Video, VideoWriter
from detector.structures.image import ImageReference, read_image


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
    """Names of the photos; for a failure its message."""
    return [str(item) if isinstance(item, InputError) else item.name for item in find_sources(arguments)]


def media(arguments: Iterable[str], recursive: bool = False) -> list[str]:
    """The same of photos and videos."""
    return [str(item) if isinstance(item, InputError) else item.name for item in find_media(arguments, recursive)]


ALBUM = ["album/a.png", "album/b2.JPG", "album/b10.jpg"]


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["single.dat", "album/b10.jpg", "album/a.png"], ["single.dat", "album/b10.jpg", "album/a.png"]),
        (["album"], ALBUM),
        (["album/"], ALBUM),
        (["album/b*"], ALBUM[1:]),
        (["*/b?.JPG"], ["album/b2.JPG"]),
        (["album/[ab]*.[pj][np]g"], ["album/a.png", "album/b10.jpg"]),
        (["**/*.webp"], ["album/deeper/c.webp"]),
        (["album/*"], ALBUM),
        (["x[1].jpg"], ["x[1].jpg"]),
        (
            ["album/b2.JPG", "album", "./album/a.png", "{cwd}/album/a.png", "album/*"],
            [ALBUM[1], ALBUM[0], ALBUM[2]],
        ),
        (["-", "-"], ["-"]),
    ],
)
def test_files_folders_and_patterns(folder, arguments, names):
    """Files need no extension, folders give their photos in natural order, no photo comes twice."""
    for name in ("x[1].jpg", "x1.jpg"):
        (folder / name).touch()
    assert listed(argument.format(cwd=folder) for argument in arguments) == names


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


def test_the_reason_is_the_right_one(folder):
    (folder / "phone").mkdir()
    (folder / "phone" / "a.HEIC").write_bytes(b"x" * 99)
    PillowImage.new("RGB", (4, 4)).save(folder / "phone" / "b.png")
    shutil.make_archive("phone", "zip", "phone")
    found = [*find_media(["phone"]), *find_sources(["phone.zip"])]
    assert [one.name for one in found] == ["phone/a.HEIC", "phone/b.png", "phone.zip/a.HEIC", "phone.zip/b.png"]
    with pytest.raises(InputError, match=r"a\.HEIC: is in HEIC, .*convert it"):
        found[0].read()
    for address in ("ftp://x.org/a.jpg", "s3://x/a.mp4"):
        assert media([address])[0].startswith(f"{address}: addresses of this kind")
        with pytest.raises(InputError, match="addresses of this kind"):
            read_image(address)
    (folder / "outer" / "inner").mkdir(parents=True)
    (folder / "outer" / "inner" / "a.jpg").touch()
    assert "--recursive" in media(["outer"])[0]
    assert "'outer/**'" in listed(["outer"])[0]
    assert listed(["outer/**"]) == ["outer/inner/a.jpg"]


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


def test_folders_in_folders_on_request(folder):
    (folder / "album" / "deeper" / ".hidden").mkdir()
    (folder / "album" / "deeper" / ".hidden" / "d.jpg").touch()
    (folder / "album" / "round").symlink_to("..", target_is_directory=True)
    found = find_sources(["album"], recursive=True)
    assert [one.name for one in found] == ["album/a.png", "album/b2.JPG", "album/b10.jpg", "album/deeper/c.webp"]


def test_a_folder_below_that_cannot_be_listed_is_told_and_the_others_go_on(folder, monkeypatch):
    original = os.scandir

    def some_denied(path: str) -> Any:
        if path.endswith("deeper"):
            raise PermissionError(13, "Permission denied")
        return original(path)

    monkeypatch.setattr(os, "scandir", some_denied)
    assert media(["album/deeper"]) == ["album/deeper: cannot be listed (Permission denied); check its access rights"]
    assert media(["album"], recursive=True) == [
        "album/deeper: cannot be listed (Permission denied); check its access rights",
        "album/a.png",
        "album/b2.JPG",
        "album/b10.jpg",
    ]


def test_videos_are_found_among_photos_where_they_are_wanted(folder):
    for name in ("b3.mp4", "c.MOV"):
        (folder / "album" / name).touch()
    assert media(["album"]) == ["album/a.png", "album/b2.JPG", "album/b3.mp4", "album/b10.jpg", "album/c.MOV"]
    assert media(["album/b*"]) == ["album/b2.JPG", "album/b3.mp4", "album/b10.jpg"]
    assert list(find_media(["album/b3.mp4"])) == [Video(Path("album/b3.mp4"))]
    assert listed(["album"]) == ["album/a.png", "album/b2.JPG", "album/b10.jpg"]


def test_a_number_is_a_camera_unless_a_file_has_that_name(folder):
    assert list(find_media(["0", "2", "0"])) == [Video(None, 0), Video(None, 2)]
    (folder / "0").touch()
    assert list(find_media(["0"])) == [Source(Path("0"))]
    assert listed(["1"]) == ["1: no such file or folder; check the path"]


def test_lists(folder):
    """Names with any letters, in their order; a line that names no photo is told with its number."""
    for name in ("été 日本.jpg", " blank.jpg"):
        (folder / "album" / name).touch()
    lines = ["album/b10.jpg", "", "gone.jpg", "été 日本.jpg", " blank.jpg", "b2.JPG", "b1*.jpg", "deeper"]
    (folder / "album" / "list.txt").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    assert media(["album/list.txt", "single.dat"]) == [
        "album/b10.jpg",
        "album/list.txt, line 3: album/gone.jpg: no such file or folder; check the path",
        "album/été 日本.jpg",
        "album/ blank.jpg",
        "album/b2.JPG",
        "album/deeper/c.webp",
        "single.dat",
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_lists_of_names_that_are_no_valid_text(folder):
    (folder / "list.txt").write_bytes(b"caf\xe9.jpg\n")
    Path(os.fsdecode(b"caf\xe9.jpg")).touch()
    assert list(find_sources(["list.txt"])) == [Source(Path(os.fsdecode(b"caf\xe9.jpg")))]


def test_an_empty_list_and_a_list_in_a_list(folder):
    (folder / "empty.txt").write_text("\n\n")
    (folder / "outer.txt").write_text("empty.txt\n-\n")
    assert media(["empty.txt"]) == ["empty.txt: the list is empty; give one photo per line"]
    first, second = find_media(["outer.txt"])
    assert first == Source(Path("empty.txt")), "a list names photos, and this is then none"
    assert str(second) == "outer.txt, line 2: -: no such file or folder; check the path"


def test_zips(folder):
    pixels = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
    content = io.BytesIO()
    PillowImage.fromarray(pixels).save(content, "PNG")
    with zipfile.ZipFile("photos.zip", "w") as archive:
        for name in ("b/x10.png", "b/x9.png", "notes.txt", "__MACOSX/b/._x9.png"):
            archive.writestr(name, content.getvalue())
        archive.writestr("a.jpg", b"broken")
    found = list(find_media(["photos.zip", "./photos.zip"]))
    assert [one.name for one in found] == ["photos.zip/a.jpg", "photos.zip/b/x9.png", "photos.zip/b/x10.png"]
    assert [one.file_name for one in found] == ["a.jpg", "x9.png", "x10.png"]
    np.testing.assert_array_equal(found[1].read().pixels, pixels)
    assert found[1].read().name == "photos.zip/b/x9.png"
    np.testing.assert_array_equal(Source(Path("photos.zip"), "b/x9.png").read().pixels, pixels)
    with pytest.raises(InputError, match=r"^photos.zip/a.jpg: not a photo"):
        found[0].read()


def test_zips_without_photos_or_with_a_path_that_leaves_them(folder):
    with zipfile.ZipFile("empty.zip", "w") as archive:
        archive.writestr("notes.txt", b"text")
    with zipfile.ZipFile("evil.zip", "w") as archive:
        archive.writestr("../a.jpg", b"photo")
    empty, evil, good = media(["empty.zip", "evil.zip", "album/a.png"])
    assert empty.startswith("empty.zip: the zip has no photos")
    assert evil.startswith("evil.zip: member '../a.jpg' points outside the archive")
    assert good == "album/a.png"


@pytest.fixture
def server(folder):
    """Serves the folder; gives its address."""
    handler = functools.partial(SimpleHTTPRequestHandler, directory=folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_photos_and_videos_at_addresses(folder, server):
    PillowImage.new("RGB", (7, 5)).save(folder / "a.png")
    with VideoWriter(folder / "clip.mp4", 5) as writer:
        for _ in range(3):
            writer.write(np.full((48, 64, 3), 90, np.uint8))
    named = server.replace("//", "//me:secret@")
    photo, missing, video = find_media([f"{server}/a.png", f"{server}/none.png", f"{named}/clip.mp4"])
    assert (photo.name, photo.file_name) == (f"{server}/a.png", "a.png")
    assert (photo.read().width, photo.read().name) == (7, f"{server}/a.png")
    with pytest.raises(InputError, match=rf"^{server}/none.png: cannot be downloaded"):
        missing.read()
    reference = ImageReference.of(f"{server}/a.png")
    assert reference.read() is reference.read(), "it is downloaded once"
    assert ImageReference.of(f"{named}/a.png").name == f"{server}/a.png"
    assert (video.name, video.file_name, video.live) == (f"{server}/clip.mp4", "clip.mp4", False)
    with video.open() as reader:
        assert [frame.index for frame in reader.frames()] == [0, 1, 2]


def test_a_stream_is_live_and_its_password_stays_out_of_messages():
    (stream,) = find_media(["rtsp://me:secret@127.0.0.1:9/cam"])
    assert (stream.name, stream.file_name, stream.live) == ("rtsp://127.0.0.1:9/cam", "cam", True)
    with pytest.raises(InputError, match=r"^rtsp://127\.0\.0\.1:9/cam: cannot be opened"):
        stream.open()


def test_samples_are_of_the_whole_folder(tmp_path: Path):
    for number in range(63):
        (tmp_path / f"{number}.jpg").touch()
    assert [photo.file_name for photo in sample_photos(str(tmp_path))] == [f"{n}.jpg" for n in range(0, 63, 2)]


def test_names_on_standard_input(monkeypatch):
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"a.jpg\n\n b c.png\r\n")))
    assert list_names("-") == ["a.jpg", " b c.png"]
    with pytest.raises(InputError, match="standard input"):
        list_names("-")
