"""From the SOURCE... arguments of a command line to photos and videos.

An argument is a file, a folder, a pattern, a zip of photos, a list in a text file, standard input, or the number of a
camera.
"""

import glob
import math
import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from detector.data.archives import PhotoZip
from detector.errors import InputError
from detector.io.text import strip_bom
from detector.runner.video import STREAMS, VIDEO_EXTENSIONS, Video
from detector.structures.image import (
    EXTENSIONS,
    FOUND_EXTENSIONS,
    Image,
    is_address,
    missing_file,
    read_image,
    without_password,
)

STANDARD_INPUT = "-"
PHOTO_ENDINGS = f"photos end in {', '.join(EXTENSIONS[:6])} or the like"
"""Ends the message where no photo was found."""

SAMPLE_PHOTOS = 32
"""Number of photos that the ranges of a graph in int8 are measured on."""

# Each folder is held open while its subfolders are walked.
_MAX_DEPTH = 100


@dataclass(frozen=True)
class Source:
    """A photo that is not read yet.

    Attributes:
        path: the file, or the zip that holds the photo; None for standard input.
        member: the photo's name in the zip.
        archive: the open zip.
        address: of a photo to download; its `path` is None.
    """

    path: Path | None
    member: str | None = None
    archive: PhotoZip | None = field(default=None, compare=False, repr=False)
    address: str | None = None

    @property
    def name(self) -> str:
        """The path or address as the user wrote it, "photos.zip/a.jpg" for a member, or "-"."""
        if self.address is not None:
            return without_password(self.address)
        if self.path is None:
            return STANDARD_INPUT
        return str(self.path) if self.member is None else f"{self.path}/{self.member}"

    @property
    def file_name(self) -> str:
        """The last part of the name; "stdin.jpg" for standard input."""
        if self.address is not None:
            return PurePosixPath(urlsplit(self.address).path).name or "photo.jpg"
        if self.path is None:
            return "stdin.jpg"
        return self.path.name if self.member is None else PurePosixPath(self.member).name

    def read(self) -> Image:
        """The photo. Raises `InputError` if it cannot be read."""
        if self.address is not None:
            return read_image(self.address)
        if self.path is None:
            return read_image(sys.stdin.buffer, name="standard input")
        if self.member is None:
            return read_image(self.path)
        archive = self.archive or PhotoZip(self.path, _is_photo)
        return read_image(archive.read(self.member), self.name)


def find_sources(arguments: Iterable[str], recursive: bool = False) -> Iterator[Source | InputError]:
    """The photos that `arguments` name, in their order and without duplicates.

    An argument is one of

    - a file; one that ends in .txt is a list of further arguments, one a line. Relative names are looked up in the
      working directory, then in the list's folder;
    - a folder, for the photos in it, by extension and in natural order (2 before 10); with `recursive`, also for those
      in its subfolders;
    - a pattern (`*`, `?`, `[...]`, and `**` for any depth), for the photos that match;
    - a file that ends in .zip, for the photos in it;
    - an address (https://...) of a photo;
    - "-", standard input.

    An argument without photos yields an `InputError` in its place. Only lists and zips are opened.
    """
    for source in _find(arguments, _Finder(FOUND_EXTENSIONS, recursive)):
        assert not isinstance(source, Video)
        yield source


def list_names(path: str) -> list[str]:
    """The sources in a list, one a line; "-" reads it from standard input. Raises `InputError` if it has none."""
    if path != STANDARD_INPUT:
        return [name for _, name in list_lines(path)]
    names = [os.fsdecode(line.rstrip(b"\r\n")) for line in sys.stdin.buffer]
    if not (names := [name for name in names if name.strip()]):
        raise InputError("standard input has no names; give one source a line")
    return names


def find_media(arguments: Iterable[str], recursive: bool = False) -> Iterator[Source | Video | InputError]:
    """Photos as in `find_sources`, and videos among them, also at addresses (https://..., rtsp://...). A number that is
    not the name of a file is a camera."""
    return _find(arguments, _Finder((*FOUND_EXTENSIONS, *VIDEO_EXTENSIONS), recursive))


def needs_stream(path: str | Path) -> bool:
    """Whether a path is not that of one photo: a folder, a pattern, a zip, a list or a video."""
    name = os.fspath(path)
    return (
        os.path.isdir(name)
        or name.lower().endswith((".zip", ".txt", *VIDEO_EXTENSIONS))
        or (glob.has_magic(name) and not is_address(name) and not os.path.lexists(name))
    )


def sample_photos(argument: str) -> list[Source]:
    """At most `SAMPLE_PHOTOS` evenly spaced photos of a folder or pattern; raises `InputError` if it has none."""
    photos = []
    for source in find_sources([argument]):
        if isinstance(source, InputError):
            raise source
        photos.append(source)
    return photos[:: math.ceil(len(photos) / SAMPLE_PHOTOS)]


def _find(arguments: Iterable[str], finder: "_Finder") -> Iterator[Source | Video | InputError]:
    yielded: set[object] = set()
    for argument in arguments:
        for source in finder.expand(argument):
            if not isinstance(source, InputError):
                # Members of a zip share its path, and cameras have none.
                path = source.path
                key = source.name if path is None else (os.path.abspath(path), getattr(source, "member", None))
                if key in yielded:
                    continue
                yielded.add(key)
            yield source


@dataclass(frozen=True)
class _Finder:
    extensions: tuple[str, ...]
    recursive: bool

    def expand(self, argument: str, folder: Path | None = None) -> Iterator[Source | Video | InputError]:
        """The sources of an argument; `folder` is that of the list that holds the argument, if any."""
        try:
            if folder is None and argument.lower().endswith(".txt") and os.path.isfile(argument):
                for number, line in list_lines(argument):
                    for source in self.expand(line, Path(argument).parent):
                        wrong = isinstance(source, InputError)
                        yield InputError(f"{argument}, line {number}: {source}") if wrong else source
            else:
                yield from self._named(argument, folder)
        except InputError as error:
            yield error

    def _named(self, argument: str, folder: Path | None) -> list[Source | Video | InputError]:
        if argument == STANDARD_INPUT and folder is None:
            return [Source(None)]
        if not argument or "\0" in argument:
            raise InputError(f"{argument!r}: not a path; give a photo, a folder or a pattern")
        if is_address(argument):
            return [self._at_address(argument)]
        path = Path(argument)
        if os.path.isdir(path):
            files = walk_folder(argument, self.extensions, self.recursive)
            return self._sorted(argument, files, "the folder has no")
        try:
            os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            if folder is not None and str(folder / path) != str(path):
                return self._named(str(folder / path), None)
            if self._videos and argument.isascii() and argument.isdigit() and len(argument) < 4:
                return [Video(None, int(argument))]
            if not glob.has_magic(argument):
                raise missing_file(argument, "file or folder") from None
            matches = glob.iglob(argument, recursive=True)
            files = (name for name in matches if name.lower().endswith(self.extensions) and not os.path.isdir(name))
            return self._sorted(argument, files, "matches no")
        except OSError:
            pass  # reading the photo raises the reason
        if path.suffix.lower() == ".zip":
            archive = PhotoZip(path, _is_photo)
            if not archive.names:
                raise InputError(f"{path}: the zip has no photos; {PHOTO_ENDINGS}")
            return [Source(path, name, archive) for name in sorted(archive.names, key=_natural)]
        return [self._source(path)]

    @property
    def _videos(self) -> bool:
        return VIDEO_EXTENSIONS[0] in self.extensions

    def _at_address(self, address: str) -> Source | Video:
        scheme, _, path, *_ = urlsplit(address)
        if scheme in ("http", "https") and not (self._videos and path.lower().endswith(VIDEO_EXTENSIONS)):
            return Source(None, address=address)
        if self._videos and scheme in ("http", "https", *STREAMS):
            return Video(None, address=address)
        raise missing_file(without_password(address))

    def _source(self, path: Path) -> Source | Video:
        return Video(path) if self._videos and path.suffix.lower() in VIDEO_EXTENSIONS else Source(path)

    def _sorted(
        self, argument: str, files: Iterable[str | InputError], failure: str
    ) -> list[Source | Video | InputError]:
        errors: list[Source | Video | InputError] = []
        names = []
        for file in files:
            if isinstance(file, InputError):
                errors.append(file)
            else:
                names.append(str(Path(file)))
        if not names and not errors:
            what = "photos or videos" if self._videos else "photos"
            below = walk_folder(argument, self.extensions, recursive=True) if os.path.isdir(argument) else ()
            if not self.recursive and any(isinstance(file, str) for file in below):
                remedy = "pass --recursive" if self._videos else f"give '{argument}/**'"
                raise InputError(f"{argument}: {failure} {what} itself, but its subfolders do; {remedy}")
            raise InputError(f"{argument}: {failure} {what}; {PHOTO_ENDINGS}")
        return errors + [self._source(Path(name)) for name in sorted(names, key=_natural)]


def walk_folder(
    folder: str, extensions: tuple[str, ...], recursive: bool, depth: int = 0
) -> Iterator[str | InputError]:
    """The files in a folder that end in one of `extensions`, in the order in which the file system lists them.

    Hidden files, such as the "._photo.jpg" of macOS, and links to folders, which may be circular, are skipped. A
    folder that cannot be listed yields an `InputError`.
    """
    if depth > _MAX_DEPTH:
        yield InputError(f"{folder}: folders are nested more than {_MAX_DEPTH} deep; name its photos in a list")
        return
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    if recursive:
                        yield from walk_folder(entry.path, extensions, recursive, depth + 1)
                elif entry.name.lower().endswith(extensions) and _is_file(entry):
                    yield entry.path
    except OSError as error:
        yield InputError(f"{folder}: cannot be listed ({error.strerror or error}); check its access rights")


def _is_file(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a file or a broken link; reading the link raises the reason."""
    try:
        return entry.is_file() or (entry.is_symlink() and not entry.is_dir())
    except OSError:
        return True


def list_lines(path: str) -> Iterator[tuple[int, str]]:
    """The lines of a list of photos that are not blank, with their numbers from 1.

    Names are decoded as the system decodes names of files, which may be invalid text.

    Raises:
        InputError: the list is empty or cannot be read.
    """
    empty = True
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(file, start=1):
                name = os.fsdecode((strip_bom(line) if number == 1 else line).rstrip(b"\r\n"))
                if name.strip():
                    empty = False
                    yield number, name
    except OSError as error:
        raise InputError(f"{path}: the list cannot be read ({error.strerror or error})") from None
    if empty:
        raise InputError(f"{path}: the list is empty; give one photo per line")


def _is_photo(member: str) -> bool:
    name = PurePosixPath(member)
    return name.suffix.lower() in FOUND_EXTENSIONS and not name.name.startswith(".")


def _natural(name: str) -> tuple[list[str | int], str]:
    """A sort key that orders numbers by value."""
    # Splitting at a group alternates text and digits, so that equal positions always hold comparable types.
    parts = re.split(r"(\d+)", name.casefold())
    return [int(part) if index % 2 else part for index, part in enumerate(parts)], name
