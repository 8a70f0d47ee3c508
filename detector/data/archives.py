"""Files in zip and tar archives, read without extracting them and without trust in the archive."""

import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from detector.data.ground_truth import repeated
from detector.errors import InputError

LARGEST_MEMBER = 2**22
"""Bytes of the largest file that `read_members` reads; VOC's annotations have 1 to 10 kB."""
LARGEST_TOTAL = 2**30
"""Bytes that `read_members` reads from one archive, half a million annotations."""
LARGEST_PHOTO = 2**29
"""Bytes of the largest photo that `PhotoZip` reads; 150 megapixels need fewer in any common format."""

# Members' bytes per byte of the archive. Text deflates to a fifth, and tar pads each small file to a multiple of 512;
# deflate's limit, which only a crafted file reaches, is 1032.
_LARGEST_RATIO = 200
_ALWAYS_ALLOWED = 2**24

_Member = tuple[str, int, Callable[[], IO[bytes] | None]]


def is_archive(path: Path) -> bool:
    """Whether a file is a zip or a tar, plain or compressed, whatever its name."""
    try:
        return path.is_file() and (zipfile.is_zipfile(path) or tarfile.is_tarfile(path))
    except (OSError, EOFError, zlib.error, lzma.LZMAError):  # is_tarfile does not catch decompression errors
        return False


def read_members(path: Path, is_selected: Callable[[str], bool]) -> dict[str, bytes]:
    """The content, by name, of the files in a zip or tar (.tar, .tar.gz, .tar.bz2, .tar.xz) whose name is selected.

    Nothing is written. All members are checked, since one hostile name is reason enough to refuse the whole archive.

    Raises:
        InputError: the archive cannot be read or is damaged, holds a member outside its own root (an absolute path or
            `..`), a link or a device, a repeated name, or more bytes than such files can have (a bomb); the
            message names the archive and the member.
    """
    contents: dict[str, bytes] = {}
    names: set[str] = set()
    total = read = 0
    with _reading(path):
        if path.is_file() and not is_archive(path):
            raise InputError("is not a zip or tar, or is cut off; get it again")
        allowed = max(_ALWAYS_ALLOWED, path.stat().st_size * _LARGEST_RATIO)
        for name, size, open_member in _zip_members(path) if zipfile.is_zipfile(path) else _tar_members(path):
            check_member_name(name)
            if name in names:
                raise InputError(f"member {name} is repeated")
            names.add(name)
            total += size
            if total > allowed:
                raise InputError(f"member {name} brings the content to {total} bytes, more than {_LARGEST_RATIO} times "
                                 "the archive's size, as in a decompression bomb")  # fmt: skip
            if not is_selected(name):
                continue
            if size > LARGEST_MEMBER:
                raise InputError(f"member {name} has {size} bytes, at most {LARGEST_MEMBER} are read")
            file = open_member()
            if file is None:
                continue
            with file:
                contents[name] = file.read(LARGEST_MEMBER + 1)  # the size in the header may be a lie
            read += len(contents[name])
            if len(contents[name]) > LARGEST_MEMBER or read > LARGEST_TOTAL:
                raise InputError(
                    f"member {name} is larger than its header says, or the members have over {LARGEST_TOTAL} bytes"
                )
    return contents


@contextmanager
def _reading(where: object) -> Iterator[None]:
    """Turns whatever readers of archives raise into an InputError that begins with `where`."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    except OSError as error:  # also gzip's and bz2's own errors
        raise InputError(f"{where}: cannot be read ({error.strerror or error})") from None
    except (
        *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError),
        *(EOFError, RuntimeError, NotImplementedError, KeyError),
    ) as error:
        raise InputError(f"{where}: is damaged, encrypted or not an archive ({error}); get it again") from None


def _zip_members(path: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(path) as archive:
        for info in _regular_files(archive):
            yield info.orig_filename, info.file_size, lambda info=info: archive.open(info)  # type: ignore[misc]


def _regular_files(archive: zipfile.ZipFile) -> Iterator[zipfile.ZipInfo]:
    """The members of a zip except folders; InputError for a link or a device."""
    for info in archive.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise InputError(f"member {info.filename} is a link or a device; pack the file itself")
        if not info.filename.endswith("/"):  # is_dir fails for an empty name
            yield info


def _tar_members(path: Path) -> Iterator[_Member]:
    with tarfile.open(path, "r:*") as archive:
        for info in archive:
            if not (info.isreg() or info.isdir()):
                raise InputError(f"member {info.name} is a link or a device; pack the file itself")
            if info.isreg():
                yield info.name, info.size, lambda info=info: archive.extractfile(info)  # type: ignore[misc]
        # tarfile reads a damaged or cut-off header as the end of the archive, unless it is the first.
        end = archive.fileobj
        if end is not None:
            end.seek(archive.offset)
            if end.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise InputError(f"is damaged or cut off after {archive.offset} bytes of content; get it again")


def check_member_name(name: str) -> None:
    """InputError if a member would lie outside the folder into which the archive is unpacked, here or on Windows."""
    windows = PureWindowsPath(name)
    if ".." in windows.parts or windows.root or windows.drive or PurePosixPath(name).is_absolute() or "\0" in name:
        raise InputError(f"member {name!r} points outside the archive; pack it again with relative names")


class PhotoZip:
    """A zip of photos, read one at a time. The file is opened for the first photo and stays open.

    Args:
        path: the zip.
        is_selected: whether a member is a photo, by its name.

    Raises:
        InputError: the zip cannot be read or is damaged, or holds a member outside its own root, a link or a repeated
            name.
    """

    def __init__(self, path: Path, is_selected: Callable[[str], bool]) -> None:
        self.path = path
        self._archive: zipfile.ZipFile | None = None
        with _reading(path), zipfile.ZipFile(path) as archive:
            members = list(_regular_files(archive))
            for member in members:
                check_member_name(member.orig_filename)
            names = [member.filename for member in members]
            for index, _ in repeated(names):
                raise InputError(f"member {names[index]} is repeated; pack it again")
        self.names = tuple(filter(is_selected, names))

    def read(self, name: str) -> bytes:
        """The content of a member.

        Raises:
            InputError: it is larger than `LARGEST_PHOTO`, encrypted or damaged; the message names zip and member.
        """
        with _reading(f"{self.path}/{name}"):
            if self._archive is None:
                self._archive = zipfile.ZipFile(self.path)
            with self._archive.open(name) as file:
                content = file.read(LARGEST_PHOTO + 1)  # the size in the header may be a lie
            if len(content) > LARGEST_PHOTO:
                raise InputError(f"has more than {LARGEST_PHOTO // 2**20} MiB; make it smaller")
            return content
