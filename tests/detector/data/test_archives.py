import gzip
import io
import lzma
import os
import re
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from detector.data import archives
from detector.data.archives import PhotoZip, is_archive, read_members
from detector.errors import InputError

Make = Callable[[Path, dict[str, bytes]], Path]


def make_zip(folder: Path, files: dict[str, bytes] | Iterable[tuple[str, bytes]]) -> Path:
    path = folder / "data.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items() if isinstance(files, dict) else files:
            archive.writestr(name or zipfile.ZipInfo(name), content)
    return path


def make_tar(folder: Path, files: dict[str, bytes] | Iterable[tuple[str, bytes]], mode: str = "w") -> Path:
    path = folder / "data.tar"
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items() if isinstance(files, dict) else files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def zip_with_link(folder: Path) -> Path:
    path = folder / "data.zip"
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("a.jpg")
        info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    return path


def encrypted_zip(folder: Path) -> Path:
    path = make_zip(folder, {"a.jpg": b"x"})
    content = bytearray(path.read_bytes())
    content[6] |= 1  # the flag "encrypted" of the member and of its entry in the directory
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    return path


MAKERS = {
    "zip": make_zip,
    "tar": make_tar,
    "tar.gz": lambda folder, files: make_tar(folder, files, "w:gz"),
    "tar.xz": lambda folder, files: make_tar(folder, files, "w:xz"),
}
all_kinds = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


def all_of(path: Path) -> dict[str, bytes]:
    return read_members(path, lambda name: True)


def none_of(path: Path) -> dict[str, bytes]:
    return read_members(path, lambda name: False)


def photos(path: Path) -> PhotoZip:
    return PhotoZip(path, lambda name: name.endswith(".jpg"))


def check_error(path: Path, message: str, read: Callable[[Path], object] = all_of) -> None:
    with pytest.raises(InputError) as caught:
        read(path)
    text = str(caught.value)
    assert text.startswith(f"{path}")
    assert re.search(message, text), text
    assert "\n" not in text


@all_kinds
def test_only_what_is_wanted_is_read(tmp_path: Path, make: Make) -> None:
    path = make(tmp_path, {"a/1.xml": b"one", "a/2.jpg": b"two", "3.xml": b""})
    assert is_archive(path)
    assert read_members(path, lambda name: name.endswith(".xml")) == {"a/1.xml": b"one", "3.xml": b""}
    assert sorted(tmp_path.iterdir()) == [path]


@all_kinds
@pytest.mark.parametrize(
    "name", ["../a.jpg", "a/../../b.jpg", "/etc/a.jpg", "C:/a.jpg", "C:a.jpg", "..\\a.jpg", "\\\\host\\share\\a.jpg"]
)
def test_a_path_out_of_the_archive_is_refused_wanted_or_not(tmp_path: Path, make: Make, name: str) -> None:
    path = make(tmp_path, {"good.jpg": b"", name: b""})
    for read in (none_of, photos) if make is make_zip else (none_of,):
        check_error(path, re.escape(f"member {name!r} points outside the archive"), read)


@all_kinds
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_comes_twice_is_refused(tmp_path: Path, make: Make) -> None:
    path = make(tmp_path, [("a.jpg", b"1"), ("a.jpg", b"2")])  # type: ignore[arg-type]
    for read in (all_of, photos) if make is make_zip else (all_of,):
        check_error(path, "member a.jpg is repeated", read)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_refused(tmp_path: Path, kind: bytes) -> None:
    path = tmp_path / "data.tar"
    with tarfile.open(path, "w") as archive:
        info = tarfile.TarInfo("a.xml")
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)
    check_error(path, "member a.xml is a link or a device")


@pytest.mark.parametrize("read", [all_of, photos])
def test_links_in_a_zip_are_refused(tmp_path: Path, read: Callable[[Path], object]) -> None:
    check_error(zip_with_link(tmp_path), "member a.jpg is a link or a device", read)


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_a_bomb_is_refused_by_its_ratio_whether_wanted_or_not(tmp_path: Path, kind: str) -> None:
    path = MAKERS[kind](tmp_path, {"a.jpg": bytes(20_000_000)})
    assert path.stat().st_size < 100_000
    check_error(path, "as in a decompression bomb", none_of)


@all_kinds
def test_large_and_many_members_are_refused(tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "LARGEST_MEMBER", 5000)
    path = make(tmp_path, {"a.xml": os.urandom(5001)})
    check_error(path, "member a.xml has 5001 bytes, at most 5000 are read")
    assert none_of(path) == {}
    monkeypatch.setattr(archives, "LARGEST_TOTAL", 250)
    check_error(make(tmp_path, {f"{number}.xml": os.urandom(100) for number in range(3)}), "member 2.xml")


def test_a_zip_that_lies_about_a_size_is_refused(tmp_path: Path) -> None:
    path = make_zip(tmp_path, {"a.xml": bytes(5_000_000)})
    content = path.read_bytes()
    true, lie = (5_000_000).to_bytes(4, "little"), (100).to_bytes(4, "little")
    assert content.count(true) == 2  # the member's own header and the directory
    path.write_bytes(content.replace(true, lie))
    check_error(path, "is damaged")


@all_kinds
@pytest.mark.parametrize("part", [0.3, 0.9])
def test_a_truncated_archive_is_refused(tmp_path: Path, make: Make, part: float) -> None:
    path = make(tmp_path, {f"{number}.xml": os.urandom(20_000) for number in range(10)})
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    check_error(path, "is damaged|cannot be read|is cut off")


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress])
@pytest.mark.parametrize(
    "damage", [lambda tar: tar[:3072], lambda tar: tar[:3100], lambda tar: tar[:3072] + b"x" * 2048]
)
def test_a_tar_that_ends_between_two_members_is_refused(
    tmp_path: Path, pack: Callable[[bytes], bytes], damage: Callable[[bytes], bytes]
) -> None:
    """Python's tarfile would leave out the rest without a word."""
    path = make_tar(tmp_path, {f"{number}.xml": b"x" for number in range(10)})
    path.write_bytes(pack(damage(path.read_bytes())))
    check_error(path, "is damaged or cut off after 3072 bytes")


@pytest.mark.parametrize("kind", ["tar.gz", "tar.xz"])
def test_an_archive_that_ends_in_its_first_bytes_is_refused(tmp_path: Path, kind: str) -> None:
    path = MAKERS[kind](tmp_path, {"a.xml": os.urandom(5000)})
    whole = path.read_bytes()
    for length in range(0, 200, 7):
        path.write_bytes(whole[:length])
        check_error(path, "")


def test_other_files_are_no_archives(tmp_path: Path) -> None:
    check_error(encrypted_zip(tmp_path), "encrypted")
    path = tmp_path / "a.zip"
    path.write_text("no archive")
    assert not is_archive(path)
    assert not is_archive(tmp_path)
    check_error(path, "is not a zip or tar")
    check_error(path, "is damaged, encrypted or not an archive", photos)
    for read in (all_of, photos):
        check_error(tmp_path / "none.zip", r"cannot be read \(No such file or directory\)", read)


def test_photos_are_read_by_their_names(tmp_path: Path) -> None:
    path = make_zip(tmp_path, {"b/2.jpg": b"two", "notes.txt": b"text", "日本.jpg": b"one", "b/": b"", "": b"x"})
    archive = photos(path)
    assert archive.names == ("b/2.jpg", "日本.jpg")
    assert [archive.read(name) for name in archive.names] == [b"two", b"one"]
    assert PhotoZip(path, lambda name: not name).names == ("",)
    assert os.listdir(tmp_path) == ["data.zip"]


def test_a_huge_or_damaged_photo_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "LARGEST_PHOTO", 2**20)
    path = make_zip(tmp_path, {"bad.jpg": os.urandom(500), "huge.jpg": bytes(2**20 + 1), "good.jpg": b"one"})
    content = bytearray(path.read_bytes())
    content[100:200] = bytes(100)
    path.write_bytes(content)
    archive = photos(path)
    for name, message in {"bad.jpg": "is damaged", "huge.jpg": "has more than 1 MiB"}.items():
        with pytest.raises(InputError, match=f"data.zip/{name}: {message}"):
            archive.read(name)
    assert archive.read("good.jpg") == b"one"
    with pytest.raises(InputError, match=r"data.zip/a.jpg: .*encrypted"):
        photos(encrypted_zip(tmp_path)).read("a.jpg")
