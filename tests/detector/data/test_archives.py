import gzip
import io
import lzma
import os
import re
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from detector.data import archives
from detector.data.archives import PhotoZip, is_archive, read_members
from detector.errors import InputError

Make = Callable[[Path, Mapping[str, bytes]], Path]


def make_zip(folder: Path, files: Mapping[str, bytes]) -> Path:
    path = folder / "data.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def make_tar(folder: Path, files: Mapping[str, bytes], mode: str = "w") -> Path:
    path = folder / "data.tar"
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


MAKERS = {
    "zip": make_zip,
    "tar": make_tar,
    "tar.gz": lambda folder, files: make_tar(folder, files, "w:gz"),
    "tar.xz": lambda folder, files: make_tar(folder, files, "w:xz"),
}
all_kinds = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


def message_of(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_members(path, lambda name: True)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    return text


@all_kinds
def test_only_what_is_wanted_is_read(tmp_path: Path, make: Make) -> None:
    path = make(tmp_path, {"a/1.xml": b"one", "a/2.jpg": b"two", "3.xml": b""})
    assert is_archive(path)
    assert read_members(path, lambda name: name.endswith(".xml")) == {"a/1.xml": b"one", "3.xml": b""}
    assert sorted(tmp_path.iterdir()) == [path]


@all_kinds
@pytest.mark.parametrize(
    "name", ["../a.xml", "a/../../b.xml", "/etc/a.xml", "C:/a.xml", "C:a.xml", "..\\a.xml", "\\\\host\\share\\a.xml"]
)
def test_a_path_out_of_the_archive_is_refused(tmp_path: Path, make: Make, name: str) -> None:
    path = make(tmp_path, {"good.xml": b"", name: b""})
    assert f"member {name!r} points outside the archive" in message_of(path)


@all_kinds
def test_a_name_out_of_the_archive_is_refused_even_where_it_is_not_wanted(tmp_path: Path, make: Make) -> None:
    path = make(tmp_path, {"../a.jpg": b""})
    with pytest.raises(InputError, match="points outside the archive"):
        read_members(path, lambda name: False)


@all_kinds
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_comes_twice_is_refused(tmp_path: Path, make: Make) -> None:
    class Twice(dict[str, bytes]):
        def items(self):  # type: ignore[no-untyped-def, override]
            return [("a.xml", b"1"), ("a.xml", b"2")]

    assert "member a.xml is repeated" in message_of(make(tmp_path, Twice()))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_refused(tmp_path: Path, kind: bytes) -> None:
    path = tmp_path / "data.tar"
    with tarfile.open(path, "w") as archive:
        info = tarfile.TarInfo("a.xml")
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)
    assert "member a.xml is a link or a device" in message_of(path)


def test_links_in_a_zip_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.zip"
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("a.xml")
        info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    assert "member a.xml is a link or a device" in message_of(path)


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_a_bomb_is_refused_by_its_ratio_whether_wanted_or_not(tmp_path: Path, kind: str) -> None:
    path = MAKERS[kind](tmp_path, {"a.jpg": bytes(20_000_000)})
    assert path.stat().st_size < 100_000
    with pytest.raises(InputError, match="as in a decompression bomb"):
        read_members(path, lambda name: False)


@all_kinds
def test_a_large_member_is_refused_before_it_is_read(
    tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "LARGEST_MEMBER", 5000)
    path = make(tmp_path, {"a.xml": os.urandom(5001)})
    assert "member a.xml has 5001 bytes, at most 5000 are read" in message_of(path)
    assert read_members(path, lambda name: False) == {}


@all_kinds
def test_many_members_are_refused_by_their_sum(tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "LARGEST_TOTAL", 250)
    path = make(tmp_path, {f"{number}.xml": os.urandom(100) for number in range(3)})
    assert "member 2.xml" in message_of(path)


def test_a_zip_that_lies_about_a_size_is_refused(tmp_path: Path) -> None:
    path = make_zip(tmp_path, {"a.xml": bytes(5_000_000)})
    content = path.read_bytes()
    true, lie = (5_000_000).to_bytes(4, "little"), (100).to_bytes(4, "little")
    assert content.count(true) == 2  # the member's own header and the directory
    path.write_bytes(content.replace(true, lie))
    assert "is damaged" in message_of(path)


@all_kinds
@pytest.mark.parametrize("part", [0.3, 0.9])
def test_a_truncated_archive_is_refused(tmp_path: Path, make: Make, part: float) -> None:
    path = make(tmp_path, {f"{number}.xml": os.urandom(20_000) for number in range(10)})
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    assert re.search("is damaged|cannot be read|is cut off", message_of(path))


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "tar.xz"])
@pytest.mark.parametrize(
    "damage", [lambda tar: tar[:3072], lambda tar: tar[:3100], lambda tar: tar[:3072] + b"x" * 2048]
)
def test_a_tar_that_ends_between_two_members_is_refused(
    tmp_path: Path, kind: str, damage: Callable[[bytes], bytes]
) -> None:
    """Python's tarfile would leave out the rest without a word."""
    content = damage(make_tar(tmp_path, {f"{number}.xml": b"x" for number in range(10)}).read_bytes())
    pack = {"tar": bytes, "tar.gz": gzip.compress, "tar.xz": lzma.compress}[kind]
    path = tmp_path / "cut"
    path.write_bytes(pack(content))
    assert "is damaged or cut off after 3072 bytes" in message_of(path)


@pytest.mark.parametrize("kind", ["tar.gz", "tar.xz"])
def test_an_archive_that_ends_in_its_first_bytes_is_refused(tmp_path: Path, kind: str) -> None:
    path = MAKERS[kind](tmp_path, {"a.xml": os.urandom(5000)})
    whole = path.read_bytes()
    for length in range(0, 200, 7):
        path.write_bytes(whole[:length])
        assert message_of(path)


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    path = make_zip(tmp_path, {"a.xml": b"x"})
    content = bytearray(path.read_bytes())
    content[6] |= 1  # the flag "encrypted" of the member and of its entry in the directory
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    assert "is encrypted" in message_of(path)


def test_other_files_are_no_archives(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_text("no archive")
    assert not is_archive(path)
    assert not is_archive(tmp_path)
    assert "is not a zip or tar" in message_of(path)
    assert "no such file" in message_of(tmp_path / "none.zip")


# Zips of photos


def is_photo(name: str) -> bool:
    return name.endswith(".jpg")


def test_photos_are_read_by_their_names(tmp_path: Path) -> None:
    path = make_zip(tmp_path, {"b/2.jpg": b"two", "notes.txt": b"text", "日本.jpg": b"one", "b/": b""})
    archive = PhotoZip(path, is_photo)
    assert archive.names == ("b/2.jpg", "日本.jpg")
    assert [archive.read(name) for name in archive.names] == [b"two", b"one"]
    assert os.listdir(tmp_path) == ["data.zip"]


@pytest.mark.parametrize("name", ["../out.jpg", "/etc/out.jpg"])
def test_a_zip_of_photos_with_a_path_that_leaves_the_root(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"data.zip: member .*out.jpg"):
        PhotoZip(make_zip(tmp_path, {"good.jpg": b"one", name: b"two"}), is_photo)


def test_a_zip_of_photos_with_a_link(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("link.jpg")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(InputError, match=r"a.zip: member link.jpg"):
        PhotoZip(path, is_photo)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_zip_of_photos_with_a_repeated_name(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.jpg", b"one")
        archive.writestr("a.jpg", b"two")
    with pytest.raises(InputError, match=r"a.zip: member a.jpg is repeated"):
        PhotoZip(path, is_photo)


def test_a_huge_photo_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "LARGEST_PHOTO", 2**20)
    archive = PhotoZip(make_zip(tmp_path, {"huge.jpg": bytes(2**20 + 1), "good.jpg": b"one"}), is_photo)
    with pytest.raises(InputError, match=r"data.zip/huge.jpg: has more than 1 MiB"):
        archive.read("huge.jpg")
    assert archive.read("good.jpg") == b"one"


def test_a_damaged_photo_fails_alone(tmp_path: Path) -> None:
    path = make_zip(tmp_path, {"bad.jpg": os.urandom(500), "good.jpg": b"one"})
    content = bytearray(path.read_bytes())
    content[100:200] = bytes(100)
    path.write_bytes(content)
    archive = PhotoZip(path, is_photo)
    with pytest.raises(InputError, match=r"data.zip/bad.jpg: is damaged or encrypted"):
        archive.read("bad.jpg")
    assert archive.read("good.jpg") == b"one"


def test_an_encrypted_photo(tmp_path: Path) -> None:
    path = make_zip(tmp_path, {"a.jpg": b"one"})
    content = bytearray(path.read_bytes())
    for signature, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = content.index(signature) + place
        content[start : start + 2] = struct.pack("<H", 1)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"data.zip/a.jpg: is damaged or encrypted"):
        PhotoZip(path, is_photo).read("a.jpg")


def test_a_zip_of_photos_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"text")
    with pytest.raises(InputError, match=r"a.zip: is not a zip, or is damaged"):
        PhotoZip(tmp_path / "a.zip", is_photo)
    with pytest.raises(InputError, match=r"b.zip: cannot be read \(No such file or directory\)"):
        PhotoZip(tmp_path / "b.zip", is_photo)


def test_a_photo_without_a_name(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(zipfile.ZipInfo(""), b"x")
    assert PhotoZip(tmp_path / "a.zip", lambda name: True).names == ("",)
