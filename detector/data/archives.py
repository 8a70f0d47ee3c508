"""Small files out of a zip or tar archive, read without extracting anything, and without trust in the archive."""

import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from detector.errors import InputError

#: Largest file that is read out of an archive; VOC's annotations have some 1 to 10 kB.
LARGEST_MEMBER = 2**22
#: Most bytes that are read out of one archive, half a million annotations.
LARGEST_TOTAL = 2**30
# Members' bytes per byte of the archive. Text deflates to a fifth, and tar pads each small file to a multiple of 512;
# deflate's limit, which only a made-up file reaches, is 1032.
_LARGEST_RATIO = 200
_ALWAYS_ALLOWED = 2**24

_Member = tuple[str, int, Callable[[], IO[bytes] | None]]


def is_archive(path: Path) -> bool:
    """Whether a file is a zip or a tar, plain or compressed, whatever its name."""
    try:
        return path.is_file() and (zipfile.is_zipfile(path) or tarfile.is_tarfile(path))
    except (OSError, EOFError, zlib.error, lzma.LZMAError):  # is_tarfile lets the faults of compression through
        return False


def read_members(path: Path, wanted: Callable[[str], bool]) -> dict[str, bytes]:
    """The content, by name, of the files in a zip or tar (.tar, .tar.gz, .tar.bz2, .tar.xz) whose name is wanted.

    Nothing is written. Every member of the archive is checked, wanted or not, since one hostile name is reason enough
    to leave the whole archive alone.

    Raises:
        InputError: the archive cannot be read or is damaged, holds a member outside its own root (an absolute path or
            `..`), a link or a device, the same name twice, or more bytes than such files can have (a bomb); the
            message names the archive and the member.
    """
    contents: dict[str, bytes] = {}
    seen: set[str] = set()
    total = read = 0
    try:
        if not path.is_file():
            raise InputError("no such file")
        if not is_archive(path):
            raise InputError("is no zip or tar, or has lost its end; get it anew")
        allowed = max(_ALWAYS_ALLOWED, path.stat().st_size * _LARGEST_RATIO)
        for name, size, open_member in _zip_members(path) if zipfile.is_zipfile(path) else _tar_members(path):
            check_member_name(name)
            if name in seen:
                raise InputError(f"member {name} is there twice")
            seen.add(name)
            total += size
            if total > allowed:
                raise InputError(f"member {name} brings the content to {total} bytes, more than {_LARGEST_RATIO} times "
                                 "the archive's size, as in a decompression bomb")  # fmt: skip
            if not wanted(name):
                continue
            if size > LARGEST_MEMBER:
                raise InputError(f"member {name} has {size} bytes, at most {LARGEST_MEMBER} are read")
            file = open_member()
            if file is None:
                continue
            with file:
                # The size in the header may be a lie.
                contents[name] = file.read(LARGEST_MEMBER + 1)
            read += len(contents[name])
            if len(contents[name]) > LARGEST_MEMBER or read > LARGEST_TOTAL:
                raise InputError(f"member {name} is too large, or all together: over {LARGEST_TOTAL} bytes")
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, RuntimeError,
            NotImplementedError) as error:  # fmt: skip
        raise InputError(f"{path}: is damaged, or cannot be read: {error}") from error
    except OSError as error:  # also gzip's and bz2's own errors
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    return contents


def _zip_members(path: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(path) as archive:
        for info in regular_files(archive):
            yield info.orig_filename, info.file_size, lambda info=info: archive.open(info)  # type: ignore[misc]


def regular_files(archive: zipfile.ZipFile) -> Iterator[zipfile.ZipInfo]:
    """The members of a zip but its folders; InputError at a link or a device."""
    for info in archive.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise InputError(f"member {info.filename} is a link or a device; pack the file itself")
        if not info.filename.endswith("/"):  # is_dir cannot take a name that is empty
            yield info


def _tar_members(path: Path) -> Iterator[_Member]:
    with tarfile.open(path, "r:*") as archive:
        for info in archive:
            if not (info.isreg() or info.isdir()):
                raise InputError(f"member {info.name} is a link or a device; pack the file itself")
            if info.isreg():
                yield info.name, info.size, lambda info=info: archive.extractfile(info)  # type: ignore[misc]
        # tarfile takes a header that is cut off or wrong, after the first, for the end of the archive.
        end = archive.fileobj
        if end is not None:
            end.seek(archive.offset)
            if end.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise InputError(f"is damaged or cut off after {archive.offset} bytes of content; get it anew")


def check_member_name(name: str) -> None:
    """InputError if a member would lie outside the folder into which the archive is unpacked, here or on Windows."""
    windows = PureWindowsPath(name)
    if ".." in windows.parts or windows.root or windows.drive or PurePosixPath(name).is_absolute() or "\0" in name:
        raise InputError(f"member {name!r} points outside the archive; pack it anew with relative names")
