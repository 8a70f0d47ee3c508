"""Photos out of zips: nothing is extracted, and an archive that would leave its folder is left alone."""

import os
import stat
import struct
import zipfile
from pathlib import Path

import pytest

from detector.data import archives
from detector.data.archives import PhotoZip
from detector.errors import InputError


def make(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def is_photo(name: str) -> bool:
    return name.endswith(".jpg")


def test_photos_are_read_by_their_names(tmp_path):
    path = make(tmp_path / "a.zip", {"b/2.jpg": b"two", "notes.txt": b"text", "日本.jpg": b"one", "b/": b""})
    archive = PhotoZip(path, is_photo)
    assert archive.names == ("b/2.jpg", "日本.jpg")
    assert [archive.read(name) for name in archive.names] == [b"two", b"one"]
    assert os.listdir(tmp_path) == ["a.zip"]


@pytest.mark.parametrize("name", ["../out.jpg", "a/../../out.jpg", "/etc/out.jpg", "C:\\out.jpg", "..\\out.jpg"])
def test_a_path_that_leaves_the_root(tmp_path, name):
    path = make(tmp_path / "a.zip", {"good.jpg": b"one", name: b"two"})
    with pytest.raises(InputError, match=r"a.zip: member .* points outside the archive; pack it again"):
        PhotoZip(path, is_photo)


def test_a_link(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("link.jpg")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(InputError, match=r"a.zip: member link.jpg is a link or a device"):
        PhotoZip(path, is_photo)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_is_there_twice(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.jpg", b"one")
        archive.writestr("a.jpg", b"two")
    with pytest.raises(InputError, match=r"a.zip: member a.jpg is repeated"):
        PhotoZip(path, is_photo)


def test_a_huge_member_fails_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "LARGEST_PHOTO", 2**20)
    archive = PhotoZip(make(tmp_path / "a.zip", {"huge.jpg": bytes(2**20 + 1), "good.jpg": b"one"}), is_photo)
    with pytest.raises(InputError, match=r"a.zip/huge.jpg: has more than 1 MiB"):
        archive.read("huge.jpg")
    assert archive.read("good.jpg") == b"one"


def test_a_damaged_member_fails_alone(tmp_path):
    path = make(tmp_path / "a.zip", {"bad.jpg": os.urandom(500), "good.jpg": b"one"})
    content = bytearray(path.read_bytes())
    content[100:200] = bytes(100)
    path.write_bytes(content)
    archive = PhotoZip(path, is_photo)
    with pytest.raises(InputError, match=r"a.zip/bad.jpg: is damaged or encrypted"):
        archive.read("bad.jpg")
    assert archive.read("good.jpg") == b"one"


def test_an_encrypted_member(tmp_path):
    path = make(tmp_path / "a.zip", {"a.jpg": b"one"})
    content = bytearray(path.read_bytes())
    for signature, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = content.index(signature) + place
        content[start : start + 2] = struct.pack("<H", 1)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a.zip/a.jpg: is damaged or encrypted"):
        PhotoZip(path, is_photo).read("a.jpg")


def test_what_is_no_zip(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"text")
    with pytest.raises(InputError, match=r"a.zip: is not a zip, or is damaged"):
        PhotoZip(tmp_path / "a.zip", is_photo)
    with pytest.raises(InputError, match=r"b.zip: cannot be read \(No such file or directory\)"):
        PhotoZip(tmp_path / "b.zip", is_photo)


def test_a_member_without_a_name(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(zipfile.ZipInfo(""), b"x")
    assert PhotoZip(tmp_path / "a.zip", lambda name: True).names == ("",)
